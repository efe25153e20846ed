import { logRecordCodec } from '../proto/codec.js';
import { type LogRecord, logLevels } from '../proto/message.js';

const waitingLimit = 32;
const textBytes = 400;
const encoder = new TextEncoder();

/** What a controller has to say to people. Records wait for room on the line; what finds no place is counted. */
export class LogBook {
  private readonly waiting: Omit<LogRecord, 'dropped'>[] = [];
  private made = 0;
  private dropped = 0;

  append(level: (typeof logLevels)[number], text: string, linkTimeMicroseconds: number): void {
    const record = { sequence: this.made, linkTimeMicroseconds, level: logLevels.indexOf(level), text: cut(text) };
    this.made += 1;
    if (this.waiting.length < waitingLimit) this.waiting.push(record);
    else this.dropped += 1;
  }

  /** The payload of the next LOG frame: a record, or bare text where the session speaks protocol 1. */
  next(protocol: number): Uint8Array | undefined {
    const record = this.waiting.shift();
    if (record === undefined) return undefined;
    return protocol === 1 ? encoder.encode(record.text) : logRecordCodec.encode({ ...record, dropped: this.dropped });
  }
}

/** Text of at most `textBytes` in UTF-8, cut between characters. */
function cut(text: string): string {
  const { read } = encoder.encodeInto(text, new Uint8Array(textBytes));
  return text.slice(0, read);
}
