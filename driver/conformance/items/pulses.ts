import { bitLineCount, cellCount, sourceLineCount } from '../../../firmware-protocol/limits.js';
import { decodeSweepPoints } from '../../../proto/cell-sweep.js';
import { cellOutcomes, type MethodName, type MethodRequests, type PulseKind, pulseKinds, type Region } from '../../../proto/message.js';
import { voltageStepCount, voltageStepMillivolts, voltageStepOf } from '../../../proto/voltage-step.js';
import type { Bench } from '../bench.js';
import { type Conversation, describeFinal, expectFailure, expectResult } from '../conversation.js';
import { expect, expectEqual, NotRun } from '../deviation.js';
import type { ResetPulse } from '../../envelope.js';
import { bitmapOf } from '../../region.js';
import type { Item } from '../item.js';
import { statusOf } from './safety.js';

const section = 'PROTOCOL.md §Pulses (3)';
const topCode = 65_535;
/** So weak that it would do nothing to a cell that it must not reach. */
const weak = { amplitudeMillivolts: 100, widthNanoseconds: 100, complianceMicroamperes: 1 };
const strong = { ...weak, amplitudeMillivolts: 60_000 };
const countBytes = 2;
const timeBytes = 8;

const staircaseOf = (first: typeof weak, lastMillivolts = first.amplitudeMillivolts) => ({ first, stepMillivolts: 10, lastMillivolts });
const formRequest = (cellsSha256: Uint8Array, staircase = staircaseOf(weak)): MethodRequests['formCells'] =>
  ({ cellsSha256, staircase, targetCells: 0, formedCode: 1000, overFormedCode: 20_000 });

/** Windows that are open for the cells of a region, or for none. */
function windowsOf(region: Region | undefined): Uint8Array {
  const bytes = new Uint8Array(cellCount * 4);
  const view = new DataView(bytes.buffer);
  const selected = region === undefined ? new Uint8Array(cellCount / 8) : bitmapOf(region);
  for (let cell = 0; cell < cellCount; cell += 1) {
    const isSelected = ((selected[cell >> 3] >> (cell & 7)) & 1) === 1;
    view.setUint16(cell * 4, isSelected ? 0 : topCode, true);
    view.setUint16(cell * 4 + 2, isSelected ? topCode : 0, true);
  }
  return bytes;
}

async function statedEnvelope(bench: Bench): Promise<void> {
  const { identity } = await bench.open();
  const { envelope } = identity;
  expect(Boolean(envelope), 'an envelope in HELLO_ACK', 'none');
  const methods: Readonly<Record<PulseKind, string>> = { forming: 'FormCells', set: 'SetCells', reset: 'ResetCells' };
  for (const kind of pulseKinds.filter((name) => bench.declares(methods[name]))) {
    const limits = envelope?.[kind];
    const isStated = (limits?.amplitudeMaximumMillivolts ?? 0) > 0 && (limits?.widthMaximumNanoseconds ?? 0) > 0 && (limits?.pulsesPerCell ?? 0) > 0
      && (limits?.totalCurrentMaximumMicroamperes ?? 0) > 0;
    expect(isStated, `limits of ${kind} pulses above 0`, JSON.stringify(limits));
  }
}

/** Who limits the temperature of pulses has to say how warm the chip is: a host cannot look. */
async function toldTemperature(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { envelope, temperatureCelsius: atFirst } = conversation.identity;
  const limits = envelope?.temperature;
  if (!limits) throw new NotRun('the envelope has no limits of temperature');
  expect(limits.minimumCelsius < limits.maximumCelsius, 'a least temperature below the largest', JSON.stringify(limits));
  const { temperatureCelsius: now } = await statusOf(conversation);
  expect(Number.isFinite(atFirst) && Number.isFinite(now), 'a temperature in HELLO_ACK and in GetStatus', `${atFirst} and ${now}`);
}

