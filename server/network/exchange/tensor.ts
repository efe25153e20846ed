import { refuseModel } from './refusal.js';

/** Element types that model files hold, in the spelling of NumPy; `bf` is the upper half of a float32. */
const decoders = {
  f8: { bytes: 8, at: (view: DataView, offset: number) => view.getFloat64(offset, true) },
  f4: { bytes: 4, at: (view: DataView, offset: number) => view.getFloat32(offset, true) },
  f2: { bytes: 2, at: (view: DataView, offset: number) => float16(view.getUint16(offset, true)) },
  bf2: { bytes: 2, at: (view: DataView, offset: number) => bfloat16(view.getUint16(offset, true)) },
  i8: { bytes: 8, at: (view: DataView, offset: number) => Number(view.getBigInt64(offset, true)) },
  i4: { bytes: 4, at: (view: DataView, offset: number) => view.getInt32(offset, true) },
  i2: { bytes: 2, at: (view: DataView, offset: number) => view.getInt16(offset, true) },
  i1: { bytes: 1, at: (view: DataView, offset: number) => view.getInt8(offset) },
  u1: { bytes: 1, at: (view: DataView, offset: number) => view.getUint8(offset) },
  b1: { bytes: 1, at: (view: DataView, offset: number) => (view.getUint8(offset) === 0 ? 0 : 1) },
} as const;

export type ElementType = keyof typeof decoders;

export const elementBytes = (type: ElementType): number => decoders[type].bytes;
export const isElementType = (type: string): type is ElementType => Object.hasOwn(decoders, type);

/** An array of a model file. Its elements are worked out when somebody asks for them: a file may name far more than a network needs. */
export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: ElementType;
  /** In C order. All types but i8 beyond ±2^53 are held exactly. */
  values(): Float64Array;
}

export const tensorLimits = { count: 4096, dimensions: 8, elements: 2 ** 24 } as const;

export const shapeText = (shape: readonly number[]): string => `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`;
export const elementCount = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** IEEE 754 binary16. */
function float16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

const halves = new DataView(new ArrayBuffer(4));

function bfloat16(bits: number): number {
  halves.setUint32(0, bits << 16);
  return halves.getFloat32(0);
}

/** Steps between neighbours along each axis of an array without gaps; the last axis is the fastest in C order, the first in Fortran order. */
export function denseStrides(shape: readonly number[], isFortran = false): number[] {
  const strides = new Array<number>(shape.length);
  const axes = Array.from(shape, (_, axis) => (isFortran ? axis : shape.length - 1 - axis));
  let step = 1;
  for (const axis of axes) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

export interface StoredTensor {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /** In elements. */
  readonly strides: readonly number[];
  /** Of the first element, in elements. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * A tensor that lies in some bytes, little-endian.
 * @throws MacroError BAD_MODEL where it is larger than any layer could be, or reaches beyond its bytes
 */
export function storedTensor({ name, type, shape, strides, offset, bytes }: StoredTensor, file: string): Tensor {
  const refuse = (problem: string) => refuseModel(file, `: ${name} ${problem}`, { field: name });
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
  if (![...shape, ...strides, offset].every(isCount)) refuse(`states the shape ${shapeText(shape)}, strides ${shapeText(strides)} and offset ${offset}`);
  if (shape.length > tensorLimits.dimensions) refuse(`has ${shape.length} dimensions, the limit is ${tensorLimits.dimensions}`);
  if (strides.length !== shape.length) refuse(`has ${shape.length} dimensions and ${strides.length} strides`);
  const count = elementCount(shape);
  if (count > tensorLimits.elements) refuse(`has the shape ${shapeText(shape)}, the limit is ${tensorLimits.elements} elements`);
  const held = Math.floor(bytes.length / elementBytes(type));
  const last = shape.reduce((sum, size, axis) => sum + (size - 1) * strides[axis], offset);
  if (count > 0 && last >= held) refuse(`reaches to element ${last} of a storage of ${held}`);
  return { name, shape, type, values: () => gather(bytes, type, shape, strides, offset) };
}

function gather(bytes: Uint8Array, type: ElementType, shape: readonly number[], strides: readonly number[], offset: number): Float64Array {
  const { bytes: size, at } = decoders[type];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float64Array(elementCount(shape));
  const position = new Uint32Array(shape.length);
  for (let index = 0, from = offset; index < values.length; index += 1) {
    values[index] = at(view, from * size);
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      from += strides[axis];
      position[axis] += 1;
      if (position[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      position[axis] = 0;
    }
  }
  return values;
}
