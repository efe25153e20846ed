import { createHash } from 'node:crypto';
import type { Priority } from '../firmware-protocol/link.js';
import { MacroError } from '../proto/error.js';
import type { BulkChunk, HostMessage, MethodRequests, MethodResults } from '../proto/message.js';
import { idText, type RequestOptions } from './request.js';

/** Data of one chunk: what a message holds beside its own fields. */
const chunkBytes = 584;
/** An object is named in its chunks by the first bytes of its digest. */
const chunkNameBytes = 8;
const timeoutMilliseconds = 30_000;
/** Attempts in a row that may bring the device no further. */
const attemptLimit = 3;

export const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest());

/** The line that objects travel on. */
export interface BulkLine {
  readonly isOpen: boolean;
  /** Rises with every session: chunks of an earlier one may be lost. */
  readonly sessions: number;
  readonly hasRoom: boolean;
  send(message: HostMessage, priority: Priority): void;
  together(action: () => void): void;
}

type BulkMethod = 'bulkOffer' | 'bulkCommit' | 'bulkFetch';
export type BulkRequest = <Name extends BulkMethod>(
  method: Name, body: MethodRequests[Name], options: RequestOptions<MethodRequests[Name]>,
) => Promise<MethodResults[Name]>;

/** An object on its way from the device. */
interface Receiver {
  readonly bytes: Uint8Array;
  offsetBytes: number;
  activeAtMicroseconds: number;
}

/** Objects on their way to and from the device, each named by its digest. After a drop they go on where they stopped. */
export class BulkTransfers {
  private readonly receivers = new Map<string, Receiver>();
  private readonly fetches = new Map<string, Promise<Uint8Array>>();
  private roomWaiters: (() => void)[] = [];

  constructor(private readonly line: BulkLine, private readonly now: () => number, private readonly request: BulkRequest) {}

  /** Brings an object to the device; one that is there already is not sent again. @returns its SHA-256 */
  async upload(bytes: Uint8Array): Promise<Uint8Array> {
    const digest = sha256(bytes);
    let furthest = -1;
    let lastError: unknown = new MacroError('DEVICE_LOST', 'an object does not get through: the line is lost again and again');
    for (let attempts = 0; attempts < attemptLimit; attempts += 1) {
      const { committed, offsetBytes } = await this.request('bulkOffer', { sha256: digest, sizeBytes: bytes.length }, { timeoutMilliseconds });
      if (committed) return digest;
      if (offsetBytes > furthest) attempts = 0;
      furthest = Math.max(furthest, offsetBytes);
      if (!(await this.sendChunks(bytes, digest, offsetBytes))) continue;
      try {
        await this.request('bulkCommit', { sha256: digest }, { timeoutMilliseconds });
        return digest;
      } catch (error) {
        if (!(error instanceof MacroError) || (error.code !== 'BULK_UNKNOWN' && error.code !== 'BULK_DIGEST_MISMATCH')) throw error;
        lastError = error;
      }
    }
    throw lastError;
  }

  /** Takes an object from the device. */
  fetch(digest: Uint8Array, sizeBytes: number): Promise<Uint8Array> {
    const name = idText(digest);
    const underWay = this.fetches.get(name) ?? this.receive(digest, sizeBytes).finally(() => this.fetches.delete(name));
    this.fetches.set(name, underWay);
    return underWay;
  }

  /** Takes in a chunk that continues an object; one that comes twice or out of place is left. */
  take({ sha256: name, offsetBytes, data }: BulkChunk): void {
    const receiver = this.receivers.get(idText(name));
    if (receiver === undefined) return;
    receiver.activeAtMicroseconds = this.now();
    if (offsetBytes !== receiver.offsetBytes || offsetBytes + data.length > receiver.bytes.length) return;
    receiver.bytes.set(data, offsetBytes);
    receiver.offsetBytes += data.length;
  }

  /** The line may have room again, or is another one. */
  wake(): void {
    for (const wake of this.roomWaiters.splice(0)) wake();
  }

  private async receive(digest: Uint8Array, sizeBytes: number): Promise<Uint8Array> {
    const name = idText(digest.subarray(0, chunkNameBytes));
    const receiver: Receiver = { bytes: new Uint8Array(sizeBytes), offsetBytes: 0, activeAtMicroseconds: this.now() };
    const body = () => ({ sha256: digest, offsetBytes: receiver.offsetBytes });
    this.receivers.set(name, receiver);
    try {
      await this.request('bulkFetch', body(), { timeoutMilliseconds, renewed: body, activeAtMicroseconds: () => receiver.activeAtMicroseconds });
      if (Buffer.compare(sha256(receiver.bytes), digest) === 0) return receiver.bytes;
      throw new MacroError('BULK_DIGEST_MISMATCH', 'an object from the device does not have its digest');
    } finally {
      this.receivers.delete(name);
    }
  }

  /** @returns whether all went to one session */
  private async sendChunks(bytes: Uint8Array, digest: Uint8Array, fromBytes: number): Promise<boolean> {
    const { sessions } = this.line;
    const name = digest.slice(0, chunkNameBytes);
    let at = fromBytes;
    while (at < bytes.length) {
      if (!this.line.isOpen || this.line.sessions !== sessions) return false;
      this.line.together(() => {
        for (; at < bytes.length && this.line.hasRoom; at += chunkBytes) {
          this.line.send({ bulkChunk: { sha256: name, offsetBytes: at, data: bytes.subarray(at, at + chunkBytes) } }, 'bulk');
        }
      });
      if (at < bytes.length && !this.line.hasRoom) await new Promise<void>((resolve) => this.roomWaiters.push(resolve));
    }
    return this.line.isOpen && this.line.sessions === sessions;
  }
}
