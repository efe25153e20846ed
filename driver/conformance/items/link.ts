import { hostMessageCodec } from '../../../proto/codec.js';
import type { Bench } from '../bench.js';
import { type Conversation, expectResult } from '../conversation.js';
import { expect, expectEqual, NotRun } from '../deviation.js';
import type { Item } from '../item.js';
import { expectAnswer } from './framing.js';

const section = 'PROTOCOL.md §Link';
const objectBytes = 20_000;

/** A message that is answered by nothing: it cancels what does not exist. */
const idle = (bench: Bench) => hostMessageCodec.encode({ cancel: { requestId: bench.newId() } });

async function inOrder(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const ids = [0, 1, 2, 3].map(() => bench.newId());
  for (const sequence of [3, 1, 2, 0]) conversation.sendData(sequence, conversation.encodeRequest('noOperation', {}, { id: ids[sequence] }));
  conversation.nextSequence = ids.length;
  for (const id of ids) expectResult(await conversation.answer(id), 'noOperation');
  const order = conversation.messages.flatMap(({ final }) => (final ? [ids.findIndex((id) => Buffer.compare(id, final.requestId) === 0)] : []));
  expectEqual('order of the answers to requests that were sent as 3, 1, 2, 0:', order, [0, 1, 2, 3]);
}

async function duplicates(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  const payload = conversation.encodeRequest('noOperation', {}, { id });
  const { host } = conversation;
  for (let copy = 0; copy < 5; copy += 1) {
    const from = host.frames.length;
    conversation.sendData(0, payload);
    const answer = await host.until(() => host.frames.slice(from).find(({ frame }) => frame.session === conversation.session)?.frame, 500);
    expect(answer !== undefined, `a frame in answer to copy ${copy + 1} of a DATA frame`, 'nothing within 500 ms');
  }
  conversation.nextSequence = 1;
  await expectAnswer(conversation);
  expectEqual('answers to a DATA frame that came five times:', conversation.finals(id).length, 1);
  const old = bench.newId();
  conversation.sendData(-20, conversation.encodeRequest('noOperation', {}, { id: old }));
  await expectAnswer(conversation);
  expectEqual('answers to a DATA frame of long ago:', conversation.finals(old).length, 0);
}

async function beyondWindow(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  await expectAnswer(conversation);
  await conversation.settled();
  const id = bench.newId();
  for (const distance of [33, 40, 1000, 30_000]) {
    conversation.sendData(conversation.nextSequence + distance, conversation.encodeRequest('noOperation', {}, { id }));
  }
  for (let request = 0; request < 45; request += 1) await expectAnswer(conversation);
  expectEqual('answers to DATA beyond the window:', conversation.finals(id).length, 0);
  expectEqual('acknowledge after it:', conversation.acknowledged.acknowledge, conversation.nextSequence);
}

async function expectAcknowledged(conversation: Conversation, acknowledge: number, selective: number, what: string): Promise<void> {
  const is = () => (conversation.acknowledged.acknowledge === acknowledge && conversation.acknowledged.selective === selective ? true : undefined);
  const isRight = await conversation.host.until(is, 1000);
  const { acknowledge: a, selective: s } = conversation.acknowledged;
  const text = (left: number, right: number) => `ack ${left}+${right.toString(16).padStart(8, '0')}`;
  expect(isRight === true, `${text(acknowledge, selective)} after ${what}`, text(a, s));
}

async function acknowledgements(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const send = (sequence: number) => conversation.sendData(sequence, idle(bench));
  send(0);
  await expectAcknowledged(conversation, 1, 0, 'frame 0');
  for (const sequence of [2, 3, 5]) send(sequence);
  await expectAcknowledged(conversation, 1, 0b1011, 'frames 0, 2, 3 and 5');
  send(1);
  await expectAcknowledged(conversation, 4, 0b1, 'frame 1 as well');
  send(4);
  await expectAcknowledged(conversation, 6, 0, 'frame 4 as well');
  send(6 + 31);
  await expectAcknowledged(conversation, 6, 0x4000_0000, 'a frame 31 ahead');
}

