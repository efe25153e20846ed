import { closeSync, existsSync, openSync, renameSync, rmSync, write, writeSync } from 'node:fs';
import { captureHeader, type CaptureSink, encodeCaptureRecord } from '../../driver/index.js';
import type { Clock } from '../../firmware-protocol/clock.js';
import { MacroError } from '../../proto/error.js';

export interface CaptureLimit {
  /** Of one file. */
  readonly bytes: number;
  readonly files: number;
}

export interface CaptureOptions {
  readonly path: string;
  readonly limit: CaptureLimit;
  readonly clock: Clock;
  readonly wallMilliseconds: () => number;
  /** Said in the first line of each file. */
  readonly hostVersion: string;
}

export const defaultCaptureLimit: CaptureLimit = { bytes: 64 * 1024 * 1024, files: 4 };
const smallestFileBytes = 64 * 1024;
const largestFileBytes = 2 ** 36;
const mostFiles = 100;
/** Records that wait for the disk; what comes on top is counted and dropped. */
const waitingBytesLimit = 8 * 1024 * 1024;
const units: Readonly<Record<string, number>> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** @throws MacroError BAD_ARGUMENT, saying how a limit is written */
export function parseCaptureLimit(text: string): CaptureLimit {
  const match = /^(\d{1,12})([KMG]?)(?:x(\d{1,3}))?$/.exec(text);
  const bytes = match === null ? Number.NaN : Number(match[1]) * units[match[2]];
  const files = Number(match?.[3] ?? defaultCaptureLimit.files);
  if (bytes >= smallestFileBytes && bytes <= largestFileBytes && files >= 1 && files <= mostFiles) return { bytes, files };
  const problem = `--capture-limit is "${text}"; it is the size of a file, 64K to 64G, and how many there are, as 64Mx4`;
  throw new MacroError('BAD_ARGUMENT', problem, { field: 'capture-limit' });
}

/** A capture on disk: the newest records in `path`, older ones in `path.1`, `path.2`…, the oldest are given up. Nothing here waits for the disk. */
export class CaptureFile implements CaptureSink {
  private file: number;
  private fileBytes = 0;
  private waiting: Uint8Array[] = [];
  private waitingBytes = 0;
  private isWriting = false;
  private isClosed = false;
  private readonly openLines = new Map<number, Uint8Array>();
  private idleWaiters: (() => void)[] = [];
  /** Records that found no room since the last one that did. */
  private droppedNow = 0;
  /** Records that were given up in all. */
  dropped = 0;
  /** Why nothing can be written any more. */
  failure: Error | undefined;

  /** @throws MacroError BAD_ARGUMENT where the file cannot be made */
  constructor(private readonly options: CaptureOptions) {
    try {
      this.rotate();
      this.file = this.begin();
    } catch (error) {
      throw new MacroError('BAD_ARGUMENT', `--capture ${options.path} cannot be written: ${(error as Error).message}`, { field: 'capture', cause: error });
    }
  }

  append(record: Uint8Array): void {
    if (this.isClosed || this.failure !== undefined || this.waitingBytes + record.length > waitingBytesLimit) {
      this.droppedNow += 1;
      this.dropped += 1;
      return;
    }
    if (this.droppedNow > 0) this.enqueue(this.droppedRecord());
    this.enqueue(record);
    this.drain();
  }

  open(line: number, record: Uint8Array): void {
    this.openLines.set(line, record);
    this.append(record);
  }

  close(line: number, record: Uint8Array): void {
    this.openLines.delete(line);
    this.append(record);
  }

  /** Writes what waits and closes the file. */
  async end(): Promise<void> {
    if (this.droppedNow > 0 && this.failure === undefined) {
      this.enqueue(this.droppedRecord());
      this.drain();
    }
    this.isClosed = true;
    while (this.isWriting) await new Promise<void>((resolve) => void this.idleWaiters.push(resolve));
    closeSync(this.file);
  }

  private droppedRecord(): Uint8Array {
    const data = new Uint8Array(4);
    new DataView(data.buffer).setUint32(0, this.droppedNow, true);
    this.droppedNow = 0;
    const { clock, wallMilliseconds } = this.options;
    return encodeCaptureRecord({
      kind: 'dropped', isComplete: true, line: 0, hostMicroseconds: clock.nowMicroseconds(), wallMilliseconds: wallMilliseconds(),
      linkTimeMicroseconds: Number.NaN, data,
    });
  }

  private enqueue(record: Uint8Array): void {
    this.waiting.push(record);
    this.waitingBytes += record.length;
  }

  /** Hands what waits to the disk, one write at a time. */
  private drain(): void {
    if (this.isWriting || this.waiting.length === 0) return;
    const batch = this.nextBatch();
    this.isWriting = true;
    write(this.file, batch, 0, batch.length, null, (error, written) => {
      this.isWriting = false;
      this.waitingBytes -= batch.length;
      this.fileBytes += written ?? 0;
      if (error !== null) this.fail(error);
      else if (written < batch.length) this.fail(new Error(`the disk took ${written} of ${batch.length} bytes`));
      else this.turnOver();
      this.drain();
      if (!this.isWriting) for (const wake of this.idleWaiters.splice(0)) wake();
    });
  }

  /** As many records as the file may still take, one at least. */
  private nextBatch(): Uint8Array {
    let count = 0;
    let bytes = 0;
    while (count < this.waiting.length && (count === 0 || this.fileBytes + bytes + this.waiting[count].length <= this.options.limit.bytes)) {
      bytes += this.waiting[count].length;
      count += 1;
    }
    return Buffer.concat(this.waiting.splice(0, count), bytes);
  }

  /** Begins the next file where this one is full. */
  private turnOver(): void {
    const next = this.waiting[0]?.length ?? 0;
    if (this.fileBytes + next < this.options.limit.bytes) return;
    try {
      closeSync(this.file);
      this.rotate();
      this.file = this.begin();
    } catch (error) {
      this.fail(error as Error);
    }
  }

  private fail(error: Error): void {
    this.failure ??= error;
    this.dropped += this.waiting.length;
    this.waiting = [];
    this.waitingBytes = 0;
  }

  private rotate(): void {
    const { path, limit } = this.options;
    const name = (index: number) => (index === 0 ? path : `${path}.${index}`);
    if (!existsSync(path)) return;
    rmSync(name(limit.files - 1), { force: true });
    for (let index = limit.files - 2; index >= 0; index -= 1) if (existsSync(name(index))) renameSync(name(index), name(index + 1));
  }

  /** A new file with its first line and the lines that are open. */
  private begin(): number {
    const { path, hostVersion, wallMilliseconds } = this.options;
    const file = openSync(path, 'w', 0o600);
    const head = Buffer.concat([captureHeader({ hostVersion, startedAt: new Date(wallMilliseconds()).toISOString() }), ...this.openLines.values()]);
    this.fileBytes = writeSync(file, head);
    return file;
  }
}
