import { createHash } from 'node:crypto';
import type { LinkOptions } from '../../firmware-protocol/link.js';
import type { Wire } from '../../firmware-protocol/wire.js';

const messageBytes = 600;

/** Both ends of the two-way transfers open the same session. */
export const twoWayLink: LinkOptions = { session: 1, windowFrames: 32, receiveBytes: 60_000, peerCreditBytes: 60_000 };

const patternBytes = 65_536;
const pattern = Uint8Array.from({ length: patternBytes + messageBytes }, (_, index) => Math.imul(index, 0x9e3779b1) >>> 24);

/** What is sent at a place of a transfer: depends on the place, so that a lost, doubled or exchanged message shows in the digest. */
function messageAt(offset: number, length: number): Uint8Array {
  const first = offset % patternBytes;
  return pattern.subarray(first, first + length);
}

/** One object each way at once, message by message, as fast as the link takes them. */
export class Transfer {
  private sentBytes = 0;
  private receivedBytes = 0;
  private readonly sent = createHash('sha256');
  private readonly received = createHash('sha256');

  constructor(private readonly wire: Wire, private readonly sizeBytes: number) {
    this.send();
  }

  /** Sends while the link has room. */
  send(): void {
    this.wire.together(() => {
      while (this.sentBytes < this.sizeBytes && this.wire.hasRoom) {
        const message = messageAt(this.sentBytes, Math.min(messageBytes, this.sizeBytes - this.sentBytes));
        this.sent.update(message);
        this.sentBytes += message.length;
        this.wire.send(message, 'bulk');
      }
    });
  }

  take(message: Uint8Array): void {
    this.received.update(message);
    this.receivedBytes += message.length;
  }

  get bytes(): number {
    return this.sentBytes + this.receivedBytes;
  }

  get isDone(): boolean {
    return this.sentBytes === this.sizeBytes && this.receivedBytes >= this.sizeBytes;
  }

  /** Whether what came is what the other end was to send. */
  get isIntact(): boolean {
    return this.receivedBytes === this.sizeBytes && this.received.digest('hex') === this.sent.digest('hex');
  }
}