/** Requests outside every envelope, of no cell: a board that refuses nothing has nothing to pulse. */
async function refusals(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const before = await statusOf(conversation);
  const none = await conversation.upload(new Uint8Array(cellCount / 8));
  const windowsSha256 = await conversation.upload(windowsOf(undefined));
  const refused = async <Name extends MethodName>(method: Name, body: MethodRequests[Name], what: string) => {
    const final = await conversation.request(method, body);
    expect(final.failure?.code === 'PULSE_REFUSED', `PULSE_REFUSED for ${what}`, describeFinal(final));
    expectFailure(final, 'PULSE_REFUSED', 'NOT_APPLIED', /\d/);
  };
  if (bench.declares('FormCells')) {
    await refused('formCells', formRequest(none, staircaseOf(strong)), 'a forming pulse of 60 V');
    await refused('formCells', formRequest(none, staircaseOf(weak, 60_000)), 'a staircase that ends at 60 V');
    await refused('formCells', formRequest(none, staircaseOf({ ...weak, complianceMicroamperes: 0 })), 'a forming pulse without compliance');
    await refused('formCells', formRequest(none, staircaseOf({ ...weak, complianceMicroamperes: 10_000_000 })), 'a forming pulse of 10 A');
  }
  if (bench.declares('SetCells')) {
    await refused('setCells', { cellsSha256: none, pulse: strong }, 'a SET of 60 V');
    await refused('setCells', { cellsSha256: none, pulse: { ...weak, complianceMicroamperes: 0 } }, 'a SET without compliance');
  }
  if (bench.declares('ProgramCells')) {
    const asked = { windowsSha256, pulsesPerCell: 1, averages: 1 };
    await refused('programCells', { ...asked, reset: staircaseOf(weak, 60_000) }, 'a RESET staircase that ends at 60 V');
    await refused('programCells', { ...asked, set: staircaseOf(strong) }, 'a SET staircase of 60 V');
  }
  const after = await statusOf(conversation);
  expectEqual('pulses after refusals:', after.pulses, before.pulses);
  expectEqual('array state after refusals:', after.arrayState, before.arrayState);
}

/** What each cell of the region is, from a forming that has nothing to form: its target is reached before it begins. */
async function outcomesOf(conversation: Conversation, region: Region): Promise<Uint8Array> {
  const cellsSha256 = await conversation.upload(bitmapOf(region));
  const { pulses } = await statusOf(conversation);
  const result = expectResult(await conversation.request('formCells', formRequest(cellsSha256), { patience: 60_000 }), 'formCells');
  expectEqual('pulses of a forming whose target is 0 cells:', result.pulses, 0);
  expectEqual('pulses of GetStatus behind it:', (await statusOf(conversation)).pulses, pulses);
  expectEqual('bytes of the map of outcomes:', result.sizeBytes, cellCount);
  return conversation.fetch(result.outcomesSha256, result.sizeBytes);
}

const outcome = (name: (typeof cellOutcomes)[number]) => cellOutcomes.indexOf(name);
const cellsWith = (outcomes: Uint8Array, name: (typeof cellOutcomes)[number]) => [...outcomes.keys()].filter((cell) => outcomes[cell] === outcome(name));

async function forming(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  const outcomes = await outcomesOf(await bench.open(), allowedPulses);
  const cells = allowedPulses.bitLines * allowedPulses.sourceLines;
  const known = cellsWith(outcomes, 'was-formed').length + cellsWith(outcomes, 'unformed').length;
  expectEqual('cells that were formed or are unformed:', known, cells);
  expectEqual('cells that were not selected:', cellsWith(outcomes, 'not-selected').length, cellCount - cells);
}

