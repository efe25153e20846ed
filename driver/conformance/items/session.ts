import { maximumPayloadBytes, maximumWindowFrames, minimumWindowFrames } from '../../../firmware-protocol/limits.js';
import type { HelloAck } from '../../../proto/message.js';
import type { Bench } from '../bench.js';
import { isSame } from '../conversation.js';
import { Deviation, expect, expectEqual } from '../deviation.js';
import type { Item } from '../item.js';
import { expectAnswer } from './framing.js';

const section = 'PROTOCOL.md §Session';
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const within = (field: string, value: number, minimum: number, maximum: number) =>
  expect(Number.isInteger(value) && value >= minimum && value <= maximum, `${field} from ${minimum} to ${maximum}`, String(value));

function expectPlausible(identity: HelloAck): void {
  const { limits, geometry, converter } = identity;
  within('protocol', identity.protocol, 1, 3);
  expect(identity.chipId.length > 0, 'a chip_id', 'an empty one');
  expect(identity.firmwareVersion.length > 0, 'a firmware_version', 'an empty one');
  expectEqual('bytes of boot_id:', identity.bootId.length, 8);
  expectEqual('bytes of array_state:', identity.arrayState.length, 32);
  within('boot_count', identity.bootCount, 1, 0xffffffff);
  within('reset_reason', identity.resetReason, 0, 3);
  within('window_frames', identity.windowFrames, minimumWindowFrames, maximumWindowFrames);
  within('credit_bytes', identity.creditBytes, maximumPayloadBytes, 0xffff);
  within('limits.message_bytes', limits.messageBytes, 100, maximumPayloadBytes);
  within('limits.bulk_bytes', limits.bulkBytes, 1024, 0x7fffffff);
  within('limits.programs', limits.programs, identity.capabilities.includes('LoadProgram') ? 1 : 0, 0xffff);
  within('limits.journal_entries', limits.journalEntries, 256, 0xffffffff);
  within('limits.requests_in_flight', limits.requestsInFlight, 1, 0xffff);
  within('geometry.bit_lines', geometry.bitLines, 1, 512);
  within('geometry.source_lines', geometry.sourceLines, 1, 512);
  within('geometry.cell_unit_nanosiemens', geometry.cellUnitNanosiemens, 1, 1_000_000);
  within('converter.bits', converter.bits, 1, 32);
  expect(converter.ranges.length > 0, 'ranges of the converter', 'none');
  for (const { name, stepNumeratorNanosiemens, stepDenominator } of converter.ranges) {
    within(`step_numerator of range ${name}`, stepNumeratorNanosiemens, 1, 0xffffffff);
    within(`step_denominator of range ${name}`, stepDenominator, 1, 0xffffffff);
  }
  if (identity.protocol >= 2) within('dead_man_milliseconds', identity.deadManMilliseconds, 100, 60_000);
  expect(identity.linkTimeMicroseconds >= 0, 'a link time of 0 or more', String(identity.linkTimeMicroseconds));
}

async function identityItem(bench: Bench): Promise<void> {
  const { identity } = await bench.open();
  expectPlausible(identity);
  const again = (await bench.open()).identity;
  for (const field of ['chipId', 'bootId', 'bootCount', 'arrayState', 'limits', 'geometry', 'capabilities'] as const) {
    expectEqual(`${field} in two sessions of one boot:`, again[field], identity[field]);
  }
  expect(again.linkTimeMicroseconds > identity.linkTimeMicroseconds, `a link time above ${identity.linkTimeMicroseconds}`, String(again.linkTimeMicroseconds));
}

async function repeated(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  await expectAnswer(conversation);
  const { bootId } = conversation.identity;
  for (let repeat = 0; repeat < 3; repeat += 1) {
    const { bootId: again } = await bench.handshake(conversation.session);
    expect(isSame(bootId, again), 'the same boot id', Buffer.from(again).toString('hex'));
  }
  await expectAnswer(conversation); // with the sequence numbers as they were
}

/** DATA of a session, and the RESET that answers it. */
async function expectReset(bench: Bench, session: number, what: string): Promise<string> {
  const host = await bench.line();
  const from = host.frames.length;
  const find = () => host.frames.slice(from).find(({ frame }) => frame.type === 'RESET' && frame.session === session)?.frame;
  // A board of protocol 2 may have answered another DATA frame within the last 100 ms.
  for (let attempt = 0; attempt < 4; attempt += 1) {
    host.send('DATA', { session, credit: 60_000 });
    const reset = await host.until(find, 150);
    if (reset !== undefined) return textOf(reset.payload);
  }
  throw new Deviation(`RESET in answer to DATA of ${what}`, host.closedBecause ?? 'nothing');
}

async function ended(bench: Bench): Promise<void> {
  const old = await bench.open();
  await expectAnswer(old);
  const conversation = await bench.open();
  await expectReset(bench, old.session, 'the session before');
  await expectAnswer(conversation);
}

async function unknown(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const text = await expectReset(bench, bench.newSession(), 'a session that nobody has opened');
  expect(text.length > 0, 'a RESET that says why', 'an empty one');
  await expectAnswer(conversation); // and the session that is open stays so
}

