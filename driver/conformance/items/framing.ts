import { encodeCobs } from '../../../firmware-protocol/cobs.js';
import { encodeFrame, type Frame } from '../../../firmware-protocol/frame.js';
import { maximumPayloadBytes } from '../../../firmware-protocol/limits.js';
import { hostMessageCodec } from '../../../proto/codec.js';
import { sha256 } from '../../bulk.js';
import type { Bench } from '../bench.js';
import { type Conversation, describeFinal, expectResult } from '../conversation.js';
import { expect, expectEqual } from '../deviation.js';
import type { Item } from '../item.js';
import { frameOf, headerAndPayload, wrap } from '../raw-host.js';
import { goldenFrame } from '../vectors.js';

const section = 'PROTOCOL.md §Framing';
const goldenSession = 0x12345678;
const goldenRequestId = Uint8Array.from({ length: 16 }, (_, index) => index + 1);

export async function expectAnswer(conversation: Conversation): Promise<void> {
  expectResult(await conversation.request('noOperation', {}), 'noOperation');
}

/** A DATA frame with a NoOperation, numbered as the next one of the conversation. */
function nextData(conversation: Conversation, id: Uint8Array): Frame {
  const { session, nextSequence: sequence, creditBytes: credit } = conversation;
  return frameOf('DATA', { session, sequence, credit, payload: conversation.encodeRequest('noOperation', {}, { id }) });
}

/** Sends what must be dropped, then a request under the same sequence number: only that one may be answered, by frames of its own session. */
async function expectIgnored(bench: Bench, what: string, bytesOf: (frame: Frame) => Uint8Array): Promise<void> {
  const conversation = await bench.open();
  await expectAnswer(conversation);
  await conversation.settled();
  const { host, session } = conversation;
  const from = host.frames.length;
  const id = bench.newId();
  host.write(bytesOf(nextData(conversation, id)));
  await expectAnswer(conversation);
  expectEqual(`answers to ${what}:`, conversation.finals(id).length, 0);
  const strange = host.frames.slice(from).find(({ frame: { type, session: other } }) =>
    type !== 'LOG' && type !== 'DATAGRAM' && (other !== session || (type !== 'DATA' && type !== 'ACK')));
  expect(strange === undefined, `no frame in answer to ${what}`, `${strange?.frame.type} of session ${strange?.frame.session.toString(16)}`);
}

const flipped = (bytes: Uint8Array, at: number) => {
  const copy = bytes.slice();
  copy[at] ^= 0x40;
  return copy;
};

/** A frame whose checksum is wrong, its COBS right. */
const wrongChecksum = (frame: Frame) => wrap(headerAndPayload(frame, 3), () => 0xdeadbeef);

async function wrongFrames(bench: Bench): Promise<void> {
  await expectIgnored(bench, 'a frame with the checksum deadbeef', wrongChecksum);
  for (const at of [3, 9, 20]) {
    await expectIgnored(bench, `a frame with a flipped bit in byte ${at}`, (frame) => {
      const bytes = flipped(encodeFrame(frame), at);
      return bytes.subarray(1, -1).includes(0) ? wrongChecksum(frame) : bytes;
    });
  }
}

/** The last code byte points one byte beyond the end. */
function wrongCobs(frame: Frame): Uint8Array {
  const raw = headerAndPayload(frame, 3);
  const wire = new Uint8Array(raw.length + 4);
  wire.set(raw, 2);
  const end = encodeCobs(wire, 1, raw.length);
  let code = 1;
  while (code + wire[code] < end) code += wire[code];
  wire[code] += 1;
  return wire.subarray(0, end + 1);
}

async function tooLong(bench: Bench): Promise<void> {
  const stuffed = (length: number) => Uint8Array.from({ length: length + 2 }, (_, at) => (at === 0 || at === length + 1 ? 0 : 0x55));
  for (const length of [650, 1300, 5000]) await expectIgnored(bench, `${length} bytes without 00`, () => stuffed(length));
  await expectIgnored(bench, 'a frame of header and payload of 641 bytes with a right checksum', (frame) =>
    wrap(headerAndPayload({ ...frame, payload: new Uint8Array(maximumPayloadBytes + 1).fill(0x55) }, 3)));
}

async function tooShort(bench: Bench): Promise<void> {
  for (const length of [0, 1, 16]) {
    await expectIgnored(bench, `a frame of ${length} bytes with a right checksum`, (frame) => wrap(headerAndPayload(frame, 3).subarray(0, length)));
  }
  await expectIgnored(bench, 'a frame of one code byte', () => Uint8Array.of(0, 1, 0));
}

async function unknownKinds(bench: Bench): Promise<void> {
  for (const type of [8, 9, 127, 255]) await expectIgnored(bench, `frame type ${type}`, (frame) => wrap(headerAndPayload(frame, type)));
}

async function unknownVersions(bench: Bench): Promise<void> {
  for (const version of [0, 2, 255]) {
    await expectIgnored(bench, `framing version ${version}`, (frame) => wrap(headerAndPayload({ ...frame, version }, 3)));
    const payload = bench.hello();
    await expectIgnored(bench, `a HELLO of framing version ${version}`, () =>
      encodeFrame(frameOf('HELLO', { version, session: bench.newSession(), payload })));
  }
}

