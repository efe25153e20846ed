import { type Decoded, describeFrame, type Frame, FrameDecoder } from '../../firmware-protocol/frame.js';
import { deviceMessageCodec, hostMessageCodec } from '../../proto/codec.js';
import type { Trace } from './trace.js';

/** Who has sent what is listened to. */
export type Sender = 'host' | 'board';

const mostDescribed = 3;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** What a message says, in a few words. */
function describeMessage(sender: Sender, payload: Uint8Array): string {
  const decoded = sender === 'host' ? hostMessageCodec.decode(payload) : deviceMessageCodec.decode(payload);
  if (!decoded.ok) return decoded.reason;
  for (const [kind, body] of Object.entries(decoded.value) as [string, { requestId?: Uint8Array; failure?: { code: string } | null } | null][]) {
    if (!body) continue;
    const rest = Object.entries(body).filter(([name, value]) => name !== 'requestId' && value !== null && typeof value === 'object');
    const id = body.requestId === undefined ? '' : ` ${hex(body.requestId.subarray(0, 4))}`;
    return `${kind}${id} ${body.failure?.code ?? rest.map(([name]) => name).join()}`;
  }
  return 'nothing';
}

/** Listens at one place of a line: writes the trace, and tells frames that passed whole. */
export class Wiretap {
  private readonly decoder = new FrameDecoder();

  constructor(
    private readonly trace: Trace, private readonly place: string, private readonly sender: Sender, private readonly onFrame: (frame: Frame) => void,
  ) {}

  hear(bytes: Uint8Array): void {
    const decoded = this.decoder.push(bytes);
    this.trace.note(this.place, bytes, () => this.describe(bytes, decoded));
    for (const { frame } of decoded) if (frame !== undefined) this.onFrame(frame);
  }

  private describe(bytes: Uint8Array, decoded: readonly Decoded[]): string {
    if (decoded.length === 0) return `${bytes.length} bytes, no frame yet`;
    const described = (decoded.length <= mostDescribed ? decoded : [decoded[0], decoded[decoded.length - 1]]).map((one) => this.describeOne(one));
    return described.join(decoded.length <= mostDescribed ? ' | ' : ` | … ${decoded.length - 2} more … | `);
  }

  private describeOne({ frame, discarded }: Decoded): string {
    if (frame === undefined) return `${discarded.bytes} bytes discarded (${discarded.reason})`;
    return frame.type === 'DATA' ? `${describeFrame(frame)}: ${describeMessage(this.sender, frame.payload)}` : describeFrame(frame);
  }
}
