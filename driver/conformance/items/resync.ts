import { encodeFrame } from '../../../firmware-protocol/frame.js';
import type { Bench } from '../bench.js';
import { expect } from '../deviation.js';
import type { Item } from '../item.js';
import { frameOf } from '../raw-host.js';

const section = 'PROTOCOL.md §Framing';

/** Sends garbage and at once a request: the 00 in front of it must put the board right, without a repetition. */
async function expectResync(bench: Bench, what: string, garbage: Uint8Array): Promise<void> {
  const conversation = await bench.open();
  const id = bench.newId();
  const payload = conversation.encodeRequest('noOperation', {}, { id });
  conversation.host.write(garbage);
  conversation.host.write(encodeFrame(frameOf('DATA', { session: conversation.session, credit: conversation.creditBytes, payload })));
  conversation.nextSequence = 1;
  const final = await conversation.host.until(() => conversation.finals(id)[0], 3000);
  expect(final !== undefined, `an answer to the first frame behind ${what}`, 'nothing');
}

async function random(bench: Bench): Promise<void> {
  for (const length of [1, 2, 3, 17, 21, 254, 255, 640, 644, 645, 647, 648, 2000]) {
    await expectResync(bench, `${length} random bytes`, bench.randomBytes(length));
  }
}

async function withoutDelimiter(bench: Bench): Promise<void> {
  const bytes = (length: number, value: number) => new Uint8Array(length).fill(value);
  for (const value of [0x01, 0x55, 0xff]) await expectResync(bench, `3000 bytes ${value.toString(16)}`, bytes(3000, value));
  await expectResync(bench, '64 KiB without a 00', bytes(65_536, 0xa5));
}

/** A length field or a magic that is trusted would swallow what comes next. */
async function cutFrames(bench: Bench): Promise<void> {
  // Of a kind that is never answered: one that lacks only its last 00 is whole as soon as the next frame begins.
  const whole = encodeFrame(frameOf('ACK', { session: bench.newSession(), payload: bench.hello() }));
  for (const length of [1, 2, 5, 20, whole.length - 2, whole.length - 1]) {
    await expectResync(bench, `the first ${length} bytes of a frame`, whole.subarray(0, length));
  }
  await expectResync(bench, 'a frame without its first byte', whole.subarray(1));
  await expectResync(bench, 'a frame without its middle', Uint8Array.from([...whole.subarray(0, 9), ...whole.subarray(14)]));
}

async function text(bench: Bench): Promise<void> {
  for (const line of ['login: ', '\r\nU-Boot 2024.01\r\nHit any key to stop autoboot\r\n', '+++ATH0\r']) {
    await expectResync(bench, `the text ${JSON.stringify(line)}`, new TextEncoder().encode(line));
  }
}

export const resyncItems: readonly Item[] = [
  { name: 'resync-cut-frames', section, title: 'after half a frame the next one is heard', run: cutFrames },
  { name: 'resync-random', section, title: 'after random bytes the next frame is heard', run: random },
  { name: 'resync-no-delimiter', section, title: 'after bytes without any 00 the next frame is heard', run: withoutDelimiter },
  { name: 'resync-text', section, title: 'after text of a boot loader the next frame is heard', run: text },
];
