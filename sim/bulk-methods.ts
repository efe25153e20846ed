import { maximumBulkBytes } from '../firmware-protocol/limits.js';
import type { Request } from '../proto/message.js';
import type { BulkStore } from './bulk-store.js';
import { Refusal } from './task.js';

type Body<Name extends 'bulkOffer' | 'bulkCommit' | 'bulkFetch'> = NonNullable<Request[Name]>;

const digestBytes = 32;

/** BulkOffer: what of an object is there. */
export function offerBulk(store: BulkStore, { sha256, sizeBytes }: Body<'bulkOffer'>): object {
  if (sha256.length !== digestBytes) return new Refusal('REQUEST_INVALID', `sha256 has ${sha256.length} bytes; it has ${digestBytes}`);
  const state = store.offer(sha256, sizeBytes);
  return state === undefined ? new Refusal('BULK_TOO_LARGE', `an object of ${sizeBytes} bytes; the limit is ${maximumBulkBytes}`) : { sha256, ...state };
}

/** BulkCommit: an object that is whole is kept. */
export function commitBulk(store: BulkStore, { sha256 }: Body<'bulkCommit'>): object {
  const state = store.commit(sha256);
  if (state === 'mismatch') return new Refusal('BULK_DIGEST_MISMATCH', 'the bytes do not have the digest of the offer');
  return typeof state === 'string' ? new Refusal('BULK_UNKNOWN', `the object is ${state}`) : { sha256, ...state };
}

/** BulkFetch: the bytes of an object, where they can be sent from that offset on. */
export function fetchBulk(store: BulkStore, { sha256, offsetBytes }: Body<'bulkFetch'>): Uint8Array | Refusal {
  const bytes = store.get(sha256);
  if (bytes === undefined) return new Refusal('BULK_UNKNOWN', 'the object is not here');
  return offsetBytes > bytes.length ? new Refusal('REQUEST_INVALID', `offsetBytes is ${offsetBytes}; the range is 0 to ${bytes.length}`) : bytes;
}
