// Frames on the line: golden bytes, any chunking, noise, and the documents that show them.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { decodeCobs, encodeCobs, encodedLength } from '../firmware-protocol/cobs.js';
import { crc32c } from '../firmware-protocol/crc32c.js';
import { describeFrame, encodeFrame, type Frame, FrameDecoder, frameTypes, framingVersion } from '../firmware-protocol/frame.js';
import { maximumPayloadBytes } from '../firmware-protocol/limits.js';
import { SeededPrng } from './rig/seeded-prng.js';

interface GoldenFrame {
  readonly name: string;
  readonly header: Omit<Frame, 'payload'>;
  readonly payloadHex: string;
  readonly wireHex: string;
}

const folder = join(import.meta.dirname, '..', 'firmware-protocol');
const golden = JSON.parse(readFileSync(join(folder, 'vectors', 'frames.json'), 'utf8')) as GoldenFrame[];
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));
const frameOf = ({ header, payloadHex }: GoldenFrame): Frame => ({ ...header, payload: bytesOf(payloadHex) });
const framesIn = (bytes: Uint8Array) => new FrameDecoder().push(bytes).flatMap(({ frame }) => frame ?? []);

const anyFrame: fc.Arbitrary<Frame> = fc.record({
  version: fc.constant(framingVersion),
  type: fc.constantFrom(...frameTypes),
  flags: fc.integer({ min: 0, max: 255 }),
  session: fc.integer({ min: 0, max: 0xffffffff }),
  sequence: fc.integer({ min: 0, max: 0xffff }),
  acknowledge: fc.integer({ min: 0, max: 0xffff }),
  selective: fc.integer({ min: 0, max: 0xffffffff }),
  credit: fc.integer({ min: 0, max: 0xffff }),
  payload: fc.uint8Array({ maxLength: maximumPayloadBytes }),
});

t.test('CRC-32C has its published check values', async (t) => {
  t.equal(crc32c(new TextEncoder().encode('123456789')), 0xe3069283);
  t.equal(crc32c(new Uint8Array(32)), 0x8a9136aa, '32 bytes of zero (RFC 3720 §B.4)');
  t.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43, '32 bytes of ones (RFC 3720 §B.4)');
  t.equal(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e, '0 to 31 (RFC 3720 §B.4)');
});

t.test('byte stuffing leaves no zero, is bounded, and comes back', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1000 }), (source) => {
      const wire = new Uint8Array(encodedLength(source.length));
      wire.set(source, 1);
      const end = encodeCobs(wire, 0, source.length);
      const back = new Uint8Array(wire.length);
      const length = decodeCobs(wire, end, back);
      return end <= wire.length && !wire.subarray(0, end).includes(0) && Buffer.compare(back.subarray(0, length), source) === 0;
    }),
  );
  const full = (length: number, last: number) => {
    const wire = new Uint8Array(encodedLength(length)).fill(1);
    wire[length] = last;
    return Buffer.from(wire.subarray(0, encodeCobs(wire, 0, length)));
  };
  const block = Buffer.concat([Buffer.of(255), Buffer.alloc(254, 1)]);
  t.strictSame(full(508, 1), Buffer.concat([block, block]), 'two full blocks');
  t.strictSame(full(255, 0), Buffer.concat([block, Buffer.of(1, 1)]), 'a zero behind a full block');
});

t.test('golden frames are these bytes, both ways', async (t) => {
  t.ok(golden.length >= 8);
  t.ok(frameTypes.every((type) => golden.some(({ header }) => header.type === type)), 'every type is there');
  for (const vector of golden) {
    t.equal(hex(encodeFrame(frameOf(vector))), vector.wireHex, vector.name);
    const [frame, ...more] = framesIn(bytesOf(vector.wireHex));
    t.strictSame(more, []);
    t.strictSame({ ...frame, payload: hex(frame?.payload ?? new Uint8Array()) }, { ...vector.header, payload: vector.payloadHex }, vector.name);
  }
});

t.test('every single bit that flips in a golden frame is seen', async (t) => {
  for (const { name, wireHex } of golden) {
    const wire = bytesOf(wireHex);
    let missed = 0;
    for (let bit = 8; bit < (wire.length - 1) * 8; bit += 1) {
      const flipped = wire.slice();
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      missed += framesIn(flipped).length;
    }
    t.equal(missed, 0, name);
  }
});

