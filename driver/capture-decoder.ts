import { type Decoded, describeFrame, type Discarded, type Frame, FrameDecoder } from '../firmware-protocol/frame.js';
import { deviceMessageCodec, helloAckCodec, helloCodec, hostMessageCodec, logRecordCodec } from '../proto/codec.js';
import type { CaptureRecord } from './capture.js';
import { describePayload, type Sender } from './describe.js';

/** One thing that happened on a line, decoded as far as it goes. */
export interface CaptureEvent {
  readonly record: CaptureRecord | undefined;
  /** Name of the line, as its opening said. */
  readonly line: string;
  readonly sender: Sender | undefined;
  readonly frame?: Frame;
  /** What the payload of the frame is, as an object; undefined where it is none. */
  readonly message?: object;
  readonly discarded?: Discarded;
  /** The bytes between the two 00. */
  readonly bytes: Uint8Array;
  /** Everything in one line, without times. */
  readonly text: string;
}

const zero = Uint8Array.of(0);
const keptBytesLimit = 64 * 1024;
const reasons: Readonly<Record<Discarded['reason'], string>> = {
  crc: 'wrong checksum', cobs: 'no COBS', 'too-long': 'longer than a frame', 'too-short': 'shorter than a header', version: 'unknown framing version',
  type: 'unknown type',
};

const decodedValue = (result: { ok: true; value: object } | { ok: false }) => (result.ok ? result.value : undefined);

function messageOf({ type, payload }: Frame, sender: Sender): object | undefined {
  if (type === 'HELLO') return decodedValue(helloCodec.decode(payload));
  if (type === 'HELLO_ACK') return decodedValue(helloAckCodec.decode(payload));
  if (type === 'LOG') return decodedValue(logRecordCodec.decode(payload));
  if (payload.length === 0 || (type !== 'DATA' && type !== 'DATAGRAM')) return undefined;
  return decodedValue(sender === 'host' ? hostMessageCodec.decode(payload) : deviceMessageCodec.decode(payload));
}

const arrows = { host: '→', board: '←' } as const;

function frameEvent(sender: Sender, frame: Frame): Pick<CaptureEvent, 'frame' | 'message' | 'text'> {
  const message = messageOf(frame, sender);
  const said = describePayload(frame, sender);
  return { frame, ...(message && { message }), text: `${arrows[sender]} ${describeFrame(frame)}${said === '' ? '' : `  ${said}`}` };
}

const discardedEvent = (sender: Sender, discarded: Discarded): Pick<CaptureEvent, 'discarded' | 'text'> => ({
  discarded, text: `${arrows[sender]} ${discarded.bytes} bytes discarded: ${reasons[discarded.reason]} (${discarded.reason})`,
});

/** Bytes of one sender, put together from pieces until their 00 comes. Of a garbage without end the beginning is kept. */
class Stream {
  private readonly decoder = new FrameDecoder();
  private parts: Uint8Array[] = [];
  private keptBytes = 0;
  bytes = 0;

  push(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.decoder.push(piece);
    this.bytes += piece.length;
    if (this.keptBytes >= keptBytesLimit) return;
    this.parts.push(piece.slice());
    this.keptBytes += piece.length;
  }

  /** The 00 has come. */
  finish(): { bytes: Uint8Array; decoded: Decoded[] } {
    const bytes = this.rest();
    this.parts = [];
    this.keptBytes = 0;
    this.bytes = 0;
    return { bytes, decoded: this.decoder.push(zero) };
  }

  rest(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.parts));
  }
}

const eventOf = (sender: Sender, { frame, discarded }: Decoded) => (frame === undefined ? discardedEvent(sender, discarded) : frameEvent(sender, frame));

/** Makes of the records of a capture what happened on its lines. */
export class CaptureDecoder {
  private readonly streams = new Map<string, Stream>();
  private readonly names = new Map<number, string>();

