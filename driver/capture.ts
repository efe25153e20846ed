import { crc32c } from '../firmware-protocol/crc32c.js';

/** What a record of a capture tells; its number in the file is its place here. */
export const captureKinds = ['opened', 'host', 'board', 'closed', 'dropped'] as const;
export type CaptureKind = (typeof captureKinds)[number];

export interface CaptureRecord {
  /** `host` and `board` are bytes of that sender, as they stood between two 00; `opened` and `closed` a name or a reason; `dropped` a count. */
  readonly kind: CaptureKind;
  /** Whether a 00 ended the bytes; what is longer than `segmentBytes` comes in several records, and what a close cuts off has none. */
  readonly isComplete: boolean;
  /** Which line of the service. */
  readonly line: number;
  /** Monotonic, of the host. */
  readonly hostMicroseconds: number;
  /** Since 1970. */
  readonly wallMilliseconds: number;
  /** Estimate of the board's link time at that moment; NaN where it is not known. */
  readonly linkTimeMicroseconds: number;
  readonly data: Uint8Array;
}

/** Longest data of one record. */
export const segmentBytes = 4096;
const headBytes = 8;
const fixedBytes = 28;
const magic = 'prime-capture 1';
const longestHeaderBytes = 4096;
const completeFlag = 1;

/** A record as bytes: length of the body (32 bits), its CRC-32C, then the body. Little-endian. */
export function encodeCaptureRecord(record: CaptureRecord): Uint8Array {
  const { data } = record;
  const bytes = new Uint8Array(headBytes + fixedBytes + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, fixedBytes + data.length, true);
  bytes[8] = captureKinds.indexOf(record.kind);
  bytes[9] = record.isComplete ? completeFlag : 0;
  view.setUint16(10, record.line, true);
  view.setFloat64(12, record.hostMicroseconds, true);
  view.setFloat64(20, record.wallMilliseconds, true);
  view.setFloat64(28, record.linkTimeMicroseconds, true);
  bytes.set(data, headBytes + fixedBytes);
  view.setUint32(4, crc32c(bytes, headBytes), true);
  return bytes;
}

/** The first line of a capture. */
export const captureHeader = (about: object): Uint8Array => new TextEncoder().encode(`${magic} ${JSON.stringify(about)}\n`);

/** Why the bytes of a capture end or cannot be read, and where. */
export interface CaptureFault {
  readonly offset: number;
  readonly reason: string;
}

/** Reads a capture in pieces of any size. What is not complete yet waits; what is damaged ends the reading. */
export class CaptureReader {
  fault: CaptureFault | undefined;
  /** What the first line says, when it is there. */
  header: string | undefined;
  private held = new Uint8Array(0);
  private offset = 0;

  push(chunk: Uint8Array): CaptureRecord[] {
    const joined = new Uint8Array(this.held.length + chunk.length);
    joined.set(this.held);
    joined.set(chunk, this.held.length);
    this.held = joined;
    if (this.header === undefined && !this.readHeader()) return [];
    const records: CaptureRecord[] = [];
    for (let record = this.next(); record !== undefined; record = this.next()) records.push(record);
    return records;
  }

  /** Says that nothing follows. @returns what is wrong with the end, undefined where the last record is whole */
  end(): CaptureFault | undefined {
    if (this.fault === undefined && (this.held.length > 0 || this.header === undefined)) {
      const what = this.header === undefined ? 'the first line' : 'a record';
      this.fault = { offset: this.offset, reason: `${what} is cut off after ${this.held.length} bytes` };
    }
    return this.fault;
  }

  private readHeader(): boolean {
    const end = this.held.subarray(0, longestHeaderBytes).indexOf(10);
    const text = new TextDecoder().decode(this.held.subarray(0, end < 0 ? longestHeaderBytes : end));
    const isOurs = text.slice(0, magic.length) === magic.slice(0, text.length);
    if (!isOurs || (end < 0 && this.held.length >= longestHeaderBytes)) this.fail(`this is no capture: it begins with ${JSON.stringify(text.slice(0, 20))}`);
    if (end < 0 || this.fault !== undefined) return false;
    this.header = text.slice(magic.length).trim();
    this.take(end + 1);
    return true;
  }

  private next(): CaptureRecord | undefined {
    const { held } = this;
    if (this.fault !== undefined || held.length < headBytes) return undefined;
    const view = new DataView(held.buffer, held.byteOffset, held.byteLength);
    const length = view.getUint32(0, true);
    if (length < fixedBytes || length > fixedBytes + segmentBytes) return this.fail(`a record of ${length} bytes`);
    if (held.length < headBytes + length) return undefined;
    const body = held.subarray(headBytes, headBytes + length);
    if (crc32c(body) !== view.getUint32(4, true)) return this.fail('a record whose checksum is wrong');
    const kind = captureKinds[body[0]];
    if (kind === undefined) return this.fail(`a record of the unknown kind ${body[0]}`);
    const record = {
      kind, isComplete: (body[1] & completeFlag) !== 0, line: view.getUint16(10, true), hostMicroseconds: view.getFloat64(12, true),
      wallMilliseconds: view.getFloat64(20, true), linkTimeMicroseconds: view.getFloat64(28, true), data: body.slice(fixedBytes),
    };
    this.take(headBytes + length);
    return record;
  }

  private take(bytes: number): void {
    this.held = this.held.subarray(bytes);
    this.offset += bytes;
  }

  private fail(reason: string): undefined {
    this.fault = { offset: this.offset, reason };
    return undefined;
  }
}
