import type { Bench } from '../bench.js';
import { type Conversation, expectFailure, expectResult, isSame } from '../conversation.js';
import { Deviation, expect, expectEqual, NotRun } from '../deviation.js';
import type { Item } from '../item.js';
import { expectAnswer } from './framing.js';
import { oneCell, wholeArray } from './request.js';
import { resetAnd, statusOf } from './safety.js';

const ofStop = 'PROTOCOL.md §ESTOP';
const ofRestart = 'PROTOCOL.md §Methods';
const requestedReset = 1;

/** Sends ESTOP, and again as a host does, until it is answered. @returns milliseconds until the answer */
async function stop(bench: Bench, session: number): Promise<number> {
  const host = await bench.line();
  const from = host.frames.length;
  const start = bench.options.clock.nowMicroseconds();
  const find = () => host.frames.slice(from).find(({ frame }) => frame.type === 'ESTOP' && frame.session === session);
  for (let attempt = 0; attempt < 50; attempt += 1) {
    host.send('ESTOP', { session });
    const answer = await host.until(find, 20);
    if (answer === undefined) continue;
    expectEqual('payload of the answer to ESTOP, bytes:', answer.frame.payload.length, 0);
    return (answer.atMicroseconds - start) / 1000;
  }
  throw new Deviation(`ESTOP of session ${session.toString(16).padStart(8, '0')} in answer to fifty ESTOP frames`, host.closedBecause ?? 'nothing within 1 s');
}

/** Runs an item with ESTOP in it; whatever comes of it, the board is restarted after it. */
async function andRestart(bench: Bench, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    await bench.restart();
  }
}

async function expectStopped(conversation: Conversation): Promise<void> {
  const status = expectResult(await conversation.request('getStatus', {}), 'getStatus');
  expectEqual('stopped in GetStatus:', status.stopped, true);
}

const answered = (bench: Bench) => andRestart(bench, async () => {
  const conversation = await bench.open();
  await stop(bench, conversation.session);
  await expectStopped(conversation);
  await stop(bench, conversation.session); // once more
});

const withoutSession = (bench: Bench) => andRestart(bench, async () => {
  await bench.restart(); // nobody has said HELLO to this boot except the restart itself
  const host = await bench.line();
  const session = bench.newSession();
  await stop(bench, session);
  await expectStopped(await bench.open());
  const reset = host.frames.find(({ frame }) => frame.type === 'RESET' && frame.session === session);
  expect(reset === undefined, 'no RESET in answer to ESTOP of an unknown session', 'RESET');
});

const refuses = (bench: Bench) => andRestart(bench, async () => {
  const conversation = await bench.open();
  await stop(bench, conversation.session);
  if (bench.declares('ReadCells')) expectFailure(await conversation.request('readCells', oneCell), 'DEVICE_STOPPED');
  if (bench.declares('Multiply')) {
    const drives = [{ position: 0, plane: 0, lines: Uint8Array.of(1) }];
    const body = { firstBitLine: 0, bitLineCount: 1, sourceLines: [0], range: 0, inferenceNumber: 0, timestep: 0, tile: 0, drives };
    expectFailure(await conversation.request('multiply', body), 'DEVICE_STOPPED');
  }
  await expectAnswer(conversation);
  const next = await bench.open();
  await expectStopped(next); // also in the next session
  if (bench.declares('ReadCells')) expectFailure(await next.request('readCells', oneCell), 'DEVICE_STOPPED');
});

const endsWork = (bench: Bench) => andRestart(bench, async () => {
  bench.need('ReadCells');
  const conversation = await bench.open();
  const ids = [await conversation.begin('readCells', wholeArray(conversation, 64)), await conversation.begin('readCells', wholeArray(conversation, 64))];
  await stop(bench, conversation.session);
  for (const id of ids) {
    const final = await conversation.answer(id, 0, 'a read that was under way when ESTOP came', 60_000);
    if (final.readCells) throw new NotRun('the board had read the array before ESTOP came');
    expectFailure(final, 'DEVICE_STOPPED');
  }
});

/** The window of the board is full and nobody acknowledges: ESTOP passes all the same. */
const pastWindow = (bench: Bench) => andRestart(bench, async () => {
  const digest = await (await bench.open()).upload(bench.randomBytes(20_000));
  const conversation = await bench.open();
  conversation.acknowledges = false;
  conversation.sendData(0, conversation.encodeRequest('bulkFetch', { sha256: digest, offsetBytes: 0 }));
  await conversation.host.rest(50);
  const milliseconds = await stop(bench, conversation.session);
  const limit = 1000 + (64 * bench.options.frameTimeMicroseconds) / 1000;
  expect(milliseconds < limit, `an answer within ${limit.toFixed(0)} ms behind a full window`, `${milliseconds.toFixed(0)} ms`);
});

