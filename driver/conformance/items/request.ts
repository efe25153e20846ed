import { isErrorCode } from '../../../proto/error.js';
import type { MethodRequests } from '../../../proto/message.js';
import type { Bench } from '../bench.js';
import { type Conversation, describeFinal, expectFailure, expectResult, isSame } from '../conversation.js';
import { expect, expectEqual, NotRun } from '../deviation.js';
import type { Item } from '../item.js';
import { expectAnswer } from './framing.js';

const section = 'PROTOCOL.md §Requests and outcomes';

/** A read that takes a board as long as it may: the whole array. */
export function wholeArray({ identity }: Conversation, averages: number): MethodRequests['readCells'] {
  const { bitLines, sourceLines } = identity.geometry;
  return { region: { firstBitLine: 0, bitLines, firstSourceLine: 0, sourceLines }, averages };
}

/** A read that is over at once. */
export const oneCell: MethodRequests['readCells'] = { region: { firstBitLine: 0, bitLines: 1, firstSourceLine: 0, sourceLines: 1 }, averages: 1 };

async function time(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { clock } = bench.options;
  const before = expectResult(await conversation.request('noOperation', {}), 'noOperation').linkTimeMicroseconds;
  const start = clock.nowMicroseconds();
  await conversation.host.rest(400);
  const after = expectResult(await conversation.request('noOperation', {}), 'noOperation').linkTimeMicroseconds;
  const [host, board] = [clock.nowMicroseconds() - start, after - before];
  const tolerance = 0.05 * host + 50_000;
  expect(Math.abs(board - host) < tolerance, `a link time that has advanced by ${Math.round(host)} µs`, `${Math.round(board)} µs`);
}

async function status(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { identity } = conversation;
  const said = expectResult(await conversation.request('getStatus', {}), 'getStatus');
  expectEqual('boot id of GetStatus:', said.bootId, identity.bootId);
  expectEqual('array state of GetStatus:', said.arrayState, identity.arrayState);
  expectEqual('lease epoch of GetStatus:', said.leaseEpoch, identity.leaseEpoch);
  expect(said.pulses >= 0 && said.operationNanoseconds >= 0, 'pulses and operation time of 0 or more', describeFinal({ requestId: new Uint8Array(0),
    repeatedFromJournal: false, getStatus: said }));
}

/** A request whose method has a number that no version of the protocol uses. */
function unknownRequest(id: Uint8Array): Uint8Array {
  const request = [0x0a, id.length, ...id, 0xa2, 0x3e, 0x00]; // field 1: the id; field 996: an empty message
  return Uint8Array.from([0x0a, request.length, ...request]);
}

async function unknownMethod(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  await conversation.sendPayload(unknownRequest(id));
  expectFailure(await conversation.answer(id, 0, 'a request of an unknown method'), 'METHOD_UNSUPPORTED');
  if (!bench.declares('Multiply')) {
    const body = { firstBitLine: 0, bitLineCount: 1, sourceLines: [0], range: 0, inferenceNumber: 0, timestep: 0, tile: 0, drives: [] };
    expectFailure(await conversation.request('multiply', body), 'METHOD_UNSUPPORTED');
  }
  if (!bench.declares('LoadSnapshot')) expectFailure(await conversation.request('loadSnapshot', { sha256: bench.randomBytes(32) }), 'METHOD_UNSUPPORTED');
  await expectAnswer(conversation);
}

async function malformed(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  for (const length of [0, 3, 15, 17]) {
    const id = bench.randomBytes(length);
    expectFailure(await conversation.request('noOperation', {}, { id }), 'REQUEST_INVALID');
  }
  for (const bytes of [[0xff, 0xff, 0xff], [0x0a, 0x7f, 1, 2], [0x0a, 0x00], [0x3a, 0x00], []]) await conversation.sendPayload(Uint8Array.from(bytes));
  await expectAnswer(conversation);
}

async function failureCodes(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const finals = [
    await conversation.request('bulkCommit', { sha256: bench.randomBytes(32) }),
    await conversation.request('bulkOffer', { sha256: bench.randomBytes(3), sizeBytes: 1 }),
    await conversation.request('noOperation', {}, { id: bench.randomBytes(4) }),
  ];
  for (const final of finals) {
    const code = final.failure?.code ?? 'no failure';
    expect(isErrorCode(code), 'a code of docs/errors.md', code);
    expectEqual('outcome of a refusal:', final.failure?.outcome, 0);
    expect((final.failure?.detail.length ?? 0) <= 300, 'a detail of at most 300 characters', String(final.failure?.detail.length));
  }
}

