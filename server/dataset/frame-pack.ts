import { fieldPixels } from './recording.js';

/** Channels, rows and columns of a frame: OFF and ON events of 34 × 34 pixels. */
export const frameShape = [2, fieldPixels, fieldPixels] as const;
const frameCodes = 2 * fieldPixels ** 2;

/** A token skips up to 15 zeros before its count, or 16 to 256 zeros alone. */
const gapBits = 4;
const gapMask = 15;
const skipUnit = 16;
const skipMaximum = 256;

/**
 * Packs event counts of at most 15. A byte is a token: its high four bits are a count, behind as many zeros as its low four bits say; or, where the
 * high bits are 0, 16 · (low bits + 1) zeros. Zeros at the end are left out.
 */
export function packFrames(codes: Uint8Array): Uint8Array {
  const tokens = new Uint8Array(codes.length);
  let length = 0;
  let zeros = 0;
  for (let at = 0; at < codes.length; at += 1) {
    const count = codes[at];
    if (count === 0) {
      zeros += 1;
      continue;
    }
    while (zeros > gapMask) {
      const skipped = Math.min(skipMaximum, zeros - (zeros % skipUnit));
      tokens[length++] = skipped / skipUnit - 1;
      zeros -= skipped;
    }
    tokens[length++] = (count << gapBits) | zeros;
    zeros = 0;
  }
  return tokens.slice(0, length);
}

/** The inverse. @param codes where the counts go; overwritten as a whole */
function unpackFrames(tokens: Uint8Array, from: number, to: number, codes: Uint8Array): void {
  codes.fill(0);
  let at = 0;
  for (let token = from; token < to; token += 1) {
    const count = tokens[token] >> gapBits;
    const low = tokens[token] & gapMask;
    if (count === 0) at += skipUnit * (low + 1);
    else {
      at += low;
      codes[at] = count;
      at += 1;
    }
  }
}

/** What a pack is made of; all of it may lie in shared memory, for threads to read. */
export interface FramePackParts {
  readonly timestepCount: number;
  readonly tokens: Uint8Array;
  /** First token of each recording, and one more element: the number of tokens. */
  readonly starts: Float64Array;
}

/** The frames of many recordings in little memory: about 2.5 KB for each of ten timesteps, where counts of a byte take 23 120. */
export class FramePack {
  readonly timestepCount: number;
  readonly count: number;

  constructor(readonly parts: FramePackParts) {
    this.timestepCount = parts.timestepCount;
    this.count = parts.starts.length - 1;
  }

  /** Bytes that the frames of one recording take, unpacked. */
  get frameBytes(): number {
    return this.timestepCount * frameCodes;
  }

  /**
   * Event counts of one recording, timestep × polarity (OFF, ON) × 34 rows × 34 columns, each at most 15.
   * @param codes where they go; a new array where left out
   * @throws RangeError where there is no such recording
   */
  frames(index: number, codes: Uint8Array = new Uint8Array(this.frameBytes)): Uint8Array {
    const { tokens, starts } = this.parts;
    if (!Number.isInteger(index) || index < 0 || index >= this.count) throw new RangeError(`there are ${this.count} recordings, no number ${index}`);
    unpackFrames(tokens, starts[index], starts[index + 1], codes);
    return codes;
  }
}

/** Collects packed frames. Its memory is shared, and grows by halves. */
export class FramePackBuilder {
  private tokens = new Uint8Array(new SharedArrayBuffer(2 ** 20));
  private readonly starts: Float64Array;
  private added = 0;

  constructor(private readonly timestepCount: number, count: number) {
    this.starts = new Float64Array(new SharedArrayBuffer(8 * (count + 1)));
  }

  add(codes: Uint8Array): void {
    const packed = packFrames(codes);
    const from = this.starts[this.added];
    const end = from + packed.length;
    if (end > this.tokens.length) this.grow(end);
    this.tokens.set(packed, from);
    this.added += 1;
    this.starts[this.added] = end;
  }

  private grow(least: number): void {
    const larger = new Uint8Array(new SharedArrayBuffer(Math.max(least, Math.ceil(1.5 * this.tokens.length))));
    larger.set(this.tokens);
    this.tokens = larger;
  }

  build(): FramePack {
    return new FramePack({ timestepCount: this.timestepCount, tokens: this.tokens.subarray(0, this.starts[this.added]), starts: this.starts });
  }
}
