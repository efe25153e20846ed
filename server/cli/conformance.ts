import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Address, chooseItems, connectTo, describeBoard, describeResult, describeTotals, formatAddress, frameTimeMicrosecondsOf, type ItemResult, junitOf,
  parseAddress, parseRegion, parseVectors, runConformance, totalsOf,
} from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import { LineCapture } from '../capture/line-capture.js';
import { defaultConnectTimeoutMilliseconds, homeFolderOf } from '../config.js';
import { isSimulatorAddress, parseSimulatorAddress, SimulatorProcess } from '../device/simulator.js';
import { lockHome } from '../store/home-lock.js';
import { systemClock } from '../system-clock.js';
import { packageFolder, version } from '../version.js';
import { type Console, exitDone, exitFailed } from './console.js';
import { captureOf, connectTimeoutMilliseconds } from './service-choice.js';

export interface ConformanceArguments {
  readonly allowPulses?: string;
  readonly allowRestart: boolean;
  readonly only?: readonly string[];
  readonly junit?: string;
  readonly json: boolean;
  readonly connectTimeout: string;
  readonly capture?: string;
  readonly captureLimit?: string;
}

interface Board {
  readonly name: string;
  readonly isThrowAway: boolean;
  line(): Promise<Address>;
  close(): Promise<void>;
}

function openSimulator(address: string): Board {
  const parsed = parseSimulatorAddress(address);
  const simulator = new SimulatorProcess(parsed);
  return { name: address, isThrowAway: parsed.chip === undefined, line: () => simulator.line(), close: () => simulator.close() };
}

/** A real board is pulsed under the lock of the store that counts its pulses: no service may hold the same one. */
function openBoard(address: string, console: Console): Board {
  if (isSimulatorAddress(address)) return openSimulator(address);
  const parsed = parseAddress(address);
  const unlock = lockHome(homeFolderOf(console.environment));
  return { name: formatAddress(parsed), isThrowAway: false, line: async () => parsed, close: async () => unlock() };
}

function readVectors() {
  const read = (name: string) => readFileSync(join(packageFolder(), 'firmware-protocol', 'vectors', name), 'utf8');
  return parseVectors(read('frames.json'), read('numerics.json'));
}

function writeJunit(path: string, xml: string): void {
  try {
    writeFileSync(path, xml);
  } catch (error) {
    throw new MacroError('BAD_ARGUMENT', `--junit ${path} cannot be written: ${(error as Error).message}`, { field: 'junit', cause: error });
  }
}

/** Prints items as they come, group by group. */
function printer(json: boolean, console: Console): (result: ItemResult) => void {
  let group = '';
  return (result) => {
    if (json) {
      console.out(`${JSON.stringify(result)}\n`);
      return;
    }
    if (result.group !== group) console.out(`${group === '' ? '' : '\n'}${result.group}\n`);
    group = result.group;
    console.out(`${describeResult(result)}\n`);
  };
}

/**
 * `prime conformance`: holds a board to the specification.
 *
 * @returns exit code; 1 where an item failed
 * @throws MacroError DEVICE_UNREACHABLE, STORE_LOCKED, and BAD_ARGUMENT before anything is sent
 */
export async function conformance(address: string, given: ConformanceArguments, console: Console): Promise<number> {
  const only = given.only ?? [];
  chooseItems(only);
  const allowedPulses = given.allowPulses === undefined ? undefined : parseRegion(given.allowPulses, 'allow-pulses');
  const milliseconds = connectTimeoutMilliseconds(given.connectTimeout) ?? defaultConnectTimeoutMilliseconds;
  if (given.junit !== undefined) writeJunit(given.junit, '');
  const { capture } = captureOf(given);
  const board = openBoard(address, console);
  const tap = capture && new LineCapture({ ...capture, clock: systemClock, wallMilliseconds: () => Date.now(), hostVersion: version() });
  const connect = async () => {
    const channel = await connectTo(await board.line());
    return tap?.tap(channel, board.name, () => undefined) ?? channel;
  };
  try {
    const line = await board.line();
    const report = await runConformance({
      name: board.name, only, allowedPulses, allowsRestart: given.allowRestart, isThrowAway: board.isThrowAway, clock: systemClock,
      prng: { nextUint32: () => randomBytes(4).readUInt32LE() }, vectors: readVectors(), frameTimeMicroseconds: frameTimeMicrosecondsOf(line),
      connectTimeoutMilliseconds: milliseconds, connect, onResult: printer(given.json, console),
      signal: console.signal,
    });
    if (given.junit !== undefined) writeJunit(given.junit, junitOf(report));
    if (!given.json) console.out(`\n${describeBoard(report.name, report.identity)}\n`);
    console.out(`${describeTotals(report.results)}\n`);
    return totalsOf(report.results).failed === 0 && !console.signal.aborted ? exitDone : exitFailed;
  } finally {
    await tap?.end();
    await board.close();
  }
}