async function underWay(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  for (let copy = 0; copy < 3; copy += 1) await conversation.begin('readCells', wholeArray(conversation, 1), { id });
  const other = await conversation.request('readCells', oneCell, { patience: 60_000 });
  expectResult(other, 'readCells');
  await conversation.answer(id, 0, 'a request that was sent three times', 60_000);
  await conversation.host.rest(50);
  const { length } = conversation.finals(id);
  // A pure request that is over may be done once more for each copy; one that is under way may not.
  expect(length >= 1 && length <= 3, 'one answer for each run', `${length} answers`);
  const order = conversation.progressOf(id).map(({ cells }) => cells?.done ?? 0);
  const falls = order.filter((done, index) => index > 0 && done < order[index - 1]).length;
  expect(falls < length, `${length} runs for ${length} answers`, `${falls + 1} runs`);
}

async function stages(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = await conversation.begin('readCells', wholeArray(conversation, 1));
  await conversation.answer(id, 0, 'ReadCells', 60_000);
  await conversation.host.rest(50);
  const kinds = conversation.messages.flatMap(({ accepted, progress, final }) => {
    const of = accepted ?? progress ?? final;
    if (!of || !isSame(of.requestId, id)) return [];
    return [accepted ? 'Accepted' : progress ? 'Progress' : 'Final'];
  });
  const text = kinds.filter((kind, index) => kind !== kinds[index - 1]).join(', ');
  expect(/^(Accepted, )?(Progress, )?Final$/.test(text), 'Accepted or none, any number of Progress, one Final', text);
  expectEqual('Accepted messages of one request, at most', Math.max(1, kinds.filter((kind) => kind === 'Accepted').length), 1);
  if (conversation.identity.protocol >= 2) expectEqual('first stage of a request that waits for the array:', kinds[0], 'Accepted');
}

async function lease(bench: Bench): Promise<void> {
  const { identity } = await bench.open();
  const current = identity.leaseEpoch;
  if (current === 0 && !bench.options.isThrowAway) throw new NotRun('the lease of this board is 0, and raising it would shut out its service until a restart');
  const conversation = current === 0 ? await bench.open({ leaseEpoch: 1 }) : await bench.open();
  const epoch = conversation.identity.leaseEpoch;
  expectEqual('lease epoch in HELLO_ACK:', epoch, Math.max(1, current));
  const before = expectResult(await conversation.request('getStatus', {}), 'getStatus').scratchCount;
  expectFailure(await conversation.request('scratch', { add: 1 }, { leaseEpoch: epoch - 1 }), 'LEASE_STALE');
  const after = expectResult(await conversation.request('getStatus', {}), 'getStatus').scratchCount;
  expectEqual('scratch count after a refusal:', after, before);
  expectResult(await conversation.request('scratch', { add: 1 }, { leaseEpoch: epoch }), 'scratch');
  const older = await bench.open({ leaseEpoch: 0 });
  expectEqual('lease epoch after a HELLO with an older one:', older.identity.leaseEpoch, epoch);
  expectFailure(await older.request('scratch', { add: 1 }, { leaseEpoch: epoch - 1 }), 'LEASE_STALE');
}

async function deadline(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { linkTimeMicroseconds } = expectResult(await conversation.request('noOperation', {}), 'noOperation');
  await conversation.host.rest(5);
  const past = { deadlineMicroseconds: linkTimeMicroseconds };
  const future = { deadlineMicroseconds: linkTimeMicroseconds + 60e6 };
  const count = async () => expectResult(await conversation.request('getStatus', {}), 'getStatus').scratchCount;
  const before = await count();
  expectFailure(await conversation.request('scratch', { add: 1 }, past), 'DEADLINE_EXCEEDED');
  expectEqual('scratch count after a deadline that had passed:', await count(), before);
  expectResult(await conversation.request('scratch', { add: 1 }, future), 'scratch');
  if (!bench.declares('ReadCells')) return;
  expectFailure(await conversation.request('readCells', oneCell, past), 'DEADLINE_EXCEEDED');
  expectResult(await conversation.request('readCells', oneCell, future), 'readCells');
}

