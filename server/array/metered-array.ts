import {
  type CellProgress, type Device, type Envelope, type FormRequest, type FormResult, type HelloAck, type ProgramCellsRequest, type ProgramResult,
  type Pulse, type Region, type ResetCellsResult, type ResetPulse, type SetResult, stairCount, strictestEnvelope, type SweepRequest, type SweepResult,
  type WearCounts, wholeArray,
} from '../../driver/index.js';
import { cellCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import type { PulseOwner, WearLedger } from '../store/wear-ledger.js';
import type { CellBitmap } from './cell-bitmap.js';
import type { CellWindows } from './cell-windows.js';
import { brokenByTemperature, brokenLimits, type PlannedPulses, plannedSweep, type PulseBudget, refuseBroken } from './planned-pulses.js';
import type { WearMeter } from './wear-meter.js';

/** Codes of cells, at their places in a map of the whole array; cells outside the region read 0. */
export interface CellMap {
  readonly codes: Uint16Array;
  readonly saturatedCells: number;
  readonly operationNanoseconds: number;
  /** How long the read of one cell took, averages included. */
  readonly nanosecondsPerCell: number;
}

export interface ArrayWork {
  /** Whose pulses these are; without it the array can only be read. */
  readonly owner?: PulseOwner;
  /** Whose budget a plan draws on, where nothing is pulsed yet. */
  readonly user?: string | null;
  /** Pulses that the whole job may give. */
  readonly maximumPulses?: number | undefined;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CellProgress) => void;
}

/**
 * The array of one device and the ledger of its chip. What pulses cells goes through here: it is checked against the life of every cell before a byte is
 * sent, and counted after it, however it ends. `device` is for questions that touch no cell.
 */
export class MeteredArray {
  #wear: WearCounts;
  #given = 0;

  private constructor(
    readonly device: Device, readonly identity: HelloAck, private readonly meter: WearMeter, private readonly work: ArrayWork, wear: WearCounts,
  ) {
    this.#wear = wear;
  }

  /**
   * Looks at the chip: what an earlier job had begun and a killed service could not count is found here and booked as that job's. After a command whose
   * outcome is unknown nothing is believed: the cells are read before anything is changed.
   */
  static async open(device: Device, identity: HelloAck, meter: WearMeter, work: ArrayWork): Promise<MeteredArray> {
    if (device.state === 'needs-reconcile') await device.readCells(wholeArray, 1);
    // The device keeps what it is told with it: how warm the chip is now.
    await device.status();
    return new MeteredArray(device, identity, meter, work, await meter.read(device, identity, work.owner !== undefined));
  }

  get cellUnitNanosiemens(): number {
    return this.identity.geometry.cellUnitNanosiemens;
  }

  get envelope(): Envelope {
    return strictestEnvelope(this.identity.envelope);
  }

  /** Of every cell, as the ledger has it after the last operation. */
  get wear(): WearCounts {
    return this.#wear;
  }

  get signal(): AbortSignal | undefined {
    return this.work.signal;
  }

  can(capability: string): boolean {
    return this.identity.capabilities.includes(capability);
  }

  /** @throws MacroError METHOD_UNSUPPORTED */
  require(capability: string, why: string): void {
    if (!this.can(capability)) throw new MacroError('METHOD_UNSUPPORTED', `${why}, and ${this.identity.chipId} does not declare ${capability}`);
  }

  /** The smallest code that says so much, or more. */
  codeOf(microsiemens: number): number {
    return Math.ceil((microsiemens * 1000) / this.cellUnitNanosiemens);
  }

  microsiemensOf(code: number): number {
    return (code * this.cellUnitNanosiemens) / 1000;
  }

  async read(region: Region, averages: number): Promise<CellMap> {
    const read = await this.device.readCells(region, averages, this.work.onProgress);
    const codes = new Uint16Array(cellCount);
    for (let row = 0; row < region.bitLines; row += 1) {
      const line = read.codes.subarray(row * region.sourceLines, (row + 1) * region.sourceLines);
      codes.set(line, (region.firstBitLine + row) * sourceLineCount + region.firstSourceLine);
    }
    const { saturatedCells, operationNanoseconds } = read;
    return { codes, saturatedCells, operationNanoseconds, nanosecondsPerCell: operationNanoseconds / read.codes.length };
  }

