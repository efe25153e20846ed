import { type Device, type HelloAck, wholeArray } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import type { CalibrationSources } from '../array/calibrate.js';
import { MaskApplication, usualMaskChoice } from '../array/mask-application.js';
import { type ArrayWork, MeteredArray } from '../array/metered-array.js';
import { type Recalibration, repeatCalibration } from '../array/recalibration.js';
import type { WearMeter } from '../array/wear-meter.js';
import type { Bundle, ChipRecord } from '../network/bundle.js';
import { type CompiledNetwork, compile } from '../network/compile.js';

/** A bundle that sits on a chip and is ready to run. */
export interface AppliedBundle {
  readonly compiled: CompiledNetwork;
  readonly programSha256: Uint8Array;
  /** RESET pulses that it took; 0 where the mask was there already. */
  readonly pulses: number;
  /** What became of the calibration of the chip behind them; null where there was none to repeat. */
  readonly calibration: Recalibration | null;
  /** Digests of what the calibration keeps, by name. */
  readonly objects: Readonly<Record<string, string>>;
}

type Brought = Pick<AppliedBundle, 'pulses' | 'calibration' | 'objects'>;

const nothingBrought: Brought = { pulses: 0, calibration: null, objects: {} };

export interface ApplierSources extends CalibrationSources {
  /** Keeps bytes for good. @returns their digest */
  keep(bytes: Uint8Array): string;
  readonly meter: WearMeter;
  /** Codes of a map of the whole array by its digest, where the service holds it. */
  snapshot(digest: string): Uint16Array | undefined;
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Remembers what is on each chip, so that a second job with the same bundle begins at once. */
export class BundleApplier {
  readonly #applied = new WeakMap<Device, { digest: string; arrayState: string }>();

  constructor(private readonly sources: ApplierSources) {}

  /**
   * Makes a chip hold a bundle and a device its program. A bundle with weights goes to a simulator as a snapshot; one that was made on a
   * chip is checked against chip id and fingerprint, and its mask is applied. Nothing is done where the array is as it was left.
   *
   * @param isOnDevice whether the device shall step the neurons and needs the program
   * @param work whose pulses the mask's are
   * @throws MacroError BUNDLE_CHIP_MISMATCH, MASK_REGROWS, METHOD_UNSUPPORTED, NETWORK_TOO_LARGE, and what the device says
   */
  async apply(device: Device, identity: HelloAck, bundle: Bundle, isOnDevice: boolean, work: ArrayWork): Promise<AppliedBundle> {
    const { geometry, converter } = identity;
    const compiled = compile(bundle, { geometry, converter });
    // After a command whose outcome is unknown nothing is believed: the cells are read before anything is changed.
    if (device.state === 'needs-reconcile') await device.readCells(wholeArray, 1);
    const last = this.#applied.get(device);
    const before = hex((await device.status()).arrayState);
    let brought = nothingBrought;
    if (last?.digest !== bundle.digest || last.arrayState !== before) {
      this.#applied.delete(device);
      brought = await this.#bringToChip(device, identity, bundle, compiled, work);
      this.#applied.set(device, { digest: bundle.digest, arrayState: hex((await device.status()).arrayState) });
    }
    const programSha256 = isOnDevice ? await device.loadProgram(compiled.program) : new Uint8Array();
    return { compiled, programSha256, ...brought };
  }

  async #bringToChip(device: Device, identity: HelloAck, bundle: Bundle, compiled: CompiledNetwork, work: ArrayWork): Promise<Brought> {
    if (bundle.chip !== undefined) return this.#applyMask(device, identity, bundle, bundle.chip, work);
    if (!identity.capabilities.includes('LoadSnapshot')) {
      const why = 'the bundle brings its own weights, which only a simulator can take';
      throw new MacroError('METHOD_UNSUPPORTED', `${why}, and ${identity.chipId} does not declare LoadSnapshot`);
    }
    if (compiled.snapshot) await device.loadSnapshot(compiled.snapshot);
    return nothingBrought;
  }

  async #applyMask(device: Device, identity: HelloAck, bundle: Bundle, chip: ChipRecord, work: ArrayWork): Promise<Brought> {
    const { meter, snapshot, keep } = this.sources;
    const array = await MeteredArray.open(device, identity, meter, work);
    const application = await MaskApplication.look(array, bundle, chip, usualMaskChoice, snapshot(chip.snapshotDigest));
    const pulses = (await application.apply()).pulses.reset;
    if (pulses === 0) return nothingBrought;
    const objects: Record<string, string> = {};
    const job = { id: work.owner?.jobId ?? '', keep: (name: string, bytes: Uint8Array) => { objects[name] = keep(bytes); } };
    return { pulses, calibration: await repeatCalibration(array, job, this.sources), objects };
  }
}
