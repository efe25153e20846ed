import { hostMessageCodec } from '../../../proto/codec.js';
import type { MethodRequests, Region } from '../../../proto/message.js';
import { bitmapOf } from '../../region.js';
import type { Bench } from '../bench.js';
import { type Conversation, describeFinal, expectFailure, expectResult } from '../conversation.js';
import { expect, expectEqual, NotRun } from '../deviation.js';
import type { Item } from '../item.js';
import { oneCell, wholeArray } from './request.js';

const section = 'PROTOCOL.md §Methods';
const ofDeadMan = 'PROTOCOL.md §Dead-man (2)';
const bitmapBytes = (512 * 512) / 8;
/** Beyond what any memristor array takes. */
const outside: readonly Partial<MethodRequests['resetCells']>[] = [
  { amplitudeMillivolts: 60_000 }, { amplitudeMillivolts: 0 }, { widthNanoseconds: 0 }, { widthNanoseconds: 4_000_000_000 },
];
const pulse = { amplitudeMillivolts: 1000, widthNanoseconds: 100 };

export const statusOf = async (conversation: Conversation) => expectResult(await conversation.request('getStatus', {}), 'getStatus');

async function expectRefused(conversation: Conversation, cellsSha256: Uint8Array): Promise<void> {
  const before = await statusOf(conversation);
  for (const changes of outside) {
    const final = await conversation.request('resetCells', { cellsSha256, ...pulse, ...changes });
    expect(final.failure?.code === 'PULSE_REFUSED', `PULSE_REFUSED for ${JSON.stringify(changes)}`, describeFinal(final));
    expectFailure(final, 'PULSE_REFUSED', 'NOT_APPLIED', /\d/);
  }
  const after = await statusOf(conversation);
  expectEqual('pulses after refusals:', after.pulses, before.pulses);
  expectEqual('array state after refusals:', after.arrayState, before.arrayState);
  expectEqual('array epoch after refusals:', after.arrayEpoch, before.arrayEpoch);
}

/** The bitmap names no cell: a board that refuses nothing has nothing to pulse. */
async function envelope(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  await expectRefused(conversation, await conversation.upload(new Uint8Array(bitmapBytes)));
  const short = await conversation.upload(new Uint8Array(3));
  expectFailure(await conversation.request('resetCells', { cellsSha256: short, ...pulse }), 'REQUEST_INVALID');
  expectFailure(await conversation.request('resetCells', { cellsSha256: bench.randomBytes(32), ...pulse }), 'BULK_UNKNOWN');
}

async function envelopeOfCells(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  const conversation = await bench.open();
  await expectRefused(conversation, await conversation.upload(bitmapOf(allowedPulses)));
}

async function pulses(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  const cells = allowedPulses.bitLines * allowedPulses.sourceLines;
  const conversation = await bench.open();
  const cellsSha256 = await conversation.upload(bitmapOf(allowedPulses));
  const before = await statusOf(conversation);
  const id = bench.newId();
  const body = { cellsSha256, ...pulse };
  const result = expectResult(await conversation.request('resetCells', body, { id, patience: 60_000 }), 'resetCells');
  expectEqual('pulses of ResetCells:', result.pulses, cells);
  expectEqual('cells of ResetCells:', result.cells, cells);
  const after = await statusOf(conversation);
  expectEqual('pulses of GetStatus:', after.pulses, before.pulses + cells);
  expect(after.arrayEpoch > before.arrayEpoch, `an array epoch above ${before.arrayEpoch}`, String(after.arrayEpoch));
  expect(Buffer.compare(after.arrayState, before.arrayState) !== 0, 'another array state', 'the same');
  expectEqual('array state of the answer:', result.arrayState, after.arrayState);
  const next = await bench.open();
  expectEqual('array state of HELLO_ACK:', next.identity.arrayState, after.arrayState);
  const again = await next.request('resetCells', body, { id, patience: 60_000 });
  expect(again.repeatedFromJournal && again.resetCells?.pulses === cells, 'the answer from the journal', describeFinal(again));
  const last = await statusOf(next);
  expectEqual('pulses after the same id once more:', last.pulses, after.pulses);
  expectEqual('array epoch after the same id once more:', last.arrayEpoch, after.arrayEpoch);
}