  form(cells: CellBitmap, asked: FormRequest): Promise<FormResult> {
    const planned = { kind: 'forming', cells, leastPerCell: 0, mostPerCell: stairCount(asked.staircase) } as const;
    return this.metered([planned], () => this.device.formCells(cells, asked, this.work.onProgress, this.signal));
  }

  program(windows: CellWindows, asked: ProgramCellsRequest): Promise<ProgramResult> {
    const kinds = (['reset', 'set'] as const).filter((kind) => asked[kind] !== undefined);
    const planned = kinds.map((kind) => ({ kind, cells: windows.cells, leastPerCell: 0, mostPerCell: asked.pulsesPerCell }));
    return this.metered(planned, () => this.device.programCells(windows.bytes, asked, this.work.onProgress, this.signal));
  }

  /** One pulse a cell. */
  reset(cells: CellBitmap, pulse: ResetPulse): Promise<ResetCellsResult> {
    const planned = { kind: 'reset', cells, leastPerCell: 1, mostPerCell: 1 } as const;
    return this.metered([planned], () => {
      // A board that does not count is believed to have given what it was asked for, even if this process dies before it answers.
      if (!this.can('ReadWear')) this.ledger.assumeReset(this.identity.chipId, cells);
      return this.device.resetCells(cells, pulse, this.work.onProgress, this.signal);
    });
  }

  /** One pulse a cell. */
  set(cells: CellBitmap, pulse: Pulse): Promise<SetResult> {
    const planned = { kind: 'set', cells, leastPerCell: 1, mostPerCell: 1 } as const;
    return this.metered([planned], () => this.device.setCells(cells, pulse, this.work.onProgress, this.signal));
  }

  /** A sweep of one cell: each of its steps that can move it is a pulse. */
  sweep(asked: SweepRequest): Promise<SweepResult> {
    return this.metered(plannedSweep(asked), () => this.device.sweepCell(asked, this.work.onProgress, this.signal));
  }

  private get budgets(): PulseBudget[] {
    const { maximumPulses, owner, user = owner?.user ?? null } = this.work;
    const left = (maximumPulses ?? 0) - this.#given;
    const ofJob: PulseBudget[] = maximumPulses === undefined ? [] : [{ field: 'maximumPulses', left, means: `its budget is ${left}` }];
    return [...ofJob, ...[this.meter.budgetOf(this.identity.chipId, user)].filter((budget) => budget !== undefined)];
  }

  /** The limits that pulses would break in their worst case, on top of what every cell has had and this job has given. */
  brokenBy(planned: readonly PlannedPulses[]) {
    return [...brokenLimits(planned, this.#wear, this.envelope, this.budgets), ...brokenByTemperature(planned, this.device.temperatureCelsius, this.envelope)];
  }

  private get ledger(): WearLedger {
    return this.meter.ledger;
  }

  private async metered<Result>(planned: readonly PlannedPulses[], pulse: () => Promise<Result>): Promise<Result> {
    const { owner } = this.work;
    if (owner === undefined) throw new MacroError('PULSE_REFUSED', 'this array was opened to be read');
    refuseBroken(this.brokenBy(planned));
    this.ledger.begin(this.identity.chipId, owner);
    let result: Result;
    try {
      result = await pulse();
    } catch (error) {
      // Where the board cannot be asked now, the next job finds what it has counted, and books it as this one's.
      if (this.device.state === 'ready') await this.count().catch(() => undefined);
      throw error;
    }
    await this.count();
    return result;
  }

  private async count(): Promise<void> {
    const before = this.#wear;
    this.#wear = await this.meter.read(this.device, this.identity, true);
    for (const kind of ['forming', 'set', 'reset'] as const) {
      for (let cell = 0; cell < cellCount; cell += 1) this.#given += this.#wear[kind][cell] - before[kind][cell];
    }
  }
}
