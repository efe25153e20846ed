import type { Final } from '../../../proto/message.js';
import type { Bench } from '../bench.js';
import { type Conversation, describeFinal, expectFailure, expectResult } from '../conversation.js';
import { expect, expectEqual, NotRun } from '../deviation.js';
import type { Item } from '../item.js';

const section = 'PROTOCOL.md §Requests and outcomes';

/** @throws Deviation where the answer was not kept, or was given as if it were a new one */
function expectRepeated(final: Final, count: number, what: string): void {
  const isRight = final.repeatedFromJournal && final.scratch?.count === count;
  expect(isRight, `${what} answered with count ${count}, repeated_from_journal`, describeFinal(final));
}

async function addOnce(conversation: Conversation, id: Uint8Array, add: number): Promise<number> {
  const final = await conversation.request('scratch', { add }, { id });
  expect(!final.repeatedFromJournal, 'an answer that is not from the journal', describeFinal(final));
  return expectResult(final, 'scratch').count;
}

const countOf = async (conversation: Conversation) => expectResult(await conversation.request('getStatus', {}), 'getStatus').scratchCount;

async function counts(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const before = await countOf(conversation);
  for (const [index, add] of [1, 2, 40].entries()) {
    const count = await addOnce(conversation, bench.newId(), add);
    expectEqual(`count after adding ${add}:`, count, (before + [1, 3, 43][index]) >>> 0);
  }
  expectEqual('scratch_count of GetStatus:', await countOf(conversation), (before + 43) >>> 0);
}

async function repeat(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  const count = await addOnce(conversation, id, 3);
  expectRepeated(await conversation.request('scratch', { add: 3 }, { id }), count, 'a repeated id');
  expectRepeated(await conversation.request('scratch', { add: 100 }, { id }), count, 'a repeated id with another body');
  expectEqual('scratch count after two repetitions:', await countOf(conversation), count);
}

async function acrossSessions(bench: Bench): Promise<void> {
  const id = bench.newId();
  const count = await addOnce(await bench.open(), id, 5);
  const next = await bench.open();
  expectRepeated(await next.request('scratch', { add: 5 }, { id }), count, 'an id of the session before');
  expectEqual('scratch count after a repetition in another session:', await countOf(next), count);
}

/** The answer is lost with the session: the host never hears it, and asks again in the next one. */
async function lostAnswer(bench: Bench): Promise<void> {
  const first = await bench.open();
  const before = await countOf(first);
  const id = bench.newId();
  await first.begin('scratch', { add: 7 }, { id });
  const next = await bench.open();
  const final = await next.request('scratch', { add: 7 }, { id });
  expectResult(final, 'scratch');
  expectEqual('scratch count after a request whose answer was lost and that was sent again:', await countOf(next), (before + 7) >>> 0);
}

/** Whoever asks what became of a request must not be told that it is late, or that the lease has gone. */
async function askedFirst(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  const count = await addOnce(conversation, id, 2);
  const late = await conversation.request('scratch', { add: 2 }, { id, deadlineMicroseconds: 1 });
  expectRepeated(late, count, 'an id of the journal whose deadline has passed');
  const { leaseEpoch } = conversation.identity;
  if (leaseEpoch === 0) return;
  expectRepeated(await conversation.request('scratch', { add: 2 }, { id, leaseEpoch: leaseEpoch - 1 }), count, 'an id of the journal under an older lease');
}

async function depth(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { journalEntries } = conversation.identity.limits;
  if (journalEntries > 4096) throw new NotRun(`the board states ${journalEntries} answers, more than the suite fills`);
  const id = bench.newId();
  const count = await addOnce(conversation, id, 1);
  for (let other = 1; other < journalEntries; other += 1) await addOnce(conversation, bench.newId(), 0);
  expectRepeated(await conversation.request('scratch', { add: 1 }, { id }), count, `the oldest of ${journalEntries} ids`);
}

/** Twenty ids, each sent up to four times, shuffled, over two sessions: each counts once. */
async function storm(bench: Bench): Promise<void> {
  const { prng } = bench.options;
  const first = await bench.open();
  const before = await countOf(first);
  const ids = Array.from({ length: 20 }, bench.newId);
  const order = ids.flatMap((_, index) => Array.from({ length: 1 + (prng.nextUint32() % 4) }, () => index)).sort(() => (prng.nextUint32() & 1) - 0.5);
  const half = order.length >> 1;
  for (const index of order.slice(0, half)) await first.begin('scratch', { add: index + 1 }, { id: ids[index] });
  const second = await bench.open();
  for (const index of [...order.slice(half), ...ids.keys()]) await second.begin('scratch', { add: index + 1 }, { id: ids[index] });
  for (const id of ids) await second.answer(id, 0, 'one of twenty ids');
  const sum = ids.reduce((total, _, index) => total + index + 1, 0);
  expectEqual('scratch count after 20 ids, most of them sent several times:', await countOf(second), (before + sum) >>> 0);
}

/** An object that is not there: whatever the board makes of the request, it knows no cell to pulse. */
async function failures(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const method = ['ResetCells', 'LoadSnapshot'].find((name) => bench.declares(name));
  if (method === undefined) throw new NotRun('the board has no effectful method that can be refused without a pulse');
  const sha256 = bench.randomBytes(32);
  const id = bench.newId();
  const ask = () => method === 'ResetCells'
    ? conversation.request('resetCells', { cellsSha256: sha256, amplitudeMillivolts: 1, widthNanoseconds: 1 }, { id })
    : conversation.request('loadSnapshot', { sha256 }, { id });
  const before = await ask();
  const { code = 'none' } = before.failure ?? {};
  expectFailure(before, code === 'PULSE_REFUSED' ? code : 'BULK_UNKNOWN');
  expect(!before.repeatedFromJournal, 'a failure that is not from the journal', describeFinal(before));
  const after = await ask();
  expectFailure(after, code);
  expect(after.repeatedFromJournal, 'the failure of an effectful id from the journal', describeFinal(after));
}

async function pureIsNotKept(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  const first = expectResult(await conversation.request('noOperation', {}, { id }), 'noOperation');
  await conversation.host.rest(5);
  const final = await conversation.request('noOperation', {}, { id });
  expect(!final.repeatedFromJournal, 'an answer to a pure request that is not from the journal', describeFinal(final));
  const second = expectResult(final, 'noOperation');
  expect(second.linkTimeMicroseconds > first.linkTimeMicroseconds, `a link time above ${first.linkTimeMicroseconds}`, String(second.linkTimeMicroseconds));
}

const capabilities = ['Scratch'];

export const journalItems: readonly Item[] = [
  { name: 'journal-scratch', section, title: 'Scratch adds to a counter, once for each id', capabilities, run: counts },
  { name: 'journal-repeat', section, title: 'a repeated id is answered from the journal and not applied', capabilities, run: repeat },
  { name: 'journal-sessions', section, title: 'also in another session', capabilities, run: acrossSessions },
  { name: 'journal-lost-answer', section, title: 'a request whose answer was lost is applied once', capabilities, run: lostAnswer },
  { name: 'journal-storm', section, title: 'ids that are sent many times, in any order, count once', capabilities, run: storm },
  { name: 'journal-first', section, title: 'the journal is asked before deadline and lease', capabilities, run: askedFirst },
  { name: 'journal-depth', section, title: 'as many answers are kept as HELLO_ACK states', capabilities, run: depth },
  { name: 'journal-failures', section, title: 'failures of effectful requests are kept as well', protocol: 2, run: failures },
  { name: 'journal-pure', section, title: 'pure requests are done anew', run: pureIsNotKept },
];