async function unknownRate(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { host } = conversation;
  await host.rest(150);
  const from = host.frames.length;
  const session = bench.newSession();
  for (let frame = 0; frame < 10; frame += 1) host.send('DATA', { session, sequence: frame, credit: 60_000 });
  await host.rest(60);
  await expectAnswer(conversation);
  const resets = host.frames.slice(from).filter(({ frame }) => frame.type === 'RESET');
  expectEqual('RESET frames for ten DATA frames at once:', resets.length, 1);
  const text = textOf(resets[0].frame.payload);
  expect(/^[A-Z]+(_[A-Z]+)+( |$)/.test(text), 'RESET with the text `CODE detail`', text);
}

async function versions(bench: Bench): Promise<void> {
  const { protocol } = (await bench.open()).identity;
  const first = await bench.open({ protocolMinimum: 1, protocolMaximum: 1 });
  expectEqual('protocol for a host that speaks 1 to 1:', first.identity.protocol, 1);
  await expectAnswer(first);
  const { identity } = await bench.open({ protocolMinimum: 1, protocolMaximum: 250 });
  expect(identity.protocol >= protocol && identity.protocol <= 250, 'the highest protocol that the board speaks', String(identity.protocol));
  if (protocol < 2) return;
  const { protocolMinimum: minimum, protocolMaximum: maximum } = identity;
  expect(minimum >= 1 && minimum <= maximum, 'protocol_minimum and protocol_maximum of the board', `${minimum} to ${maximum}`);
  expectEqual('protocol for a host that speaks up to 250:', identity.protocol, maximum);
  const highest = await bench.open({ protocolMinimum: maximum, protocolMaximum: 250 });
  expectEqual(`protocol for a host that speaks ${maximum} to 250:`, highest.identity.protocol, maximum);
}

async function noVersion(bench: Bench): Promise<void> {
  const host = await bench.line();
  const session = bench.newSession();
  const from = host.frames.length;
  host.send('HELLO', { session, payload: bench.hello({ protocolMinimum: 200, protocolMaximum: 250 }) });
  const find = () => host.frames.slice(from).find(({ frame }) => frame.session === session && frame.type !== 'LOG')?.frame;
  const answer = await host.until(find, 2000);
  expectEqual('answer to a HELLO for protocols 200 to 250:', answer?.type ?? 'nothing', 'RESET');
  const text = textOf(answer?.payload ?? new Uint8Array(0));
  expect(/^PROTOCOL_UNSUPPORTED\b/.test(text), 'RESET with a text that begins with PROTOCOL_UNSUPPORTED', JSON.stringify(text));
  expect(/200/.test(text) && /250/.test(text), 'a text that names the versions of both', JSON.stringify(text));
}

async function malformed(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const { host } = conversation;
  const from = host.frames.length;
  const session = bench.newSession();
  // Field 1 as a length-delimited field that is longer than the message.
  host.send('HELLO', { session, payload: Uint8Array.of(0x0a, 0x7f, 1, 2, 3) });
  await expectAnswer(conversation);
  const answer = host.frames.slice(from).find(({ frame }) => frame.session === session && frame.type === 'HELLO_ACK');
  expect(answer === undefined, 'no HELLO_ACK for a payload that is no Hello', 'HELLO_ACK');
}

/** Pure work of a session that is over is dropped, or answered to nobody: the new session hears nothing of it. */
async function dropped(bench: Bench): Promise<void> {
  bench.need('ReadCells');
  const old = await bench.open();
  const { bitLines, sourceLines } = old.identity.geometry;
  const id = await old.begin('readCells', { region: { firstBitLine: 0, bitLines, firstSourceLine: 0, sourceLines }, averages: 1 });
  const conversation = await bench.open();
  await expectAnswer(conversation);
  await conversation.host.rest(100);
  await expectAnswer(conversation);
  expectEqual('answers in a new session to a pure request of the one before:', conversation.finals(id).length + conversation.progressOf(id).length, 0);
}

export const sessionItems: readonly Item[] = [
  { name: 'session-identity', section, title: 'HELLO_ACK is complete, plausible and the same in each session of a boot', run: identityItem },
  { name: 'session-hello-repeated', section, title: 'a repeated HELLO is answered and cuts nothing', run: repeated },
  { name: 'session-hello-new', section, title: 'a HELLO of another session ends the one before', run: ended },
  { name: 'session-unknown', section, title: 'DATA of an unknown session is answered with RESET', run: unknown },
  { name: 'session-unknown-rate', section, title: 'at most one such RESET in 100 ms, with a code', protocol: 2, run: unknownRate },
  { name: 'session-versions', section: 'PROTOCOL.md §Versions', title: 'the highest version that both speak is chosen', run: versions },
  { name: 'session-no-version', section: 'PROTOCOL.md §Versions', title: 'no version in common is answered with RESET and both ranges', run: noVersion },
  { name: 'session-hello-malformed', section, title: 'a HELLO that is none opens nothing', run: malformed },
  { name: 'session-pure-work', section, title: 'pure work of a session that is over is dropped', run: dropped },
];
