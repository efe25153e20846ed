import { crc32c } from '../../firmware-protocol/crc32c.js';
import { MacroError } from '../../proto/error.js';
import type { Bench } from './bench.js';
import { Deviation, expect } from './deviation.js';
import type { Item } from './item.js';
import { frameOf, headerAndPayload, type RawHost, wrap } from './raw-host.js';

const helloMilliseconds = 250;
/** Between two attempts to open a line. */
const restMicroseconds = 200_000;

function crc32(bytes: Uint8Array): number {
  let remainder = 0xffffffff;
  for (const byte of bytes) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ ((remainder & 1) === 1 ? 0xedb88320 : 0);
  }
  return (remainder ^ 0xffffffff) >>> 0;
}

const swapped = (value: number) => ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;

/** Checksums that firmware is known to compute in place of the right one. */
const mistakes: readonly { readonly name: string; readonly checksum: (bytes: Uint8Array) => number }[] = [
  { name: 'CRC-32 (polynomial edb88320)', checksum: crc32 },
  { name: 'CRC-32C without the final xor', checksum: (bytes) => (crc32c(bytes) ^ 0xffffffff) >>> 0 },
  { name: 'CRC-32C with its bytes swapped', checksum: (bytes) => swapped(crc32c(bytes)) },
  { name: 'a checksum of 0', checksum: () => 0 },
];

async function checksum(bench: Bench): Promise<void> {
  const conversation = await bench.open();
  const noise = conversation.host.discarded.filter(({ reason }) => reason === 'crc').length;
  expect(noise === 0, 'frames with the checksum CRC-32C', `${noise} with another`);
}

/** What the probe is about; it says which checksum a board computes that nobody understands. */
export const checksumItem: Item = { name: 'framing-checksum', section: 'PROTOCOL.md §Framing', title: 'the checksum is CRC-32C', run: checksum };

const isHeard = (host: RawHost, bytes: number) => host.until(() => (host.bytesReceived > bytes ? true : undefined), helloMilliseconds);

/** Says HELLO under wrong checksums: a board that answers one of them computes that one. */
async function findMistake(bench: Bench, host: RawHost): Promise<string | undefined> {
  for (const { name, checksum: wrong } of mistakes) {
    const hello = frameOf('HELLO', { session: bench.newSession(), payload: bench.hello() });
    const before = host.bytesReceived;
    host.write(wrap(headerAndPayload(hello, 0), wrong));
    if ((await isHeard(host, before)) === true) return name;
  }
  return undefined;
}

/** Opens the line, again and again, until HELLO is answered or the time is over: a board may restart when its port is opened, and say what it likes. */
async function isAnswered(bench: Bench, name: string, milliseconds: number): Promise<boolean> {
  const { clock } = bench.options;
  const end = clock.nowMicroseconds() + milliseconds * 1000;
  let reason = 'nobody answers HELLO';
  while (clock.nowMicroseconds() < end) {
    try {
      const attempts = Math.ceil(Math.min(2e6, end - clock.nowMicroseconds()) / (helloMilliseconds * 1000));
      await bench.handshake(bench.newSession(), {}, attempts);
      return true;
    } catch (error) {
      if (error instanceof Deviation && error.came.startsWith('RESET')) throw new MacroError('PROTOCOL_UNSUPPORTED', error.came);
      if (!(error instanceof Deviation)) reason = error instanceof Error ? error.message : String(error);
    }
    const rest = Math.min(restMicroseconds, end - clock.nowMicroseconds());
    await new Promise<void>((resolve) => void clock.after(Math.max(0, rest), resolve));
  }
  if (bench.host !== undefined && bench.host.closedBecause === undefined) return false;
  throw new MacroError('DEVICE_UNREACHABLE', `${name}: ${reason}`);
}

/**
 * Finds out whether there is a board at all.
 *
 * @returns what is wrong with a board that can be heard and not understood
 * @throws MacroError DEVICE_UNREACHABLE where the line is silent
 */
export async function probe(bench: Bench, name: string, milliseconds: number): Promise<Deviation | undefined> {
  if (await isAnswered(bench, name, milliseconds)) return undefined;
  const host = await bench.line();
  const mistake = await findMistake(bench, host);
  if (mistake !== undefined) return new Deviation('answers to frames with the checksum CRC-32C', `answers to frames with ${mistake}`);
  if (host.bytesReceived === 0) throw new MacroError('DEVICE_UNREACHABLE', `${name}: the line is open and nobody answers HELLO`);
  const reasons = [...new Set(host.discarded.map(({ reason }) => reason))].join(', ') || 'frames that are no HELLO_ACK';
  return new Deviation('HELLO_ACK', `${host.bytesReceived} bytes that are none (${reasons})`);
}