async function unformedSet(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  bench.need('FormCells');
  const conversation = await bench.open();
  const [cell] = cellsWith(await outcomesOf(conversation, allowedPulses), 'unformed');
  if (cell === undefined) throw new NotRun('every cell of the region has been formed');
  const bits = new Uint8Array(cellCount / 8);
  bits[cell >> 3] = 1 << (cell & 7);
  const before = await statusOf(conversation);
  const final = await conversation.request('setCells', { cellsSha256: await conversation.upload(bits), pulse: weak });
  expectFailure(final, 'PULSE_REFUSED', 'NOT_APPLIED');
  expectEqual('pulses after a SET of an unformed cell:', (await statusOf(conversation)).pulses, before.pulses);
}

/** Every code is inside, so that there is nothing to do. */
async function inside(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  const conversation = await bench.open();
  const windowsSha256 = await conversation.upload(windowsOf(allowedPulses));
  const before = await statusOf(conversation);
  const asked = { windowsSha256, reset: staircaseOf(weak), set: staircaseOf(weak), pulsesPerCell: 1, averages: 1 };
  const result = expectResult(await conversation.request('programCells', asked, { patience: 60_000 }), 'programCells');
  expectEqual('RESET pulses:', result.resetPulses, 0);
  expectEqual('SET pulses:', result.setPulses, 0);
  expectEqual('stubborn cells:', result.stubbornCells, 0);
  expectEqual('pulses of GetStatus behind it:', (await statusOf(conversation)).pulses, before.pulses);
  const outcomes = await conversation.fetch(result.outcomesSha256, result.sizeBytes);
  const known = cellsWith(outcomes, 'inside').length + cellsWith(outcomes, 'unformed').length;
  expectEqual('cells inside or unformed:', known, allowedPulses.bitLines * allowedPulses.sourceLines);
  expectEqual('cells inside:', cellsWith(outcomes, 'inside').length, result.insideCells);
}

/** What a board has counted: pulses, kind by kind and cell by cell, and nanoseconds, bit line by bit line and step by step of voltage. */
interface Wear {
  readonly counts: Uint16Array;
  readonly drivenNanoseconds: BigUint64Array;
}

async function wearOf(conversation: Conversation): Promise<Wear> {
  const answer = expectResult(await conversation.request('readWear', {}, { patience: 60_000 }), 'readWear');
  const { sha256, sizeBytes, pulses } = answer;
  const steps = `${answer.voltageSteps} steps of ${answer.voltageStepMillivolts} mV`;
  expectEqual('voltages of the counts:', steps, `${voltageStepCount} steps of ${voltageStepMillivolts} mV`);
  const times = bitLineCount * voltageStepCount;
  expectEqual('bytes of the counts:', sizeBytes, 3 * countBytes * cellCount + timeBytes * times);
  const bytes = await conversation.fetch(sha256, sizeBytes);
  const view = new DataView(bytes.buffer);
  const counts = Uint16Array.from({ length: 3 * cellCount }, (_, index) => view.getUint16(index * countBytes, true));
  const timesAt = 3 * countBytes * cellCount;
  const drivenNanoseconds = BigUint64Array.from({ length: times }, (_, index) => view.getBigUint64(timesAt + index * timeBytes, true));
  expectEqual('pulses of ReadWear, added up:', counts.reduce((sum, count) => sum + count, 0), pulses);
  expectEqual('pulses of ReadWear:', pulses, (await statusOf(conversation)).pulses);
  return { counts, drivenNanoseconds };
}

const countsOf = async (conversation: Conversation) => (await wearOf(conversation)).counts;

async function wear(bench: Bench): Promise<void> {
  await countsOf(await bench.open());
}