/** A RESET and what comes right behind it, in one write. @returns the ids of both, and the board's count of pulses before */
export async function resetAnd(bench: Bench, conversation: Conversation, behind: 'cancel' | 'restart') {
  const cellsSha256 = await conversation.upload(bitmapOf(bench.options.allowedPulses as Region));
  const { pulses: before } = await statusOf(conversation);
  const [resetId, restartId] = [bench.newId(), bench.newId()];
  const body = { cellsSha256, ...pulse };
  const second = behind === 'cancel'
    ? hostMessageCodec.encode({ cancel: { requestId: resetId } })
    : conversation.encodeRequest('restart', {}, { id: restartId });
  conversation.sendTogether([conversation.encodeRequest('resetCells', body, { id: resetId }), second]);
  return { resetId, restartId, body, before };
}

/** Whether pulses were given before the Cancel is the board's to say; it must be true, and stay what it said. */
async function cancelledPulses(bench: Bench): Promise<void> {
  const { allowedPulses } = bench.options;
  if (allowedPulses === undefined) return;
  const cells = allowedPulses.bitLines * allowedPulses.sourceLines;
  const conversation = await bench.open();
  const { resetId, body, before } = await resetAnd(bench, conversation, 'cancel');
  const final = await conversation.answer(resetId, 0, 'a RESET that was cancelled', 60_000);
  const given = (await statusOf(conversation)).pulses - before;
  if (final.resetCells) {
    expectEqual('pulses of a RESET that ended before its Cancel:', given, cells);
  } else {
    expectFailure(final, 'CANCELLED', given > 0 ? 'APPLIED' : 'NOT_APPLIED');
    expect(given <= cells, `at most ${cells} pulses`, String(given));
  }
  const again = await conversation.request('resetCells', body, { id: resetId });
  expectEqual('repeated_from_journal of a RESET that was cancelled:', again.repeatedFromJournal, true);
  expectEqual('pulses after the same id once more:', (await statusOf(conversation)).pulses - before, given);
}

/** The host asks for a time, the board states what is in force. */
async function deadManTime(bench: Bench): Promise<void> {
  const own = (await bench.open({ deadManMilliseconds: 0 })).identity.deadManMilliseconds;
  for (const [asked, minimum, maximum] of [[0, own, own], [500, 500, 500], [1, 100, 100], [3_600_000, 100, 60_000]]) {
    const inForce = (await bench.open({ deadManMilliseconds: asked })).identity.deadManMilliseconds;
    const isRight = inForce >= minimum && inForce <= maximum;
    expect(isRight, `${minimum} to ${maximum} ms in force where ${asked} are asked for`, `${inForce} ms`);
  }
}

async function deadMan(bench: Bench): Promise<void> {
  const conversation = await bench.open({ deadManMilliseconds: 100 });
  const { host } = conversation;
  const id = await conversation.begin('readCells', wholeArray(conversation, 1024));
  conversation.acknowledges = false;
  conversation.isSilent = true;
  await host.rest(700);
  conversation.isSilent = false;
  conversation.acknowledges = true;
  conversation.sendAcknowledgement();
  const final = await conversation.answer(id, 0, 'a read during which the host fell silent', 60_000);
  if (final.readCells) throw new NotRun('the board reads the array in less than its dead-man time');
  expectFailure(final, 'HOST_SILENT');
  expectResult(await conversation.request('readCells', oneCell), 'readCells'); // the session is open, and nothing is stopped
}

const capabilities = ['ResetCells'];

export const safetyItems: readonly Item[] = [
  { name: 'safety-dead-man-time', section: ofDeadMan, title: 'the dead-man time that is in force is stated', protocol: 2, run: deadManTime },
  { name: 'safety-dead-man', section: ofDeadMan, title: 'a silent host ends what energises', protocol: 2, capabilities: ['ReadCells'], run: deadMan },
  { name: 'safety-envelope', section, title: 'RESET outside the envelope is refused (of no cell)', capabilities, run: envelope },
  { name: 'safety-envelope-cells', section, title: 'RESET outside the envelope gives no pulse', capabilities, permission: 'pulses', run: envelopeOfCells },
  { name: 'pulse-reset', section, title: 'one RESET a cell is counted, raises the epoch, is given once', capabilities, permission: 'pulses', run: pulses },
  {
    name: 'pulse-cancel', section: 'PROTOCOL.md §Requests and outcomes', title: 'a RESET that is cancelled says whether it gave pulses', protocol: 2,
    capabilities, permission: 'pulses', run: cancelledPulses,
  },
];