async function cancelWaiting(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const [first, second] = [bench.newId(), bench.newId()];
  // In one go, so that no board can be done with the first before it meets the second.
  conversation.sendNow(conversation.encodeRequest('readCells', wholeArray(conversation, 4), { id: first }));
  conversation.sendNow(conversation.encodeRequest('readCells', wholeArray(conversation, 4), { id: second }));
  await conversation.send({ cancel: { requestId: second } });
  const final = await conversation.answer(second, 0, 'a request that was cancelled while it waited', 60_000);
  const isOver = final.readCells !== null && final.readCells !== undefined;
  if (!isOver) expectFailure(final, 'CANCELLED');
  expectResult(await conversation.answer(first, 0, 'the request before it', 60_000), 'readCells');
  expectEqual('answers to a request that was cancelled:', conversation.finals(second).length, 1);
  if (isOver) throw new NotRun('the board had done both requests before the Cancel came');
}

async function cancelRunning(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = await conversation.begin('readCells', wholeArray(conversation, 16));
  await conversation.host.until(() => conversation.progressOf(id)[0], 10_000);
  await conversation.send({ cancel: { requestId: id } });
  const final = await conversation.answer(id, 0, 'a request that was cancelled while it ran', 60_000);
  if (final.failure) expectFailure(final, 'CANCELLED');
  const { length } = conversation.messages;
  await expectAnswer(conversation);
  await conversation.send({ cancel: { requestId: id } });
  await conversation.send({ cancel: { requestId: bench.newId() } });
  await expectAnswer(conversation);
  const late = conversation.messages.slice(length).filter(({ progress, accepted }) => progress ?? accepted).length;
  expectEqual('messages about a request that is over:', late, 0);
  expectEqual('answers to a request that was cancelled:', conversation.finals(id).length, 1);
}

async function busy(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const limit = conversation.identity.limits.requestsInFlight;
  if (limit > 200) throw new NotRun(`the board takes ${limit} requests at once`);
  const ids: Uint8Array[] = [];
  for (let request = 0; request < limit + 8; request += 1) {
    ids.push(await conversation.begin('readCells', wholeArray(conversation, request === 0 ? 64 : 1)));
  }
  const isRefused = () => ids.map((id) => conversation.finals(id)[0]).find((final) => final?.failure);
  const isFirstDone = () => conversation.finals(ids[0])[0];
  const refused = await conversation.host.until(() => isRefused() ?? isFirstDone(), 60_000);
  await bench.open(); // which drops what still waits
  if (refused === undefined || !refused.failure) throw new NotRun('the board answered faster than requests can pile up on this line');
  expectFailure(refused, 'DEVICE_BUSY');
  const answered = ids.slice(0, limit).filter((id) => conversation.finals(id).some(({ failure }) => failure?.code === 'DEVICE_BUSY')).length;
  expectEqual(`refusals among the first ${limit} requests:`, answered, 0);
}

export const requestItems: readonly Item[] = [
  { name: 'request-link-time', section, title: 'NoOperation says the link time, which runs as time does', run: time },
  { name: 'request-status', section, title: 'GetStatus says what HELLO_ACK said', run: status },
  { name: 'request-unknown-method', section, title: 'a method that the board has not is refused', run: unknownMethod },
  { name: 'request-malformed', section, title: 'a wrong id is refused, a message that is none ignored', run: malformed },
  { name: 'request-failure-codes', section, title: 'failures have codes of the table and have changed nothing', run: failureCodes },
  { name: 'request-under-way', section, title: 'a repeated id that is under way is not begun again', capabilities: ['ReadCells'], run: underWay },
  { name: 'request-stages', section, title: 'Accepted, Progress, then exactly one Final', capabilities: ['ReadCells'], run: stages },
  { name: 'request-deadline', section, title: 'past its deadline a request is not begun', capabilities: ['Scratch'], run: deadline },
  { name: 'request-cancel-waiting', section, title: 'Cancel ends a request that waits', capabilities: ['ReadCells'], run: cancelWaiting },
  { name: 'request-cancel-running', section, title: 'Cancel ends a request that runs, or it finishes', capabilities: ['ReadCells'], run: cancelRunning },
  { name: 'request-busy', section, title: 'above the limit of requests under way: DEVICE_BUSY', capabilities: ['ReadCells'], run: busy },
  { name: 'request-lease', section, title: 'an older lease epoch is refused', capabilities: ['Scratch'], run: lease },
];