  take(record: CaptureRecord): CaptureEvent[] {
    const { kind, data, line } = record;
    const text = new TextDecoder().decode(data);
    const plain = (message: string): CaptureEvent[] => [{ record, line: this.nameOf(line), sender: undefined, bytes: data, text: message }];
    if (kind === 'opened') {
      this.names.set(line, text);
      return plain(`· the line was opened: ${text}`);
    }
    if (kind === 'closed') return [...this.endOf(record), ...plain(`· the line was closed: ${text}`)];
    if (kind === 'dropped') return plain(`· ${new DataView(data.buffer, data.byteOffset).getUint32(0, true)} records were dropped: the disk was too slow`);
    return this.takeBytes(record, kind);
  }

  private nameOf(line: number): string {
    return this.names.get(line) ?? `line ${line}`;
  }

  private streamOf(line: number, sender: Sender): Stream {
    const key = `${sender} ${line}`;
    const stream = this.streams.get(key) ?? new Stream();
    this.streams.set(key, stream);
    return stream;
  }

  private takeBytes(record: CaptureRecord, sender: Sender): CaptureEvent[] {
    const { line, data, isComplete } = record;
    const stream = this.streamOf(line, sender);
    stream.push(data);
    if (!isComplete) return [];
    const { bytes, decoded } = stream.finish();
    return decoded.map((one) => ({ record, line: this.nameOf(line), sender, bytes, ...eventOf(sender, one) }));
  }

  /** What a close has cut off. */
  private endOf(record: CaptureRecord): CaptureEvent[] {
    return (['host', 'board'] as const).flatMap((sender) => {
      const stream = this.streamOf(record.line, sender);
      this.streams.delete(`${sender} ${record.line}`);
      if (stream.bytes === 0) return [];
      const text = `${arrows[sender]} ${stream.bytes} bytes discarded: the line ended before their 00`;
      return [{ record, line: this.nameOf(record.line), sender, bytes: stream.rest(), text }];
    });
  }
}

/** Which end can have sent a frame whose sender nobody has noted. */
function guessSender({ type, payload }: Frame): Sender {
  if (type === 'HELLO') return 'host';
  if (type !== 'DATA' && type !== 'ACK' && type !== 'ESTOP') return 'board';
  const host = hostMessageCodec.decode(payload);
  const isHost = host.ok && Boolean(host.value.cancel ?? host.value.bulkChunk ?? host.value.request?.method);
  // A chunk of the board is field 4 of its message, one of the host field 3; requests name a method.
  return isHost && !isFinal(payload) ? 'host' : 'board';
}

/** A Final is field 3, as a chunk of the host is: its first field is an id of 16 bytes, that of a chunk a name of 8. */
function isFinal(payload: Uint8Array): boolean {
  const device = deviceMessageCodec.decode(payload);
  return device.ok && device.value.final?.requestId.length === 16;
}

/** Makes of plain bytes of a line, without times, what they say. */
export class RawDecoder {
  private readonly stream = new Stream();

  /** @param sender who sent the bytes; undefined: guessed frame by frame */
  constructor(private readonly sender: Sender | undefined) {}

  push(chunk: Uint8Array): CaptureEvent[] {
    const events: CaptureEvent[] = [];
    let start = 0;
    for (let end = chunk.indexOf(0); end >= 0; end = chunk.indexOf(0, start)) {
      this.stream.push(chunk.subarray(start, end));
      events.push(...this.finish());
      start = end + 1;
    }
    this.stream.push(chunk.subarray(start));
    return events;
  }

  /** Bytes behind the last 00. */
  get restBytes(): number {
    return this.stream.bytes;
  }

  private finish(): CaptureEvent[] {
    const { bytes, decoded } = this.stream.finish();
    return decoded.map((one) => {
      const sender = this.sender ?? (one.frame === undefined ? 'board' : guessSender(one.frame));
      return { record: undefined, line: '', sender, bytes, ...eventOf(sender, one) };
    });
  }
}
