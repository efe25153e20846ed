import { sha256 } from '../../bulk.js';
import type { Bench } from '../bench.js';
import { type Conversation, describeFinal, expectFailure, expectResult, isSame } from '../conversation.js';
import { expect, expectEqual, NotRun } from '../deviation.js';
import type { Item } from '../item.js';

const section = 'PROTOCOL.md §Bulk';

const offer = async (conversation: Conversation, digest: Uint8Array, sizeBytes: number) =>
  expectResult(await conversation.request('bulkOffer', { sha256: digest, sizeBytes }), 'bulkOffer');

async function roundTrip(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  for (const length of [1, 583, 584, 585, 5000]) {
    const bytes = bench.randomBytes(length);
    const digest = await conversation.upload(bytes);
    const state = await offer(conversation, digest, length);
    expect(state.committed && state.offsetBytes === length, `an object of ${length} bytes that is committed`, JSON.stringify(state));
    expect(isSame(await conversation.fetch(digest, length), bytes), `the ${length} bytes that were committed`, 'others');
  }
}

async function resume(bench: Bench): Promise<void> {
  const first = await bench.open();
  const bytes = bench.randomBytes(3000);
  const digest = sha256(bytes);
  const state = await offer(first, digest, bytes.length);
  expect(!state.committed && state.offsetBytes === 0, 'an object of which nothing is there', JSON.stringify({ ...state, sha256: undefined }));
  await first.sendChunks(bytes, digest, 0, 2 * 584);
  await first.settled();
  const next = await bench.open();
  const { offsetBytes } = await offer(next, digest, bytes.length);
  expectEqual('offset of an upload that was cut off by a new session:', offsetBytes, 2 * 584);
  await next.sendChunks(bytes, digest, offsetBytes);
  const commit = expectResult(await next.request('bulkCommit', { sha256: digest }), 'bulkCommit');
  expect(commit.committed, 'a commit', JSON.stringify({ ...commit, sha256: undefined }));
  expectEqual('digest that comes back:', commit.sha256, digest);
  expectEqual('size that comes back:', commit.sizeBytes, bytes.length);
}

async function order(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const bytes = bench.randomBytes(2000);
  const digest = sha256(bytes);
  await offer(conversation, digest, bytes.length);
  const chunk = (from: number, to: number) =>
    conversation.send({ bulkChunk: { sha256: digest.slice(0, 8), offsetBytes: from, data: bytes.subarray(from, to) } });
  await chunk(0, 500);
  await chunk(1000, 1500); // a gap
  expectEqual('offset after a chunk with a gap in front of it:', (await offer(conversation, digest, bytes.length)).offsetBytes, 500);
  await chunk(0, 500); // once more
  expectEqual('offset after a chunk that was there:', (await offer(conversation, digest, bytes.length)).offsetBytes, 500);
  expectFailure(await conversation.request('bulkCommit', { sha256: digest }), 'BULK_UNKNOWN');
  await conversation.sendChunks(bytes, digest, 500);
  expect(expectResult(await conversation.request('bulkCommit', { sha256: digest }), 'bulkCommit').committed, 'a commit', 'none');
}

async function mismatch(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const bytes = bench.randomBytes(700);
  const digest = sha256(bytes);
  await offer(conversation, digest, bytes.length);
  const wrong = bytes.slice();
  wrong[699] ^= 1;
  await conversation.sendChunks(wrong, digest);
  expectFailure(await conversation.request('bulkCommit', { sha256: digest }), 'BULK_DIGEST_MISMATCH');
  const again = await offer(conversation, digest, bytes.length);
  expectEqual('offset after a digest that did not match:', again.offsetBytes, 0);
  await conversation.sendChunks(bytes, digest);
  expect(expectResult(await conversation.request('bulkCommit', { sha256: digest }), 'bulkCommit').committed, 'a commit of the right bytes', 'none');
}

async function tooLarge(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { bulkBytes } = conversation.identity.limits;
  if (bulkBytes >= 0xffffffff) throw new NotRun('the board states no limit');
  expectFailure(await conversation.request('bulkOffer', { sha256: bench.randomBytes(32), sizeBytes: bulkBytes + 1 }), 'BULK_TOO_LARGE');
  expectFailure(await conversation.request('bulkOffer', { sha256: bench.randomBytes(32), sizeBytes: 0xffffffff }), 'BULK_TOO_LARGE');
}