/** Puts an object on the board that fills many frames when it is fetched. */
async function bigObject(bench: Bench, conversation: Conversation): Promise<Uint8Array> {
  const limit = conversation.identity.limits.bulkBytes;
  if (limit < objectBytes) throw new NotRun(`the board holds ${limit} bytes of bulk; ${objectBytes} are needed`);
  return conversation.upload(bench.randomBytes(objectBytes));
}

/** What the board has in flight while nothing is acknowledged: frames by sequence number. */
const inFlight = ({ dataFrames }: Conversation, from: number) =>
  new Map(dataFrames.slice(from).map(({ frame }) => [frame.sequence, frame.payload.length]));

async function window(bench: Bench): Promise<void> {
  const digest = await bigObject(bench, await bench.open());
  const windowFrames = 8;
  const conversation = await bench.open({ windowFrames });
  await expectAnswer(conversation);
  await conversation.host.rest(20);
  const from = conversation.dataFrames.length;
  conversation.acknowledges = false;
  await conversation.begin('bulkFetch', { sha256: digest, offsetBytes: 0 });
  await conversation.host.until(() => (inFlight(conversation, from).size >= windowFrames ? true : undefined), 2000);
  await conversation.host.rest(100);
  expectEqual('frames in flight to a host with a window of 8:', inFlight(conversation, from).size, windowFrames);
}

async function credit(bench: Bench): Promise<void> {
  const digest = await bigObject(bench, await bench.open());
  for (const creditBytes of [0, 700, 1400]) {
    const conversation = await bench.open({ creditBytes });
    await expectAnswer(conversation);
    await conversation.host.rest(20);
    const from = conversation.dataFrames.length;
    conversation.acknowledges = false;
    await conversation.begin('bulkFetch', { sha256: digest, offsetBytes: 0 });
    await conversation.host.until(() => (inFlight(conversation, from).size > 0 ? true : undefined), 2000);
    await conversation.host.rest(100);
    const frames = [...inFlight(conversation, from).values()];
    const bytes = frames.reduce((sum, length) => sum + length, 0);
    const isHeld = frames.length > 0 && (frames.length === 1 || bytes <= creditBytes);
    expect(isHeld, `one frame, or at most ${creditBytes} bytes, in flight under a credit of ${creditBytes}`, `${frames.length} frames of ${bytes} bytes`);
  }
}

/** Times of the copies of one frame, in milliseconds from the first. */
const copiesOf = ({ dataFrames }: Conversation, sequence: number) => {
  const times = dataFrames.filter(({ frame }) => frame.sequence === sequence).map(({ atMicroseconds }) => atMicroseconds / 1000);
  return times.map((time) => time - times[0]);
};

/** First 200 ms or the floor of a slow line, doubled after each expiry, at most 1 s or twice the floor. */
function retransmissionTimes(frameMilliseconds: number): number[] {
  const floor = Math.max(5, 4 * frameMilliseconds);
  return [1, 2, 4, 8].map((factor) => Math.round(Math.min(Math.max(1000, 2 * floor), factor * Math.max(200, floor))));
}

async function retransmission(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { host } = conversation;
  conversation.acknowledges = false;
  conversation.sendData(0, conversation.encodeRequest('noOperation', {}));
  conversation.nextSequence = 1;
  await host.until(() => (copiesOf(conversation, 0).length >= 5 ? true : undefined), 6000);
  const times = copiesOf(conversation, 0);
  expect(times.length >= 5, 'five copies of a frame that is not acknowledged', `${times.length} within 6 s`);
  const gaps = times.slice(1).map((time, index) => time - times[index]);
  const shown = gaps.map((gap) => `${gap.toFixed(0)} ms`).join(', ');
  const wanted = retransmissionTimes(bench.options.frameTimeMicroseconds / 1000);
  // A quarter is left to the clocks of both ends, and some time to the line and a busy machine.
  const isRight = wanted.every((time, index) => gaps[index] >= 0.75 * time && gaps[index] <= 1.25 * time + 150);
  expect(isRight, `copies after ${wanted.join(', ')} ms`, shown);
  const payloads = new Set(conversation.dataFrames.map(({ frame }) => Buffer.from(frame.payload).toString('hex')));
  expectEqual('different payloads among the copies:', payloads.size, 1);
  conversation.sendAcknowledgement({ acknowledge: 1 });
  const count = conversation.dataFrames.length;
  await host.rest(1300);
  expect(conversation.dataFrames.length <= count + 1, 'no copy after the acknowledgement', `${conversation.dataFrames.length - count} copies`);
}

