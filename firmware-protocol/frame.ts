import { decodeCobs, encodeCobs, encodedLength } from './cobs.js';
import { crc32c } from './crc32c.js';
import { headerBytes, maximumFrameBytes, maximumPayloadBytes } from './limits.js';

/** Byte 0 of every frame. It changes only if frames themselves do; what messages mean is agreed in HELLO (version.ts). */
export const framingVersion = 1;

/** In the order of their numbers on the wire. */
export const frameTypes = ['HELLO', 'HELLO_ACK', 'RESET', 'DATA', 'ACK', 'DATAGRAM', 'LOG', 'ESTOP'] as const;
export type FrameType = (typeof frameTypes)[number];

export interface Frame {
  readonly version: number;
  readonly type: FrameType;
  readonly flags: number;
  /** Chosen by the host for one HELLO; uint32. */
  readonly session: number;
  /** Of a DATA frame; uint16. */
  readonly sequence: number;
  /** The next sequence number that the sender expects. */
  readonly acknowledge: number;
  /** Bit i: the frame acknowledge + 1 + i has arrived too. */
  readonly selective: number;
  /** Bytes that the sender can take beyond `acknowledge`. */
  readonly credit: number;
  readonly payload: Uint8Array;
}

const checksumBytes = 4;
const rawLimit = maximumFrameBytes + checksumBytes;
/** Bytes that the longest frame takes on the line, with its delimiters. */
export const maximumWireBytes = encodedLength(rawLimit) + 2;
/** Bytes of a frame on the line beside its payload; the longest have two or three more of byte stuffing. */
export const frameOverheadBytes = encodedLength(headerBytes + checksumBytes) + 2;
const wireLimit = maximumWireBytes - 2;

function putUint16(target: Uint8Array, at: number, value: number): void {
  target[at] = value;
  target[at + 1] = value >>> 8;
}

function putUint32(target: Uint8Array, at: number, value: number): void {
  putUint16(target, at, value);
  putUint16(target, at + 2, value >>> 16);
}

/**
 * Writes a frame as it stands on the line: 00 | COBS(header ‖ payload ‖ CRC-32C) | 00. All fields are little-endian.
 * @param target has room for `maximumWireBytes` from `at` on
 * @returns the index behind the last byte written
 * @throws RangeError where the payload is longer than a frame holds
 */
export function writeFrame(frame: Frame, target: Uint8Array, at: number): number {
  const { payload } = frame;
  if (payload.length > maximumPayloadBytes) throw new RangeError(`a payload of ${payload.length} bytes; the limit is ${maximumPayloadBytes}`);
  const raw = at + 2; // behind the delimiter and the first code byte
  target[raw] = frame.version;
  target[raw + 1] = frameTypes.indexOf(frame.type);
  target[raw + 2] = frame.flags;
  putUint32(target, raw + 3, frame.session);
  putUint16(target, raw + 7, frame.sequence);
  putUint16(target, raw + 9, frame.acknowledge);
  putUint32(target, raw + 11, frame.selective);
  putUint16(target, raw + 15, frame.credit);
  target.set(payload, raw + headerBytes);
  const checked = raw + headerBytes + payload.length;
  putUint32(target, checked, crc32c(target, raw, checked));
  target[at] = 0;
  const end = encodeCobs(target, at + 1, headerBytes + payload.length + checksumBytes);
  target[end] = 0;
  return end + 1;
}

/** A frame as bytes on the line. @throws RangeError where the payload is longer than a frame holds */
export function encodeFrame(frame: Frame): Uint8Array {
  const wire = new Uint8Array(maximumWireBytes);
  return wire.slice(0, writeFrame(frame, wire, 0));
}

/** Why bytes between two delimiters were no frame. Noise on the line, never an exception. */
export const discardReasons = ['crc', 'cobs', 'too-long', 'too-short', 'version', 'type'] as const;
export type DiscardReason = (typeof discardReasons)[number];
export interface Discarded {
  readonly reason: DiscardReason;
  readonly bytes: number;
}
export type Decoded = { readonly frame: Frame; readonly discarded?: undefined } | { readonly discarded: Discarded; readonly frame?: undefined };

/** Cuts a stream of bytes into frames, whatever its chunks. Holds at most one frame; after noise it is right again at the next 00. */
export class FrameDecoder {
  private readonly held = new Uint8Array(wireLimit);
  private readonly raw = new Uint8Array(wireLimit);
  private readonly view = new DataView(this.raw.buffer);
  private length = 0;
  /** Bytes since the last delimiter, also those that were not held. */
  private seen = 0;

  push(chunk: Uint8Array): Decoded[] {
    const decoded: Decoded[] = [];
    let start = 0;
    while (start < chunk.length) {
      const zero = chunk.indexOf(0, start);
      const end = zero < 0 ? chunk.length : zero;
      this.hold(chunk, start, end);
      if (zero < 0) break;
      const next = this.finish();
      if (next !== undefined) decoded.push(next);
      start = zero + 1;
    }
    return decoded;
  }

  private hold(chunk: Uint8Array, start: number, end: number): void {
    this.seen += end - start;
    if (this.seen > wireLimit) return;
    this.held.set(chunk.subarray(start, end), this.length);
    this.length += end - start;
  }

  private finish(): Decoded | undefined {
    const { length, seen } = this;
    this.length = 0;
    this.seen = 0;
    if (seen === 0) return undefined; // between the closing and the opening 00 of two frames
    if (seen > wireLimit) return { discarded: { reason: 'too-long', bytes: seen } };
    return this.decode(length);
  }

  private decode(length: number): Decoded {
    const discard = (reason: DiscardReason): Decoded => ({ discarded: { reason, bytes: length } });
    const rawLength = decodeCobs(this.held, length, this.raw);
    if (rawLength < 0) return discard('cobs');
    if (rawLength < headerBytes + checksumBytes) return discard('too-short');
    if (rawLength > rawLimit) return discard('too-long');
    const checked = rawLength - checksumBytes;
    if (crc32c(this.raw, 0, checked) !== this.view.getUint32(checked, true)) return discard('crc');
    if (this.raw[0] !== framingVersion) return discard('version');
    const type = frameTypes[this.raw[1]];
    if (type === undefined) return discard('type');
    return { frame: this.frameOf(type, checked) };
  }

  private frameOf(type: FrameType, end: number): Frame {
    return {
      version: this.raw[0],
      type,
      flags: this.raw[2],
      session: this.view.getUint32(3, true),
      sequence: this.view.getUint16(7, true),
      acknowledge: this.view.getUint16(9, true),
      selective: this.view.getUint32(11, true),
      credit: this.view.getUint16(15, true),
      payload: this.raw.slice(headerBytes, end),
    };
  }
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/** A frame as one line for logs and failed tests. */
export function describeFrame(frame: Frame): string {
  const { type, session, sequence, acknowledge, selective, credit, flags, payload } = frame;
  const numbers = type === 'DATA' ? `seq ${sequence} ` : '';
  const flagText = flags === 0 ? '' : ` flags ${hex(flags, 2)}`;
  return `${type.padEnd(9)} ${hex(session, 8)} ${numbers}ack ${acknowledge}+${hex(selective, 8)} credit ${credit}${flagText} ${payload.length} bytes`;
}