/** The bit lines of a region were driven for a pulse on each of their cells there, at its voltage, and nothing else was. */
function expectDriven(before: Wear, after: Wear, { firstBitLine, bitLines, sourceLines }: Region, pulse: ResetPulse): void {
  const wrong = after.drivenNanoseconds.findIndex((time, place) => {
    const line = Math.floor(place / voltageStepCount);
    const isPulsed = place % voltageStepCount === voltageStepOf(pulse.amplitudeMillivolts) && line >= firstBitLine && line < firstBitLine + bitLines;
    return time !== before.drivenNanoseconds[place] + (isPulsed ? BigInt(sourceLines * pulse.widthNanoseconds) : 0n);
  });
  const line = Math.floor(wrong / voltageStepCount);
  const came = `${after.drivenNanoseconds[wrong]} ns after ${before.drivenNanoseconds[wrong]} ns at bit line ${line}, step ${wrong % voltageStepCount}`;
  const expected = `${pulse.widthNanoseconds} ns more for each cell of the region, on its bit line, in step ${voltageStepOf(pulse.amplitudeMillivolts)}`;
  expect(wrong < 0, `${expected}, and nothing else`, came);
}

async function countedPulses(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  bench.need('ResetCells');
  const conversation = await bench.open();
  const worn = await wearOf(conversation);
  const bitmap = bitmapOf(allowedPulses);
  const pulse = { amplitudeMillivolts: 1000, widthNanoseconds: 100 };
  expectResult(await conversation.request('resetCells', { cellsSha256: await conversation.upload(bitmap), ...pulse }, { patience: 60_000 }), 'resetCells');
  const now = await wearOf(conversation);
  const [before, after] = [worn.counts, now.counts];
  const resets = 2 * cellCount;
  const wrong = after.findIndex((count, index) => {
    const cell = index % cellCount;
    const isPulsed = index >= resets && ((bitmap[cell >> 3] >> (cell & 7)) & 1) === 1;
    return count !== before[index] + (isPulsed ? 1 : 0);
  });
  const kind = pulseKinds[Math.floor(wrong / cellCount)];
  const came = `${kind} ${after[wrong]} after ${before[wrong]} at cell ${wrong % cellCount}`;
  expect(wrong < 0, 'one RESET more for each cell of the region and nothing else', came);
  expectDriven(worn, now, allowedPulses, pulse);
}

/** A sweep in RESET polarity of the first cell of a region, by default so that it is inside every envelope. */
function sweepRequest({ identity }: Conversation, { firstBitLine: bitLine, firstSourceLine: sourceLine }: Region) {
  const { widthMaximumNanoseconds: dwellNanoseconds = 0, movesFromMillivolts = 0, complianceMaximumMicroamperes = 0 } = identity.envelope?.reset ?? {};
  const lastMillivolts = Math.max(1, movesFromMillivolts);
  const reset = { lastMillivolts, complianceMicroamperes: complianceMaximumMicroamperes, countedFromMillivolts: movesFromMillivolts };
  return { bitLine, sourceLine, reset, stepMillivolts: Math.ceil(lastMillivolts / 2), dwellNanoseconds, cycles: 1 };
}

async function sweepRefusals(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  const conversation = await bench.open();
  const before = await statusOf(conversation);
  const request = sweepRequest(conversation, allowedPulses);
  const refused = async (changes: Partial<MethodRequests['sweepCell']>, what: string) => {
    const final = await conversation.request('sweepCell', { ...request, ...changes });
    expect(final.failure?.code === 'PULSE_REFUSED', `PULSE_REFUSED for ${what}`, describeFinal(final));
    expectFailure(final, 'PULSE_REFUSED', 'NOT_APPLIED', /\d/);
  };
  const { reset } = request;
  await refused({ reset: { ...reset, lastMillivolts: 60_000 }, stepMillivolts: 10_000 }, 'a sweep to 60 V');
  await refused({ reset: { ...reset, complianceMicroamperes: 0 } }, 'a sweep without compliance');
  await refused({ reset: { ...reset, countedFromMillivolts: 60_000 } }, 'a sweep whose steps would count from 60 V on');
  await refused({ dwellNanoseconds: 1 }, 'a sweep too quick for a conversion');
  const after = await statusOf(conversation);
  expectEqual('pulses after refusals:', after.pulses, before.pulses);
  expectEqual('array state after refusals:', after.arrayState, before.arrayState);
}