/** A machine under load may lose a tenth of a second by itself: three attempts, of which one must be in time. */
async function fastRetransmission(bench: Bench): Promise<void> {
  const digest = await bigObject(bench, await bench.open());
  for (let attempt = 1; ; attempt += 1) {
    try {
      await overtake(bench, digest);
      return;
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
}

async function overtake(bench: Bench, digest: Uint8Array): Promise<void> {
  const conversation = await bench.open();
  const { host } = conversation;
  conversation.acknowledges = false;
  conversation.sendData(0, conversation.encodeRequest('bulkFetch', { sha256: digest, offsetBytes: 0 }));
  conversation.nextSequence = 1;
  await host.until(() => (conversation.dataFrames.length >= 6 ? true : undefined), 1000);
  expect(conversation.dataFrames.length >= 6, 'six frames in flight', `${conversation.dataFrames.length}`);
  // Frames 1 to 4 have arrived, frame 0 has not.
  conversation.sendAcknowledgement({ acknowledge: 0, selective: 0b1111 });
  await host.until(() => (copiesOf(conversation, 0).length >= 2 ? true : undefined), 150);
  expect(copiesOf(conversation, 0).length >= 2, 'the missing frame again at once', `${copiesOf(conversation, 0).length - 1} copies within 150 ms`);
  await host.rest(30);
  for (const sequence of [1, 2, 3, 4]) {
    expectEqual(`copies of frame ${sequence}, which was acknowledged:`, copiesOf(conversation, sequence).length, 1);
  }
}

async function givesUp(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { host } = conversation;
  conversation.acknowledges = false;
  conversation.sendData(0, conversation.encodeRequest('noOperation', {}));
  await host.rest(11_000);
  const copies = copiesOf(conversation, 0).length;
  // Nine expiries in a row are the end: the first eight send again.
  expect(copies >= 8 && copies <= 10, 'the first frame and eight or nine copies in eleven seconds', `${copies} frames`);
  conversation.end();
  await expectAnswer(await bench.open());
}

/** A little more than 65 536 frames, so that the count comes round. */
async function wrap(bench: Bench): Promise<void> {
  const { frameTimeMicroseconds } = bench.options;
  if (frameTimeMicroseconds > 3000) throw new NotRun('the line is too slow for 65 536 frames');
  const conversation = await bench.open();
  const batch = new Array<Uint8Array>(conversation.windowFrames).fill(idle(bench));
  for (let sent = 0; sent < 0x10000 + batch.length; sent += batch.length) {
    conversation.sendTogether(batch);
    await conversation.settled();
  }
  await expectAnswer(conversation);
}

export const linkItems: readonly Item[] = [
  { name: 'link-order', section, title: 'DATA is delivered in order whatever order it comes in', run: inOrder },
  { name: 'link-duplicates', section, title: 'DATA is delivered once, and each copy is acknowledged', run: duplicates },
  { name: 'link-beyond-window', section, title: 'DATA beyond the window is dropped', run: beyondWindow },
  { name: 'link-acknowledgements', section, title: 'cumulative and selective acknowledgements say what has arrived', run: acknowledgements },
  { name: 'link-window', section, title: 'the board keeps to the window of the host', run: window },
  { name: 'link-credit', section, title: 'the board keeps to the credit of the host', run: credit },
  { name: 'link-retransmission', section, title: 'what is not acknowledged is sent again after 200 ms, doubled up to 1 s', run: retransmission },
  { name: 'link-fast-retransmission', section, title: 'a frame that later ones have overtaken is sent again at once', run: fastRetransmission },
  { name: 'link-sequence-wrap', section, title: 'sequence numbers wrap', run: wrap },
  { name: 'link-gives-up', section, title: 'nine expiries in a row are the end, and a new HELLO a new beginning', run: givesUp },
];