async function golden(bench: Bench): Promise<void> {
  const host = await bench.line();
  const { vectors } = bench.options;
  const from = host.frames.length;
  const find = (type: string) => () => host.frames.slice(from).find(({ frame }) => frame.session === goldenSession && frame.type === type)?.frame;
  host.write(goldenFrame(vectors, 'hello'));
  const answer = await host.until(find('HELLO_ACK'), 2000);
  expect(answer !== undefined, 'HELLO_ACK of session 12345678 in answer to the golden frame "hello"', 'nothing');
  host.write(goldenFrame(vectors, 'data-no-operation'));
  const final = await host.until(find('DATA'), 2000);
  expect(final !== undefined, 'DATA in answer to the golden frame "data-no-operation"', 'nothing');
  expectEqual('sequence of the first DATA frame:', final.sequence, 0);
  expectEqual('acknowledge of that frame:', final.acknowledge, 1);
  const text = Buffer.from(final.payload).toString('hex');
  expect(text.includes(Buffer.from(goldenRequestId).toString('hex')), 'a Final of request 0102…10', text);
  host.send('ACK', { session: goldenSession, acknowledge: 1, credit: 60_000 });
}

async function sharedDelimiter(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const ids = [bench.newId(), bench.newId(), bench.newId()];
  const frames = ids.map((id, index) => encodeFrame({ ...nextData(conversation, id), sequence: index }));
  conversation.host.write(Uint8Array.from([...frames[0], ...frames[1].subarray(1), ...frames[2].subarray(1)]));
  conversation.nextSequence = ids.length;
  for (const [index, id] of ids.entries()) expectResult(await conversation.answer(id, 0, `frame ${index + 1} of three that share their 00`), 'noOperation');
}

async function delimiterRuns(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  for (const length of [1, 2, 7, 1000]) {
    conversation.host.write(new Uint8Array(length));
    await expectAnswer(conversation);
  }
}

async function chunks(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  const bytes = encodeFrame(nextData(conversation, id));
  conversation.nextSequence = 1;
  for (const byte of bytes) {
    conversation.host.write(Uint8Array.of(byte));
    await conversation.host.rest(0.2);
  }
  expectResult(await conversation.answer(id, 0, 'a frame that came byte by byte'), 'noOperation');
}

/** The chunk of a bulk object that fills a frame to its last byte. */
async function longest(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const sizeBytes = 2000;
  const digest = sha256(bench.randomBytes(8));
  await conversation.request('bulkOffer', { sha256: digest, sizeBytes });
  const chunk = (length: number) => hostMessageCodec.encode({
    bulkChunk: { sha256: digest.slice(0, 8), offsetBytes: 0, data: new Uint8Array(length).fill(0xa5) },
  });
  const length = maximumPayloadBytes - (chunk(500).length - 500);
  expectEqual('payload of the longest frame:', chunk(length).length, maximumPayloadBytes);
  await conversation.sendPayload(chunk(length));
  const state = expectResult(await conversation.request('bulkOffer', { sha256: digest, sizeBytes }), 'bulkOffer');
  expectEqual('bytes that the board took from a frame of 640 bytes:', state.offsetBytes, length);
}

async function flags(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  conversation.host.write(encodeFrame({ ...nextData(conversation, id), flags: 0xff }));
  conversation.nextSequence = 1;
  expectResult(await conversation.answer(id, 0, 'a frame with all flags set'), 'noOperation');
}

async function ofTheBoard(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { host } = conversation;
  const [discarded, from] = [host.discarded.length, host.frames.length];
  for (let request = 0; request < 20; request += 1) await conversation.request('getStatus', {});
  const noise = host.discarded.slice(discarded).map(({ reason, bytes }) => `${bytes} bytes (${reason})`);
  expect(noise.length === 0, 'nothing but frames from the board', noise.join(', '));
  for (const { frame } of host.frames.slice(from)) {
    if (frame.type === 'LOG') continue;
    expectEqual('session of what the board sends:', frame.session, conversation.session);
    expectEqual('flags of what the board sends:', frame.flags, 0);
  }
  const id = bench.newId();
  const final = await conversation.request('noOperation', {}, { id });
  expect(Buffer.compare(final.requestId, id) === 0, 'the id of the request in its answer', describeFinal(final));
}

export const framingItems: readonly Item[] = [
  { name: 'framing-golden', section, title: 'the golden frames of a host are accepted', run: golden },
  { name: 'framing-shared-delimiter', section, title: 'frames may share one 00', run: sharedDelimiter },
  { name: 'framing-delimiter-runs', section, title: 'any number of 00 may stand between frames', run: delimiterRuns },
  { name: 'framing-chunks', section, title: 'a frame may come byte by byte', run: chunks },
  { name: 'framing-longest', section, title: 'header and payload of 640 bytes are accepted', run: longest },
  { name: 'framing-flags', section, title: 'unknown flags are ignored', run: flags },
  { name: 'framing-board', section, title: 'the board sends nothing but frames of the session', run: ofTheBoard },
];

/** These leave noise on the line: they stand behind the items that say whether the board finds back from it. */
export const discardItems: readonly Item[] = [
  { name: 'discard-checksum', section, title: 'a wrong checksum is dropped and not answered', run: wrongFrames },
  { name: 'discard-cobs', section, title: 'what does not decode is dropped', run: (bench) => expectIgnored(bench, 'a code byte beyond the end', wrongCobs) },
  { name: 'discard-too-long', section, title: 'what is longer than a frame is dropped', run: tooLong },
  { name: 'discard-too-short', section, title: 'what is shorter than a header is dropped', run: tooShort },
  { name: 'discard-type', section, title: 'unknown types are dropped', run: unknownKinds },
  { name: 'discard-version', section, title: 'unknown framing versions are dropped', run: unknownVersions },
];