/** Up to where a pulse may begin to move the cell, and down: the one step that is so high counts, the others do not. */
async function sweepCounts(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  const conversation = await bench.open();
  const request = sweepRequest(conversation, allowedPulses);
  const before = await countsOf(conversation);
  const id = bench.newId();
  const result = expectResult(await conversation.request('sweepCell', request, { id, patience: 60_000 }), 'sweepCell');
  const { lastMillivolts } = request.reset;
  const stairs = [...new Set([request.stepMillivolts, lastMillivolts])];
  const wanted = [...stairs, ...stairs.slice(0, -1).reverse()].map((amplitude) => -amplitude);
  const points = decodeSweepPoints(await conversation.fetch(result.pointsSha256, result.sizeBytes));
  expectEqual('amplitudes of the points:', points.map(({ amplitudeMillivolts }) => amplitudeMillivolts).join(' '), wanted.join(' '));
  expect(points.every(({ currentNanoamperes, range }) => currentNanoamperes <= 0 && range < result.ranges.length), 'currents of the sign of the voltage, in a'
    + ' range of the result', JSON.stringify(points));
  expectEqual('RESET pulses of the answer:', result.resetPulses, 1);
  const after = await countsOf(conversation);
  const cell = request.bitLine * sourceLineCount + request.sourceLine;
  expectEqual('RESET pulses of the cell:', after[2 * cellCount + cell] - before[2 * cellCount + cell], 1);
  expectEqual('pulses of all cells:', after.reduce((sum, count) => sum + count, 0) - before.reduce((sum, count) => sum + count, 0), 1);
  const again = await conversation.request('sweepCell', request, { id, patience: 60_000 });
  expect(again.repeatedFromJournal && again.sweepCell?.resetPulses === 1, 'the answer from the journal', describeFinal(again));
  expectEqual('pulses after the same id once more:', (await statusOf(conversation)).pulses, after.reduce((sum, count) => sum + count, 0));
}

const three = { section, protocol: 3 } as const;

export const pulseItems: readonly Item[] = [
  { ...three, name: 'envelope-stated', title: 'HELLO_ACK says what the board lets through', capabilities: ['FormCells'], run: statedEnvelope },
  { ...three, name: 'envelope-temperature', title: 'a board that limits the temperature of pulses tells that of its chip', run: toldTemperature },
  { ...three, name: 'envelope-loops', title: 'loops of pulses outside the envelope are refused (of no cell)', run: refusals },
  {
    ...three, name: 'forming-outcomes', title: 'a forming without a target gives no pulse and says what each cell is', capabilities: ['FormCells'],
    permission: 'pulses', run: forming,
  },
  {
    ...three, name: 'forming-set', title: 'a SET of a cell that never formed is refused', capabilities: ['SetCells'], permission: 'pulses', run: unformedSet,
  },
  {
    ...three, name: 'program-inside', title: 'a cell that reads inside its window gets no pulse', capabilities: ['ProgramCells'], permission: 'pulses',
    run: inside,
  },
  { ...three, name: 'wear-counts', title: 'the counts of every cell add up to the pulses of the status', capabilities: ['ReadWear'], run: wear },
  {
    ...three, name: 'wear-reset', title: 'a RESET counts once for each of its cells, and its width at its voltage', capabilities: ['ReadWear', 'ResetCells'],
    permission: 'pulses', run: countedPulses,
  },
  {
    ...three, name: 'sweep-envelope', title: 'a sweep outside the envelope gives no pulse', capabilities: ['SweepCell'], permission: 'pulses',
    run: sweepRefusals,
  },
  {
    ...three, name: 'sweep-counts', title: 'of a sweep those steps count as pulses that may move the cell, once', capabilities: ['SweepCell', 'ReadWear'],
    permission: 'pulses', run: sweepCounts,
  },
];
