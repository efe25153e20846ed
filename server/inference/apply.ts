import type { Device, HelloAck } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import type { Bundle, ChipRecord } from '../network/bundle.js';
import { type CompiledNetwork, compile } from '../network/compile.js';
import { fingerprintCells, fingerprintCorrelation, fingerprintOf, prunedCells } from '../network/snapshot.js';

/** A bundle that sits on a chip and is ready to run. */
export interface AppliedBundle {
  readonly compiled: CompiledNetwork;
  readonly programSha256: Uint8Array;
  /** RESET pulses that it took; 0 where the mask was there already. */
  readonly pulses: number;
}

/** Reads of a cell that are averaged where a decision hangs on them: noise of 2 % becomes 1 %. */
const readsPerCell = 4;

/** A cell that was reset keeps 0.5 ± 0.3 µS, a formed one has 8 µS and more (PRIME.md §6): between them nothing is. */
const resetBelowNanosiemens = 4000;

/** Another chip correlates with 0, the same one with 0.98 and more at 2 % of read noise. */
const sameChipCorrelation = 0.9;

const resetPulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000 };
const resetAttempts = 3;

const isSet = (bitmap: Uint8Array, cell: number) => ((bitmap[cell >> 3] >> (cell & 7)) & 1) === 1;

async function readArray(device: Device, { geometry }: HelloAck): Promise<Uint16Array> {
  const region = { firstBitLine: 0, bitLines: geometry.bitLines, firstSourceLine: 0, sourceLines: geometry.sourceLines };
  return (await device.readCells(region, readsPerCell)).codes;
}

/** Refuses a chip that says it is the one of the bundle and does not look like it. Cells that the mask prunes may have changed. */
function checkFingerprint(codes: Uint16Array, chip: ChipRecord, pruned: Uint8Array, { geometry }: HelloAck): void {
  const cells = fingerprintCells(geometry);
  const correlation = fingerprintCorrelation(chip.fingerprint, fingerprintOf(codes, geometry), (sample) => !isSet(pruned, cells[sample]));
  if (correlation >= sameChipCorrelation) return;
  const problem = `the cells of ${chip.chipId} correlate with those that the bundle was made on by ${correlation.toFixed(3)}`;
  throw new MacroError('BUNDLE_CHIP_MISMATCH', `${problem}, ${sameChipCorrelation} is needed`, { field: 'model' });
}

/** Of the cells that shall be reset, those that still conduct. */
function stillConducting(codes: Uint16Array, pruned: Uint8Array, cellUnitNanosiemens: number): { bitmap: Uint8Array; count: number } {
  const bitmap = new Uint8Array(pruned.length);
  let count = 0;
  for (let cell = 0; cell < codes.length; cell += 1) {
    if (!isSet(pruned, cell) || codes[cell] * cellUnitNanosiemens < resetBelowNanosiemens) continue;
    bitmap[cell >> 3] |= 1 << (cell & 7);
    count += 1;
  }
  return { bitmap, count };
}

/**
 * Resets the pruned cells of a bundle that was made on this chip, and only those that still conduct: what was applied before is not pulsed
 * again, and a cell that never formed needs nothing. Cells are read, not remembered, so an unknown outcome of an earlier command is healed.
 */
async function applyMask(device: Device, identity: HelloAck, bundle: Bundle, chip: ChipRecord): Promise<number> {
  const { geometry } = identity;
  const pruned = prunedCells(bundle.layers.map(({ mask }) => mask), chip.placements, geometry);
  let codes = await readArray(device, identity);
  checkFingerprint(codes, chip, pruned, identity);
  let pulses = 0;
  for (let attempt = 0; attempt < resetAttempts; attempt += 1) {
    const { bitmap, count } = stillConducting(codes, pruned, geometry.cellUnitNanosiemens);
    if (count === 0) return pulses;
    pulses += (await device.resetCells(bitmap, resetPulse)).pulses;
    codes = await readArray(device, identity);
  }
  // A cell that cannot be reset is a measurement, not an error: a few cost accuracy by fractions of a percent (PRIME.md §7).
  return pulses;
}

function requireCapability(identity: HelloAck, capability: string, why: string): void {
  if (identity.capabilities.includes(capability)) return;
  throw new MacroError('METHOD_UNSUPPORTED', `${why}, and ${identity.chipId} does not declare ${capability}`);
}

async function bringToChip(device: Device, identity: HelloAck, bundle: Bundle, compiled: CompiledNetwork): Promise<number> {
  const { chip } = bundle;
  if (chip === undefined) {
    requireCapability(identity, 'LoadSnapshot', 'the bundle brings its own weights, which only a simulator can take');
    if (compiled.snapshot) await device.loadSnapshot(compiled.snapshot);
    return 0;
  }
  if (chip.chipId !== identity.chipId) {
    const problem = `the bundle was made on ${chip.chipId}, the device holds ${identity.chipId}`;
    throw new MacroError('BUNDLE_CHIP_MISMATCH', problem, { field: 'model' });
  }
  requireCapability(identity, 'ResetCells', 'the mask of the bundle must be applied');
  return applyMask(device, identity, bundle, chip);
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Remembers what is on each chip, so that a second job with the same bundle begins at once. */
export class BundleApplier {
  readonly #applied = new WeakMap<Device, { digest: string; arrayState: string }>();

  /**
   * Makes a chip hold a bundle and a device its program. A bundle with weights goes to a simulator as a snapshot; one that was made on a
   * chip is checked against chip id and fingerprint, and its mask is applied. Nothing is done where the array is as it was left.
   *
   * @param isOnDevice whether the device shall step the neurons and needs the program
   * @throws MacroError BUNDLE_CHIP_MISMATCH, METHOD_UNSUPPORTED, NETWORK_TOO_LARGE, and what the device says
   */
  async apply(device: Device, identity: HelloAck, bundle: Bundle, isOnDevice: boolean): Promise<AppliedBundle> {
    const { geometry, converter } = identity;
    const compiled = compile(bundle, { geometry, converter });
    // After a command whose outcome is unknown nothing is believed: the cells are read before anything is changed.
    if (device.state === 'needs-reconcile') await readArray(device, identity);
    const last = this.#applied.get(device);
    const before = hex((await device.status()).arrayState);
    let pulses = 0;
    if (last?.digest !== bundle.digest || last.arrayState !== before) {
      this.#applied.delete(device);
      pulses = await bringToChip(device, identity, bundle, compiled);
      this.#applied.set(device, { digest: bundle.digest, arrayState: hex((await device.status()).arrayState) });
    }
    const programSha256 = isOnDevice ? await device.loadProgram(compiled.program) : new Uint8Array();
    return { compiled, programSha256, pulses };
  }
}