async function unknown(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const digest = bench.randomBytes(32);
  expectFailure(await conversation.request('bulkCommit', { sha256: digest }), 'BULK_UNKNOWN');
  expectFailure(await conversation.request('bulkFetch', { sha256: digest, offsetBytes: 0 }), 'BULK_UNKNOWN');
  expectFailure(await conversation.request('bulkOffer', { sha256: digest.slice(0, 31), sizeBytes: 1 }), 'REQUEST_INVALID');
  await conversation.send({ bulkChunk: { sha256: digest.slice(0, 8), offsetBytes: 0, data: bench.randomBytes(100) } });
  expectFailure(await conversation.request('bulkCommit', { sha256: digest }), 'BULK_UNKNOWN');
}

async function fetchOffset(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const bytes = bench.randomBytes(4000);
  const digest = await conversation.upload(bytes);
  for (const offsetBytes of [0, 1, 1500, 3999]) {
    const from = conversation.messages.length;
    const final = await conversation.request('bulkFetch', { sha256: digest, offsetBytes });
    const state = expectResult(final, 'bulkFetch');
    expectEqual('size in the answer:', state.sizeBytes, bytes.length);
    const got = conversation.messages.slice(from);
    expect(got.at(-1)?.final !== undefined && got.at(-1)?.final !== null, 'the answer behind its chunks', describeFinal(final));
    let next = offsetBytes;
    for (const { bulkChunk } of got) {
      if (!bulkChunk) continue;
      expectEqual('offset of the next chunk:', bulkChunk.offsetBytes, next);
      const wanted = bytes.subarray(next, next + bulkChunk.data.length);
      expect(isSame(bulkChunk.data, wanted), `bytes ${next} to ${next + bulkChunk.data.length} of the object`, 'others');
      next += bulkChunk.data.length;
    }
    expectEqual(`end of a fetch from offset ${offsetBytes}:`, next, bytes.length);
  }
}

/** Only offers: room is taken when an object is offered, and nothing need travel. */
async function longestUnused(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { bulkBytes } = conversation.identity.limits;
  const large = Math.floor(bulkBytes * 0.75);
  const [used, unused] = [bench.randomBytes(100), bench.randomBytes(100)];
  const [usedDigest, unusedDigest] = [await conversation.upload(used), await conversation.upload(unused)];
  const offerLarge = async () => {
    const final = await conversation.request('bulkOffer', { sha256: bench.randomBytes(32), sizeBytes: large });
    if (final.failure?.code === 'BULK_FULL') throw new NotRun('the store is held by what the board works with');
    expectResult(final, 'bulkOffer');
  };
  await offerLarge();
  expect((await offer(conversation, usedDigest, used.length)).committed, 'the object that was committed before', 'none');
  await offerLarge();
  expect((await offer(conversation, usedDigest, used.length)).committed, 'the object that was used last, still committed', 'none');
  expectFailure(await conversation.request('bulkCommit', { sha256: unusedDigest }), 'BULK_UNKNOWN');
}

export const bulkItems: readonly Item[] = [
  { name: 'bulk-round-trip', section, title: 'an object is offered, sent, committed and fetched', run: roundTrip },
  { name: 'bulk-resume', section, title: 'an upload goes on where another session left it', run: resume },
  { name: 'bulk-order', section, title: 'chunks that do not continue the object are dropped', run: order },
  { name: 'bulk-mismatch', section, title: 'a digest that does not match begins the object again', run: mismatch },
  { name: 'bulk-too-large', section, title: 'what is larger than the store is refused', run: tooLarge },
  { name: 'bulk-unknown', section, title: 'objects that nobody has offered are unknown', run: unknown },
  { name: 'bulk-longest-unused', section, title: 'a full store forgets the longest unused object', run: longestUnused },
  { name: 'bulk-fetch-offset', section, title: 'a fetch begins at its offset, and its answer stands behind the chunks', run: fetchOffset },
];