t.test('the same frames come out whatever the chunks', async () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 6 }), fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 }), (frames, cuts) => {
      const stream = Buffer.concat(frames.map(encodeFrame));
      const decoder = new FrameDecoder();
      const seen: Frame[] = [];
      for (let at = 0, cut = 0; at < stream.length; cut += 1) {
        const size = cuts[cut % cuts.length] ?? 1;
        seen.push(...decoder.push(stream.subarray(at, at + size)).flatMap(({ frame }) => frame ?? []));
        at += size;
      }
      return seen.length === frames.length && seen.every((frame, index) => describeFrame(frame) === describeFrame(frames[index] as Frame)
        && Buffer.compare(frame.payload, frames[index]?.payload ?? new Uint8Array()) === 0);
    }),
  );
});

t.test('noise is an event; the frame behind the next delimiter is found', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 3000 }), anyFrame, (noise, frame) => {
      const decoded = new FrameDecoder().push(Buffer.concat([noise, encodeFrame(frame)]));
      const last = decoded.at(-1)?.frame;
      return last !== undefined && describeFrame(last) === describeFrame(frame);
    }),
  );
});

t.test('what is longer than a frame is counted and not held', async (t) => {
  const decoder = new FrameDecoder();
  for (let chunk = 0; chunk < 1000; chunk += 1) t.strictSame(decoder.push(new Uint8Array(1000).fill(7)), []);
  t.strictSame(decoder.push(Uint8Array.of(0)), [{ discarded: { reason: 'too-long', bytes: 1_000_000 } }]);
});

/** Streams that the decoder is fed; the soak sets more. */
const streamCount = Number(process.env['PRIME_FUZZ_STREAMS'] ?? 300);

t.test(`${streamCount} random and mutated streams: nothing is thrown, no more is held than a frame, and the next frame is found`, async (t) => {
  const prng = new SeededPrng(Number(process.env['PRIME_FUZZ_SEED'] ?? 1));
  const below = (limit: number) => prng.nextUint32() % limit;
  const wires = golden.map(({ wireHex }) => bytesOf(wireHex));
  const marker = wires[0] as Uint8Array;
  let found = 0;
  for (let stream = 0; stream < streamCount; stream += 1) {
    const decoder = new FrameDecoder();
    const parts = Array.from({ length: 1 + below(12) }, () => mutated(wires[below(wires.length)] as Uint8Array, below));
    const bytes = Buffer.concat([...parts, Uint8Array.of(0), marker]);
    const decoded = [];
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + below(900);
      decoded.push(...decoder.push(bytes.subarray(at, at + size)));
      at += size;
    }
    if (decoded.at(-1)?.frame?.type === 'HELLO') found += 1;
    const held = Object.values(decoder).reduce((sum, value) => sum + (ArrayBuffer.isView(value) ? value.byteLength : 0), 0);
    if (held > 4 * 660) t.fail(`${held} bytes are held`);
  }
  t.equal(found, streamCount);
});

/** A frame that was cut, doubled, bent, drowned in noise, or left as it is. */
function mutated(wire: Uint8Array, below: (limit: number) => number): Uint8Array {
  const kind = below(6);
  if (kind === 0) return wire;
  if (kind === 1) return wire.subarray(0, below(wire.length));
  if (kind === 2) return Buffer.concat([wire, wire.subarray(below(wire.length))]);
  if (kind === 3) return Uint8Array.from({ length: below(2000) }, () => below(256));
  if (kind === 4) return Uint8Array.from({ length: below(5000) }, () => 1 + below(255));
  const bent = wire.slice();
  for (let count = 1 + below(6); count > 0; count -= 1) bent[below(bent.length)] = below(256);
  return bent;
}

t.test('a payload that does not fit is refused before it is sent', async (t) => {
  const [vector] = golden;
  t.throws(() => encodeFrame({ ...frameOf(vector as GoldenFrame), payload: new Uint8Array(maximumPayloadBytes + 1) }), /limit is 623/);
});

t.test('the examples of PROTOCOL.md decode to what stands beside them', async (t) => {
  const text = readFileSync(join(folder, 'PROTOCOL.md'), 'utf8');
  const examples = [...text.matchAll(/```frame\n([0-9a-f \n]+)\n= (.*)\n```/g)];
  t.ok(examples.length >= 2);
  for (const [, bytes = '', line = ''] of examples) {
    const [frame] = framesIn(bytesOf(bytes.replace(/\s/g, '')));
    t.equal(frame && describeFrame(frame).trim(), line.trim());
  }
});
