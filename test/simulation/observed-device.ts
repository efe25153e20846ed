import type { Device, Region, ResetPulse, Snapshot } from '../../driver/index.js';
import { snapshotCodec } from '../../proto/codec.js';
import { MacroError } from '../../proto/error.js';
import type { Outcome } from '../../proto/outcome.js';
import { sha256 } from '../rig/bench.js';
import type { Controller } from './controller.js';
import type { Ledger } from './ledger.js';
import { snapshotName } from './snapshot-name.js';
import type { Trust } from './trust.js';
import type { Verdict } from './verdict.js';

export interface Observers {
  readonly ledger: Ledger;
  readonly trust: Trust;
  readonly verdict: Verdict;
  readonly controller: Controller;
  /** Whether what is read is what the cells hold, to the bit. */
  readonly isExact: boolean;
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

type Verb = (...values: unknown[]) => Promise<unknown>;

export const wholeArray: Region = { firstBitLine: 0, bitLines: 512, firstSourceLine: 0, sourceLines: 512 };

const isWhole = ({ bitLines, sourceLines }: Region) => bitLines === wholeArray.bitLines && sourceLines === wholeArray.sourceLines;

function selectedCells(bitmap: Uint8Array): number[] {
  const cells: number[] = [];
  bitmap.forEach((byte, index) => {
    for (let bit = 0; byte >> bit !== 0; bit += 1) if (((byte >> bit) & 1) === 1) cells.push(index * 8 + bit);
  });
  return cells;
}

/** A device whose calls are kept in the ledger: what each was told, and that each was told something. */
export class DeviceObserver {
  /** Calls that have not been answered. */
  readonly pending = new Map<number, string>();
  /** Effects of the job that runs now, with what was reported of them. */
  outcomes: { readonly effects: readonly string[]; outcome: Outcome | 'open' }[] = [];
  private calls = 0;

  constructor(private readonly device: Device, private readonly observers: Observers) {}

  /** The device, as jobs get it. */
  observed(): Device {
    const verbs: Readonly<Record<string, Verb>> = {
      scratch: (add) => this.scratch(add as number),
      resetCells: (cells, pulse, _onProgress, signal) => this.resetCells(cells as Uint8Array, pulse as ResetPulse, signal as AbortSignal | undefined),
      loadSnapshot: (snapshot) => this.loadSnapshot(snapshot as Snapshot),
      readCells: (region, averages) => this.readCells(region as Region, averages as number),
      uploadBulk: (bytes) => this.uploadBulk(bytes as Uint8Array),
      fetchBulk: (digest, size) => this.fetchBulk(digest as Uint8Array, size as number),
    };
    return new Proxy(this.device, {
      get: (target, name) => {
        const verb = typeof name === 'string' && Object.hasOwn(verbs, name) ? verbs[name] : undefined;
        if (verb !== undefined) return (...values: unknown[]) => this.track(String(name), () => verb(...values));
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...values: unknown[]) => this.track(String(name), () => value.apply(target, values));
      },
    });
  }

  private track(name: string, call: () => unknown): unknown {
    const result = call();
    if (!(result instanceof Promise)) return result;
    const number = this.calls;
    this.calls += 1;
    this.pending.set(number, name);
    const settled = () => this.pending.delete(number);
    result.then(settled, settled);
    return result;
  }

  /** @param wish as the request on the line says it */
  private async effectful<Result>(wish: string, effects: readonly string[], call: () => Promise<Result>): Promise<Result> {
    const { ledger, trust } = this.observers;
    const entry: { readonly effects: readonly string[]; outcome: Outcome | 'open' } = { effects, outcome: 'open' };
    this.outcomes.push(entry);
    ledger.asked(effects);
    trust.asks(wish, effects);
    try {
      const result = await call();
      entry.outcome = 'applied';
      ledger.reported(effects, 'applied');
      return result;
    } catch (error) {
      const { code, outcome } = MacroError.from(error);
      entry.outcome = outcome;
      if (code === 'PULSE_REFUSED') this.outcomes = this.outcomes.filter((other) => other !== entry); // asked for to be refused
      if (outcome === 'unknown') trust.lose(wish, `${effects[0]} ended with ${code}, outcome unknown`);
      ledger.reported(effects, outcome, false);
      throw error;
    }
  }

  private scratch(add: number): Promise<unknown> {
    return this.effectful(`scratch ${add}`, [this.observers.ledger.additionName(add)], () => this.device.scratch(add));
  }

  private resetCells(cells: Uint8Array, pulse: ResetPulse, signal?: AbortSignal): Promise<unknown> {
    const effects = selectedCells(cells).map((cell) => this.observers.ledger.cellName(cell));
    return this.effectful(hex(sha256(cells)), effects, () => this.device.resetCells(cells, pulse, undefined, signal));
  }

  private loadSnapshot(snapshot: Snapshot): Promise<unknown> {
    return this.effectful(hex(sha256(snapshotCodec.encode(snapshot))), [snapshotName(snapshot.tiles)], () => this.device.loadSnapshot(snapshot));
  }

  private async readCells(region: Region, averages: number) {
    const { controller, trust, verdict, isExact } = this.observers;
    const cellsAreRead = isWhole(region) ? trust.beginRead() : () => undefined;
    const { chip } = controller;
    const epoch = chip.arrayEpoch;
    const result = await this.device.readCells(region, averages);
    if (isExact && chip === controller.chip && epoch === chip.arrayEpoch) {
      const isRight = result.codes.every((code, index) => {
        const bitLine = region.firstBitLine + Math.floor(index / region.sourceLines);
        return code === chip.codes[bitLine * wholeArray.sourceLines + region.firstSourceLine + (index % region.sourceLines)];
      });
      verdict.expect(isRight, () => 'a read of cells differs from the cells, which nobody changed meanwhile');
    }
    cellsAreRead();
    return result;
  }

  private async uploadBulk(bytes: Uint8Array): Promise<Uint8Array> {
    const digest = await this.device.uploadBulk(bytes);
    this.observers.verdict.expect(Buffer.compare(digest, sha256(bytes)) === 0, () => 'an upload states another digest than that of its bytes');
    return digest;
  }

  private async fetchBulk(digest: Uint8Array, size: number): Promise<Uint8Array> {
    const bytes = await this.device.fetchBulk(digest, size);
    this.observers.verdict.expect(Buffer.compare(sha256(bytes), digest) === 0, () => 'an object came with another digest than it was asked by');
    return bytes;
  }
}
