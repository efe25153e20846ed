import { createReadStream, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { CaptureDecoder, type CaptureEvent, CaptureReader, RawDecoder } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import { type Console, exitDone } from './console.js';

export interface DecodeArguments {
  readonly json: boolean;
  readonly hex: boolean;
  readonly follow: boolean;
  readonly raw: boolean;
  readonly sender?: string;
}

const followMilliseconds = 200;
const readBytes = 64 * 1024;
const hexBytesPerLine = 32;

/** What a file becomes, piece by piece. */
interface Decoding {
  push(chunk: Uint8Array): CaptureEvent[];
  /** @throws MacroError CAPTURE_INVALID */
  check(): void;
  /** The file is over. @throws MacroError CAPTURE_INVALID */
  end(): void;
}

function invalid(name: string, { offset, reason }: { offset: number; reason: string }): MacroError {
  return new MacroError('CAPTURE_INVALID', `${name}, offset ${offset}: ${reason}`, { field: 'file' });
}

function captureDecoding(name: string): Decoding {
  const reader = new CaptureReader();
  const decoder = new CaptureDecoder();
  const check = () => {
    if (reader.fault !== undefined) throw invalid(name, reader.fault);
  };
  return {
    push: (chunk) => reader.push(chunk).flatMap((record) => decoder.take(record)),
    check,
    end() {
      reader.end();
      check();
    },
  };
}

function rawDecoding(name: string, sender: 'host' | 'board' | undefined): Decoding {
  const decoder = new RawDecoder(sender);
  let offset = 0;
  return {
    push(chunk) {
      offset += chunk.length;
      return decoder.push(chunk);
    },
    check: () => undefined,
    end() {
      const { restBytes } = decoder;
      if (restBytes > 0) throw invalid(name, { offset: offset - restBytes, reason: `${restBytes} bytes without a 00 behind them` });
    },
  };
}

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function hexLines(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += hexBytesPerLine) {
    lines.push(`      ${at.toString(16).padStart(4, '0')}  ${hexOf(bytes.subarray(at, at + hexBytesPerLine)).replace(/(..)(?!$)/g, '$1 ')}\n`);
  }
  return lines.join('');
}

/** A message without its class: bytes as hexadecimal text. */
function plainOf(value: unknown): unknown {
  if (value instanceof Uint8Array) return hexOf(value);
  if (Array.isArray(value)) return value.map(plainOf);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plainOf(field)]));
}

function jsonOf({ record, line, sender, frame, message, discarded, bytes, text }: CaptureEvent, withBytes: boolean): string {
  const times = record && {
    at: new Date(record.wallMilliseconds).toISOString(), hostMicroseconds: record.hostMicroseconds,
    linkTimeMicroseconds: Number.isNaN(record.linkTimeMicroseconds) ? null : record.linkTimeMicroseconds, line, kind: record.kind,
  };
  const { payload, ...header } = frame ?? {};
  const about = { ...(frame && { frame: { ...header, payloadBytes: payload?.length } }), ...(message && { message }), ...(discarded && { discarded }) };
  return JSON.stringify(plainOf({ ...times, sender, ...about, text, ...(withBytes && { bytes }) }));
}

/** Prints events: both clocks, the line where there are several, then what happened. */
class Printer {
  private firstMicroseconds: number | undefined;

  constructor(private readonly given: DecodeArguments, private readonly console: Console) {}

  print(event: CaptureEvent): void {
    if (this.given.json) {
      this.console.out(`${jsonOf(event, this.given.hex)}\n`);
      return;
    }
    this.console.out(`${this.times(event)}${event.text}\n`);
    if (this.given.hex && event.sender !== undefined) this.console.out(hexLines(event.bytes));
  }

  private times({ record, line }: CaptureEvent): string {
    if (record === undefined) return '';
    this.firstMicroseconds ??= record.hostMicroseconds;
    const seconds = (microseconds: number) => (microseconds / 1e6).toFixed(6).padStart(12);
    const link = Number.isNaN(record.linkTimeMicroseconds) ? '-'.padStart(12) : seconds(record.linkTimeMicroseconds);
    const wall = new Date(record.wallMilliseconds).toISOString();
    return `${wall} ${seconds(record.hostMicroseconds - this.firstMicroseconds)} ${link} ${line.split(' ')[0]} `;
  }
}

/** What is in the file, and with `follow` what is appended to it or to the one that takes its place. */
async function* chunksOf(file: string, follow: boolean, signal: AbortSignal, begin: () => void): AsyncGenerator<Uint8Array> {
  let handle = await open(file, 'r');
  try {
    for (let at = 0; !signal.aborted; ) {
      const buffer = new Uint8Array(readBytes);
      const { bytesRead } = await handle.read(buffer, 0, readBytes, at);
      at += bytesRead;
      if (bytesRead > 0) yield buffer.subarray(0, bytesRead);
      else if (!follow) return;
      else if (hasTurnedOver(file, (await handle.stat()).ino)) {
        await handle.close();
        handle = await open(file, 'r');
        at = 0;
        begin();
      } else await delay(followMilliseconds, undefined, { signal }).catch(() => undefined);
    }
  } finally {
    await handle.close();
  }
}

/** A full file is renamed and another takes its name. */
function hasTurnedOver(file: string, inode: number): boolean {
  try {
    return statSync(file).ino !== inode;
  } catch {
    return false; // between the two
  }
}

async function* standardInput(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const stream = createReadStream('', { fd: 0, autoClose: false, signal });
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function senderOf(text: string | undefined): 'host' | 'board' | undefined {
  if (text === undefined || text === 'host' || text === 'board') return text;
  throw new MacroError('BAD_ARGUMENT', `--sender is "${text}"; it is host or board`, { field: 'sender' });
}

/**
 * `prime decode`: prints a capture frame by frame. What is good is printed before what is damaged is complained of.
 *
 * @throws MacroError CAPTURE_INVALID with the offset, INPUT_NOT_FOUND
 */
export async function decode(file: string, given: DecodeArguments, console: Console): Promise<number> {
  const sender = senderOf(given.sender);
  if (sender !== undefined && !given.raw) throw new MacroError('BAD_ARGUMENT', '--sender is for --raw: a capture knows who sent what', { field: 'sender' });
  const name = file === '-' ? 'stdin' : file;
  const start = () => (given.raw ? rawDecoding(name, sender) : captureDecoding(name));
  let decoding = start();
  const printer = new Printer(given, console);
  const begin = () => {
    decoding = start();
  };
  const chunks = file === '-' ? standardInput(console.signal) : chunksOf(file, given.follow, console.signal, begin);
  try {
    for await (const chunk of chunks) {
      for (const event of decoding.push(chunk)) printer.print(event);
      decoding.check();
    }
  } catch (error) {
    if (error instanceof MacroError) throw error;
    throw new MacroError('INPUT_NOT_FOUND', `${name} cannot be read: ${(error as Error).message}`, { field: 'file', cause: error });
  }
  if (!console.signal.aborted) decoding.end();
  return exitDone;
}
