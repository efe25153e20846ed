import type { Priority } from '../firmware-protocol/link.js';
import { deviceMessageCodec } from '../proto/codec.js';
import type { DeviceMessage } from '../proto/message.js';

const chunkBytes = 584;
const nameBytes = 8;

/** The line that objects are sent on. */
export interface BulkLine {
  readonly hasRoom: boolean;
  send(payload: Uint8Array, priority: Priority): void;
}

interface Fetch {
  readonly id: string;
  readonly requestId: Uint8Array;
  readonly sha256: Uint8Array;
  readonly bytes: Uint8Array;
  offsetBytes: number;
}

/** Objects on their way to the host, one after another, as fast as the line takes them: no more than a part of one waits in the link. */
export class BulkSender {
  private readonly fetches: Fetch[] = [];

  add(fetch: Fetch): void {
    this.fetches.push(fetch);
  }

  has(id: string): boolean {
    return this.fetches.some((fetch) => fetch.id === id);
  }

  /** Takes a fetch back. @returns whether it was under way */
  cancel(id: string): boolean {
    const index = this.fetches.findIndex((fetch) => fetch.id === id);
    if (index >= 0) this.fetches.splice(index, 1);
    return index >= 0;
  }

  clear(): void {
    this.fetches.length = 0;
  }

  /** Sends what the line has room for. */
  pump(line: BulkLine): void {
    while (this.fetches.length > 0 && line.hasRoom) {
      const [fetch] = this.fetches;
      const { requestId, sha256, bytes, offsetBytes } = fetch;
      if (offsetBytes < bytes.length) {
        const data = bytes.subarray(offsetBytes, offsetBytes + chunkBytes);
        sendBulk(line, { bulkChunk: { sha256: sha256.subarray(0, nameBytes), offsetBytes, data } });
        fetch.offsetBytes += data.length;
        continue;
      }
      // Behind its chunks, so that the answer means that they have arrived.
      const bulkFetch = { sha256, offsetBytes: bytes.length, sizeBytes: bytes.length, committed: true };
      sendBulk(line, { final: { requestId, repeatedFromJournal: false, bulkFetch } });
      this.fetches.shift();
    }
  }
}

const sendBulk = (line: BulkLine, message: DeviceMessage) => line.send(deviceMessageCodec.encode(message), 'bulk');
