import { bitLineCount, cellCount, sourceLineCount } from '../firmware-protocol/limits.js';
import type { Pulse } from '../proto/message.js';
import { voltageStepCount, voltageStepOf } from '../proto/voltage-step.js';
import { applyPlaces, bytesOf, encodePlaces, type Values } from './chip-changes.js';

const serialMagic = 0x50434834; // "PCH4"
const headerBytes = 28;

/** The seed of a chip that was made bytes; undefined where the bytes are no chip. */
export function seedOf(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return bytes.length < headerBytes || view.getUint32(0, true) !== serialMagic ? undefined : view.getUint32(4, true);
}

/** Everything that is known of a chip beside its profile: cells, lines and counters, as a whole in bytes or change by change. */
export class ChipState {
  /** Cell codes, bit line × 512 + source line, in units of the profile. */
  readonly codes = new Uint16Array(cellCount);
  readonly states = new Uint8Array(cellCount);
  /** Pulses of every kind that a cell has had; of them forming and SET pulses, the rest are RESET. */
  readonly pulseCounts = new Uint16Array(cellCount);
  readonly formingCounts = new Uint16Array(cellCount);
  readonly setCounts = new Uint16Array(cellCount);
  /** Operation time at which a pulse last moved a cell; −Infinity: it has settled long ago. */
  readonly changedAtNanoseconds = new Float64Array(cellCount).fill(Number.NEGATIVE_INFINITY);
  /** How long each bit line was driven for reads. */
  readonly drivenNanoseconds = new Float64Array(bitLineCount);
  /** How long each bit line was driven for pulses, bit line × steps of voltage + step. */
  readonly pulsedNanoseconds = new Float64Array(bitLineCount * voltageStepCount);
  /** Rises before each operation that changes the array. */
  arrayEpoch = 0;
  /** Counts array reads, so that no two share their noise. */
  operationCount = 0;
  operationNanoseconds = 0;
  /** Operation time at which a pulse last moved any cell. */
  protected movedAtNanoseconds = Number.NEGATIVE_INFINITY;
  /** Number of the pulse that moved a cell last. */
  protected readonly movedByPulse = new Uint16Array(cellCount);
  /** What `drivenNanoseconds` of a cell's bit line was then. */
  protected readonly drivenAtChangeNanoseconds = new Float64Array(cellCount);
  /** Pulses on each word line, and what that was then. */
  protected readonly wordLinePulses = new Uint32Array(Math.max(bitLineCount, sourceLineCount));
  protected readonly wordLinePulsesAtChange = new Uint32Array(cellCount);
  /** Cells that something was done to since `takeChanges`, and what the header was then. */
  protected readonly changed = new Set<number>();
  /** Places in `pulsedNanoseconds` that have changed since then. */
  private readonly changedPulsed = new Set<number>();
  private headerTaken: Uint8Array | undefined;

  constructor(readonly seed: number) {}

  /** The bit line of a cell was under the voltage of a pulse, whether it counts as one or not. */
  drivePulse(cell: number, { amplitudeMillivolts, widthNanoseconds }: Pulse): void {
    const place = Math.floor(cell / sourceLineCount) * voltageStepCount + voltageStepOf(amplitudeMillivolts);
    this.pulsedNanoseconds[place] += widthNanoseconds;
    this.changedPulsed.add(place);
  }

  private get perCell(): readonly Values[] {
    return [
      this.codes, this.states, this.pulseCounts, this.formingCounts, this.setCounts, this.changedAtNanoseconds, this.movedByPulse,
      this.drivenAtChangeNanoseconds, this.wordLinePulsesAtChange,
    ];
  }

  private get perLine(): readonly Values[] {
    return [this.drivenNanoseconds, this.wordLinePulses];
  }

  private get arrays(): readonly Values[] {
    return [...this.perLine, this.pulsedNanoseconds, ...this.perCell];
  }

  private get header(): Uint8Array {
    const bytes = new Uint8Array(headerBytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, serialMagic, true);
    view.setUint32(4, this.seed, true);
    view.setUint32(8, this.arrayEpoch, true);
    view.setFloat64(12, this.operationCount, true);
    view.setFloat64(20, this.operationNanoseconds, true);
    return bytes;
  }

  /** Takes over a header, and behind it as many arrays. @returns where they end */
  private restore(bytes: Uint8Array, arrays: readonly Values[]): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.arrayEpoch = view.getUint32(8, true);
    this.operationCount = view.getFloat64(12, true);
    this.operationNanoseconds = view.getFloat64(20, true);
    let at = headerBytes;
    for (const array of arrays) {
      bytesOf(array).set(bytes.subarray(at, at + array.byteLength));
      at += array.byteLength;
    }
    return at;
  }

  private findMoved(): void {
    this.movedAtNanoseconds = this.changedAtNanoseconds.reduce((latest, moved) => Math.max(latest, moved));
  }

  /** The chip as bytes: a header, then what is known of the lines and of the cells. */
  serialise(): Uint8Array {
    return joined([this.header, ...this.arrays.map(bytesOf)]);
  }

  /** Takes over what `serialise` has made. @returns whether it was that of a chip */
  protected restoreAll(bytes: Uint8Array): boolean {
    const { arrays } = this;
    if (bytes.length !== arrays.reduce((sum, { byteLength }) => sum + byteLength, headerBytes)) return false;
    this.restore(bytes, arrays);
    this.findMoved();
    return true;
  }

  /** What was done to the chip since this was called before, as bytes that `replay` takes; undefined: nothing. */
  takeChanges(): Uint8Array | undefined {
    const { header, headerTaken, changed, changedPulsed } = this;
    if (changed.size + changedPulsed.size === 0 && headerTaken?.every((byte, index) => byte === header[index])) return undefined;
    const pulsed = encodePlaces([this.pulsedNanoseconds], changedPulsed);
    const changes = joined([header, ...this.perLine.map(bytesOf), pulsed, encodePlaces(this.perCell, changed)]);
    changed.clear();
    changedPulsed.clear();
    this.headerTaken = header;
    return changes;
  }

  /** Does again what `takeChanges` has told, in the order in which it told it. */
  replay(changes: readonly Uint8Array[]): void {
    for (const bytes of changes) {
      const cells = applyPlaces([this.pulsedNanoseconds], bytes.subarray(this.restore(bytes, this.perLine)));
      applyPlaces(this.perCell, cells);
    }
    this.findMoved();
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
