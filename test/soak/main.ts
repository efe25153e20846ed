// The long counts, one part after the other, each held to its bar. Exit code 1 where one is missed.
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { packageFolder } from '../../server/version.js';
import { committedReport, committedSearch, filmedSet } from '../rig/committed-search.js';
import { firmwareSkip, make } from '../rig/firmware-board.js';
import { chips } from './chips.js';
import { soakDecoder } from './decoder.js';
import { paced } from './paced.js';
import { sigkill } from './sigkill.js';
import { twoWay } from './two-way.js';

const decoderBytes = 100e6;
/** A decoder holds one frame; what the runtime keeps for itself comes on top. */
const heldLimitBytes = 2 ** 20;
const transfers = 64;
const simulationRuns = 200;
const kills = 50;
const killSeed = 1;
const cleanEfficiency = 0.84;
const noisyShare = 0.8;
const searchSecondsLimit = 900;
/** How far accuracy on noisy devices may lie below that of software in PyTorch. */
const accuracyBehind = 0.015;

const say = (text: string) => void process.stdout.write(`${text}\n`);
const percent = (fraction: number) => `${(100 * fraction).toFixed(1)} %`;

/** Each part says what it measured and returns what it missed. */
const parts: Readonly<Record<string, () => Promise<string | undefined>>> = {
  async decoder() {
    const { bytes, goodFrames, discarded, heldBytes } = soakDecoder(decoderBytes, 1);
    const megabytes = (count: number) => `${(count / 1e6).toFixed(1)} MB`;
    say(`decoder: ${megabytes(bytes)}, all of ${goodFrames} good frames found, ${discarded} pieces discarded, memory grew by ${megabytes(heldBytes)}`);
    return heldBytes > heldLimitBytes ? `the heap grew by ${heldBytes} bytes, the bound is ${heldLimitBytes}` : undefined;
  },
  async 'two-way'() {
    const { bytesPerSecond, writeStalls, retransmissions } = await twoWay(transfers);
    const rate = `${(bytesPerSecond / 1e6).toFixed(1)} MB/s`;
    say(`two-way: ${transfers} transfers of 16 MiB each way, ${rate}, ${writeStalls} writes helped on, ${retransmissions} retransmissions`);
    return undefined;
  },
  async paced() {
    if (firmwareSkip !== false) return `the C firmware ${firmwareSkip}`;
    const { status, output } = make('all');
    if (status !== 0) return output;
    for (const baud of [921_600, 3_000_000]) {
      const clean = await paced(baud, 0);
      const noisy = await paced(baud, 0.01);
      const repaired = `${noisy.retransmissions} retransmissions`;
      say(`paced: ${baud} baud ${percent(clean.efficiency)}, with 1 % of frames damaged ${percent(noisy.efficiency)} (${repaired})`);
      if (clean.efficiency < cleanEfficiency) return `${percent(clean.efficiency)} of ${baud} baud, ${percent(cleanEfficiency)} is the bar`;
      if (noisy.efficiency < noisyShare * clean.efficiency) return `${percent(noisy.efficiency)} of ${baud} baud with noise`;
    }
    return undefined;
  },
  async sigkill() {
    const { kills: { service, simulator }, amidPulses, ends, cells, problems } = await sigkill(kills, killSeed);
    const jobs = Object.entries(ends).map(([state, count]) => `${count} ${state}`).join(', ');
    const victims = `service ${service}, simulator ${simulator}`;
    say(`sigkill: ${service + simulator} kills (${victims}), ${amidPulses} of them while pulsing, jobs ${jobs}, ${cells} cells checked`);
    if (amidPulses < kills / 5) return `only ${amidPulses} kills lie between the first and the last pulse`;
    return problems.length === 0 ? undefined : problems.join('; ');
  },
  async chips() {
    const data = process.env['PRIME_DATA'];
    if (data === undefined) {
      say('chips: not run, PRIME_DATA is not set');
      return undefined;
    }
    const sums = { recordings: 0, right: 0, torchRight: 0, isCompared: true };
    for await (const { chip, recordings, right, rightStopped, meanTimesteps, searchSeconds, torchRight, torchSeconds } of chips(data)) {
      const stopped = `${rightStopped} stopped early after ${meanTimesteps.toFixed(2)} timesteps`;
      const torch = torchRight === null ? 'no PyTorch here' : `PyTorch ${torchRight} in ${torchSeconds?.toFixed(0)} s`;
      say(`chips: ${chip} ${right} of ${recordings} right (${stopped}), search ${searchSeconds.toFixed(0)} s; ${torch}`);
      if (searchSeconds > searchSecondsLimit) return `the search on ${chip} took ${searchSeconds.toFixed(0)} s, ${searchSecondsLimit} is the bar`;
      sums.recordings += recordings;
      sums.right += right;
      sums.torchRight += torchRight ?? 0;
      sums.isCompared &&= torchRight !== null;
    }
    const [ours, theirs] = [sums.right / sums.recordings, sums.torchRight / sums.recordings];
    say(`chips: ${percent(ours)} of all${sums.isCompared ? `, PyTorch ${percent(theirs)}` : ''}`);
    return sums.isCompared && ours < theirs - accuracyBehind ? `${percent(ours)}, and PyTorch ${percent(theirs)}` : undefined;
  },
  async training() {
    const { parameters: { films = '' }, epochs: [{ digest }] } = committedReport();
    const { search, pool } = committedSearch(await filmedSet(films), availableParallelism());
    for await (const { isEndOfEpoch } of search.steps()) if (isEndOfEpoch) break;
    await pool.close();
    say(`training: masks and scores after an epoch of ${films}`);
    return search.digest() === digest ? undefined : 'they are others than those of the committed training';
  },
  async kills() {
    const { status } = spawnSync('npx', ['tap', 'run', '--disable-coverage', '--allow-empty-coverage', '--reporter=terse', 'test/kill.test.ts'], {
      stdio: 'inherit', cwd: packageFolder(), env: { ...process.env, PRIME_KILLS: String(kills) },
    });
    return status === 0 ? undefined : `test/kill.test.ts ended with ${status}`;
  },
  async simulate() {
    const program = join(packageFolder(), 'dist', 'test', 'simulation', 'main.js');
    const { status } = spawnSync(process.execPath, [program, '--seed', '1', '--runs', String(simulationRuns)], { stdio: 'inherit' });
    return status === 0 ? undefined : `the simulation ended with ${status}`;
  },
};

async function main(chosen: readonly string[]): Promise<number> {
  const unknown = chosen.find((name) => !(name in parts));
  if (unknown !== undefined) {
    process.stderr.write(`BAD_ARGUMENT: there is no part "${unknown}"; there are ${Object.keys(parts).join(', ')}.\n`);
    return 2;
  }
  let missed = 0;
  for (const [name, run] of Object.entries(parts)) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    const problem = await run().catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
    say(problem === undefined ? `${name}: passed` : `${name}: MISSED, ${problem}`);
    missed += problem === undefined ? 0 : 1;
  }
  return missed === 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
