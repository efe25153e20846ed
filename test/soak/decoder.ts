// A decoder that is fed what no sender would send: it never throws, never holds more than a frame, and finds the next good frame each time.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encodeFrame, type Frame, FrameDecoder, framingVersion } from '../../firmware-protocol/frame.js';
import { philox } from '../../firmware-protocol/numerics/index.js';

const blockBytes = 64 * 1024;

/** Chance from a seed, a block of bytes at a time. */
class Noise {
  private count = 0;
  private readonly words = new Uint32Array(4);

  constructor(private readonly seed: number) {}

  fill(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at + 16 <= bytes.length; at += 16) {
      this.words.set([this.count, 0, 0, 0]);
      this.count += 1;
      philox(this.words, this.seed, 0x50a4, 7);
      for (let word = 0; word < 4; word += 1) view.setUint32(at + 4 * word, this.words[word], true);
    }
  }
}

const header = { version: framingVersion, type: 'DATA', flags: 0, session: 7, acknowledge: 0, selective: 0, credit: 0 } as const;
const frameAt = (sequence: number, payload: Uint8Array): Frame => ({ ...header, sequence: sequence & 0xffff, payload });

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Memory in use when everything that nobody holds is gone. */
function heldNow(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

export interface DecoderReport {
  readonly bytes: number;
  readonly goodFrames: number;
  readonly discarded: number;
  /** Growth of what is still held after a collection, from the first tenth of the bytes on: by then all code has been compiled. */
  readonly heldBytes: number;
}

function expectGood(decoder: FrameDecoder, good: Uint8Array, sequence: number, what: string): void {
  // What came before may lack its end: the good frame's first delimiter ends it.
  const found = decoder.push(good).filter(({ frame }) => frame?.sequence === (sequence & 0xffff) && frame.payload.length === 3);
  if (found.length !== 1) throw new Error(`after ${what} the good frame ${sequence} was found ${found.length} times`);
}

/** Random bytes, and valid streams with bytes changed, lost and added, so many bytes of each; a good frame after each block. */
export function soakDecoder(bytes: number, seed: number): DecoderReport {
  const decoder = new FrameDecoder();
  const noise = new Noise(seed);
  const block = new Uint8Array(blockBytes);
  let [fed, goodFrames, discarded] = [0, 0, 0];
  let before: number | undefined;
  for (let number = 0; fed < bytes; number += 1) {
    if (fed >= bytes / 10) before ??= heldNow();
    noise.fill(block);
    const stream = number % 2 === 0 ? block : mutated(block, number);
    for (const { discarded: lost } of decoder.push(stream)) if (lost !== undefined) discarded += 1;
    fed += stream.length;
    expectGood(decoder, encodeFrame(frameAt(number, Uint8Array.of(1, 2, 3))), number, `${fed} bytes`);
    goodFrames += 1;
  }
  return { bytes: fed, goodFrames, discarded, heldBytes: Math.max(0, heldNow() - (before ?? 0)) };
}

/** Frames that carry a block of noise, with about one byte in a hundred changed, one in a thousand lost. */
function mutated(block: Uint8Array, number: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < block.length; at += 500) parts.push(encodeFrame(frameAt(number, block.slice(at, at + 500))));
  const stream = Uint8Array.from(Buffer.concat(parts));
  let length = 0;
  for (let at = 0; at < stream.length; at += 1) {
    const chance = block[(at * 31 + number) % block.length];
    if (chance === 0 && (at & 3) === 0) continue;
    stream[length] = chance === 1 || chance === 2 ? stream[at] ^ block[(at * 7) % block.length] : stream[at];
    length += 1;
  }
  return stream.subarray(0, length);
}