async function restarts(bench: Bench): Promise<void> {
  const before = (await bench.open()).identity;
  const after = await bench.restart();
  expect(!isSame(after.bootId, before.bootId), 'a new boot id', 'the same');
  expectEqual('boot count after a restart:', after.bootCount, before.bootCount + 1);
  expectEqual('reset reason after a restart that was asked for:', after.resetReason, requestedReset);
  expect(after.linkTimeMicroseconds < before.linkTimeMicroseconds || after.linkTimeMicroseconds < 30e6, 'a link time that begins anew',
    String(after.linkTimeMicroseconds));
  expectEqual('array state after a restart:', after.arrayState, before.arrayState);
  expectEqual('chip id after a restart:', after.chipId, before.chipId);
}

async function forgets(bench: Bench): Promise<void> {
  const first = await bench.open();
  const id = bench.newId();
  expectResult(await first.request('scratch', { add: 9 }, { id }), 'scratch');
  const digest = await first.upload(bench.randomBytes(100));
  await bench.restart();
  const conversation = await bench.open();
  const final = await conversation.request('scratch', { add: 9 }, { id });
  expectResult(final, 'scratch');
  expectEqual('repeated_from_journal of an id of the boot before:', final.repeatedFromJournal, false);
  expectFailure(await conversation.request('bulkFetch', { sha256: digest, offsetBytes: 0 }), 'BULK_UNKNOWN');
}

async function endsSession(bench: Bench): Promise<void> {
  const old = await bench.open();
  const { session } = old;
  await bench.restart();
  const host = await bench.line();
  const from = host.frames.length;
  const find = () => host.frames.slice(from).find(({ frame }) => frame.session === session)?.frame;
  host.send('DATA', { session, sequence: 0, credit: 60_000 });
  const answer = await host.until(find, 1000);
  expectEqual('answer to DATA of a session of the boot before:', answer?.type ?? 'nothing', 'RESET');
}

/** A restart would lose the outcome of an effectful request, so it is refused while one is under way. */
async function whileEffectful(bench: Bench): Promise<void> {
  bench.need('ResetCells');
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) throw new NotRun('--allow-pulses is not given');
  const cells = allowedPulses.bitLines * allowedPulses.sourceLines;
  const conversation = await bench.open();
  const { resetId, restartId, before } = await resetAnd(bench, conversation, 'restart');
  const reset = expectResult(await conversation.answer(resetId, 0, 'a RESET with a Restart behind it', 60_000), 'resetCells');
  expectEqual('pulses of a RESET with a Restart behind it:', reset.pulses, cells);
  const final = await conversation.answer(restartId, 0, 'a Restart behind a RESET');
  if (!final.restart) expectFailure(final, 'DEVICE_BUSY');
  await bench.restart();
  expectEqual('pulses after the restart:', (await statusOf(await bench.open())).pulses - before, cells);
}

const allowed = { protocol: 2, capabilities: ['Restart'], permission: 'restart' } as const;

export const stopItems: readonly Item[] = [
  { name: 'restart-boot', section: ofRestart, title: 'Restart: answer, new boot id, boot count + 1, reason', ...allowed, run: restarts },
  { name: 'restart-forgets', section: 'PROTOCOL.md §Session', title: 'the journal and bulk die with the boot', ...allowed, run: forgets },
  { name: 'restart-session', section: 'PROTOCOL.md §Session', title: 'and so does the session', ...allowed, run: endsSession },
  { name: 'restart-effectful', section: ofRestart, title: 'Restart is refused while an effectful request is under way', ...allowed, run: whileEffectful },
  { name: 'estop-answered', section: ofStop, title: 'ESTOP is answered by ESTOP of the same session', ...allowed, run: answered },
  { name: 'estop-no-session', section: ofStop, title: 'also without a session', ...allowed, run: withoutSession },
  { name: 'estop-refuses', section: ofStop, title: 'nothing energises the array until a restart', ...allowed, run: refuses },
  { name: 'estop-ends-work', section: ofStop, title: 'what is under way ends with DEVICE_STOPPED', ...allowed, run: endsWork },
  { name: 'estop-past-window', section: ofStop, title: 'ESTOP waits for no window', ...allowed, run: pastWindow },
];
