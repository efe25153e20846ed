import { createHash } from 'node:crypto';

/** Data of one chunk: what a message holds beside its own fields. */
export const chunkBytes = 584;
/** An object is named in its chunks by the first bytes of its digest. */
export const chunkNameBytes = 8;

export const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest());

/** An object on its way from the device, put together by offset: a chunk that comes twice does no harm. */
export class BulkReceiver {
  readonly bytes: Uint8Array;

  constructor(private readonly digest: Uint8Array, sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  take(offsetBytes: number, data: Uint8Array): void {
    if (offsetBytes + data.length <= this.bytes.length) this.bytes.set(data, offsetBytes);
  }

  get isComplete(): boolean {
    return Buffer.compare(sha256(this.bytes), this.digest) === 0;
  }
}
