import type { Frame } from '../firmware-protocol/frame.js';
import { deviceMessageCodec, helloAckCodec, helloCodec, hostMessageCodec, logRecordCodec } from '../proto/codec.js';
import { type DeviceMessage, type HostMessage, logLevels } from '../proto/message.js';

/** Who has sent a frame. */
export type Sender = 'host' | 'board';

const longestTextCharacters = 300;
const shownBytes = 16;
const shownNumbers = 4;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const text = (bytes: Uint8Array) => JSON.stringify(new TextDecoder().decode(bytes).slice(0, longestTextCharacters));

function describeValue(value: unknown): string {
  if (value instanceof Uint8Array) return value.length <= shownBytes ? hex(value) : `${hex(value.subarray(0, 4))}… ${value.length} bytes`;
  if (Array.isArray(value)) {
    const shown = value.slice(0, shownNumbers).map(describeValue).join(' ');
    return value.length > shownNumbers ? `[${shown} … ${value.length} in all]` : `[${shown}]`;
  }
  if (typeof value === 'object' && value !== null) return `{${describeFields(value)}}`;
  return typeof value === 'string' ? JSON.stringify(value.slice(0, longestTextCharacters)) : String(value);
}

/** The fields that a message sets, as `name value`. */
function describeFields(message: object): string {
  const set = Object.entries(message).filter(([, value]) => value !== null && value !== undefined && !(Array.isArray(value) && value.length === 0));
  return set.map(([name, value]) => `${name} ${describeValue(value)}`).join(' ');
}

const outcomes = ['not-applied', 'applied', 'unknown'];

/** A message of one end as one line: what it is, whose request it belongs to, what it says. */
export function describeMessage(message: HostMessage | DeviceMessage): string {
  for (const [kind, body] of Object.entries(message) as [string, { requestId?: Uint8Array; failure?: { outcome?: number } | null } | null][]) {
    if (body === null || typeof body !== 'object') continue;
    const { requestId, ...rest } = body;
    const name = kind[0].toUpperCase() + kind.slice(1);
    const id = requestId === undefined ? '' : ` ${hex(requestId)}`;
    const outcome = rest.failure ? ` ${outcomes[rest.failure.outcome ?? 0]}` : '';
    return `${name}${id}${outcome} ${describeFields(rest)}`.trimEnd();
  }
  return 'an empty message';
}

const show = <Message extends object>(result: { ok: true; value: Message } | { ok: false; reason: string }, describe: (message: Message) => string) =>
  result.ok ? describe(result.value) : `undecodable: ${result.reason}`;

/** A record of protocol 2, or the bare text of protocol 1. */
function describeLog(payload: Uint8Array): string {
  const record = logRecordCodec.decode(payload);
  if (!record.ok || record.value.text === '') return text(payload);
  const { sequence, level, text: said, dropped } = record.value;
  return `${logLevels[level] ?? level} ${sequence} ${JSON.stringify(said)}${dropped === 0 ? '' : `, ${dropped} dropped`}`;
}

/** What the payload of a frame says, as one line; empty where it says nothing. */
export function describePayload({ type, payload }: Frame, sender: Sender): string {
  if (type === 'HELLO') return show(helloCodec.decode(payload), describeFields);
  if (type === 'HELLO_ACK') return show(helloAckCodec.decode(payload), describeFields);
  if (payload.length === 0) return '';
  if (type === 'LOG') return describeLog(payload);
  if (type === 'RESET') return text(payload);
  if (type !== 'DATA' && type !== 'DATAGRAM') return hex(payload);
  return sender === 'host' ? show(hostMessageCodec.decode(payload), describeMessage) : show(deviceMessageCodec.decode(payload), describeMessage);
}
