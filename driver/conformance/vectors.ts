import { MacroError } from '../../proto/error.js';

/** `vectors/frames.json`: a frame field by field and as bytes on the line. */
export interface FrameVector {
  readonly name: string;
  readonly payloadHex: string;
  readonly wireHex: string;
}

/** `vectors/numerics.json`. */
export interface NumericsVectors {
  readonly rounding: readonly (readonly [value: number, shift: number, result: number])[];
  readonly scale: readonly (readonly [value: number, multiplier: number, shift: number, result: number])[];
  readonly conversion: readonly (readonly [sum: number, noise256: number, gainQ20: number, offset: number, result: number])[];
  readonly lif: {
    readonly threshold: number; readonly leak: number; readonly slope: number; readonly shift: number;
    readonly currents: readonly number[]; readonly membranes: readonly number[]; readonly spikes: readonly number[];
  };
  readonly confidence: {
    readonly multiplier: number; readonly shift: number; readonly membranes: readonly (readonly number[])[]; readonly confidenceQ24: readonly number[];
    readonly entropyQ24: readonly number[]; readonly marginQ24: readonly number[]; readonly relativeMarginQ24: readonly number[];
  };
}

export interface Vectors {
  readonly frames: readonly FrameVector[];
  readonly numerics: NumericsVectors;
}

/** The committed vectors, from the texts of their files. */
export function parseVectors(frames: string, numerics: string): Vectors {
  return { frames: JSON.parse(frames) as FrameVector[], numerics: JSON.parse(numerics) as NumericsVectors };
}

/** A golden frame as bytes on the line. */
export function goldenFrame({ frames }: Vectors, name: string): Uint8Array {
  const vector = frames.find((frame) => frame.name === name);
  if (vector === undefined) throw new MacroError('INTERNAL_ERROR', `there is no golden frame "${name}"`);
  return new Uint8Array(Buffer.from(vector.wireHex, 'hex'));
}
