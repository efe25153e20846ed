import { maximumBulkBytes, maximumPayloadBytes } from '../firmware-protocol/limits.js';
import { deviceChunkKey, encodeBulkChunk, hostChunkKey } from './bulk-chunk.js';
import { macro } from './generated/macro.js';
import type { BulkChunk, DeviceMessage, Hello, HelloAck, HostMessage, LogRecord, Program, Snapshot } from './message.js';

/** A message, or why the bytes are none. Decoders never throw: what comes from the line is data. */
export type Result<Message> = { readonly ok: true; readonly value: Message } | { readonly ok: false; readonly reason: string };

/** What the generated code offers for one message. */
interface Generated {
  encode(message: object): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
}

export interface Codec<Message> {
  /** @throws RangeError where the encoding is longer than its limit */
  encode(message: Message): Uint8Array;
  decode(bytes: Uint8Array): Result<Message>;
}

function codec<Message extends object>(
  name: string, generated: Generated, limitBytes: number, isComplete: (message: Message) => boolean = () => true,
): Codec<Message> {
  return {
    encode(message) {
      const bytes = generated.encode(message).finish();
      if (bytes.length > limitBytes) throw new RangeError(`a ${name} of ${bytes.length} bytes; the limit is ${limitBytes}`);
      return bytes;
    },
    decode(bytes) {
      if (bytes.length > limitBytes) return { ok: false, reason: `a ${name} of ${bytes.length} bytes; the limit is ${limitBytes}` };
      try {
        // Generated messages read missing fields as their defaults, so they have the shape of the plain types.
        const value = generated.decode(bytes) as Message;
        return isComplete(value) ? { ok: true, value } : { ok: false, reason: `a ${name} without its required fields` };
      } catch (error) {
        return { ok: false, reason: `no ${name}: ${error instanceof Error ? error.message : String(error)}` };
      }
    },
  };
}

/** Chunks of objects go past the generated code. @param key of the chunk's field */
function withQuickChunks(key: number, generated: Generated): Generated {
  const encode = (message: { bulkChunk?: BulkChunk | null }) => {
    const { bulkChunk } = message;
    return bulkChunk ? { finish: () => encodeBulkChunk(key, bulkChunk) } : generated.encode(message);
  };
  return { encode, decode: (bytes) => generated.decode(bytes) };
}

const { v1 } = macro;

const isHelloAck = ({ geometry, limits, converter, bootId }: HelloAck) => Boolean(geometry) && Boolean(limits) && Boolean(converter) && bootId.length === 8;
const isHostMessage = ({ request, cancel, bulkChunk }: HostMessage) => Boolean(request ?? cancel ?? bulkChunk);
const isDeviceMessage = ({ accepted, progress, final, bulkChunk, telemetry }: DeviceMessage) =>
  Boolean(accepted ?? progress ?? final ?? bulkChunk ?? telemetry);

export const helloCodec = codec<Hello>('Hello', v1.Hello, maximumPayloadBytes);
export const helloAckCodec = codec<HelloAck>('HelloAck', v1.HelloAck, maximumPayloadBytes, isHelloAck);
export const hostMessageCodec = codec<HostMessage>('HostMessage', withQuickChunks(hostChunkKey, v1.HostMessage), maximumPayloadBytes, isHostMessage);
export const deviceMessageCodec = codec<DeviceMessage>(
  'DeviceMessage', withQuickChunks(deviceChunkKey, v1.DeviceMessage), maximumPayloadBytes, isDeviceMessage,
);
export const logRecordCodec = codec<LogRecord>('LogRecord', v1.LogRecord, maximumPayloadBytes);
export const programCodec = codec<Program>('Program', v1.Program, maximumBulkBytes);
export const snapshotCodec = codec<Snapshot>('Snapshot', v1.Snapshot, maximumBulkBytes);
