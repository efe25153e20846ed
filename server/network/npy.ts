import { dump, parse } from 'npyjs';
import { MacroError } from '../../proto/error.js';

/** Element types that bundles and snapshots use, in the spelling of NumPy. */
export interface NpyData {
  u1: Uint8Array;
  u2: Uint16Array;
  i4: Int32Array;
  f4: Float32Array;
  f8: Float64Array;
}
export type NpyType = keyof NpyData;

const constructors = { u1: Uint8Array, u2: Uint16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array } as const;

const refuse = (file: string, problem: string, cause?: unknown) =>
  new MacroError('BAD_BUNDLE', `${file} ${problem}`, { field: file, cause });

function parseOrRefuse(bytes: Uint8Array, file: string): ReturnType<typeof parse> {
  try {
    // A copy starts at byte 0 of its buffer, so that the elements behind a padded header are aligned.
    return parse(new Uint8Array(bytes).buffer);
  } catch (error) {
    throw refuse(file, `is not a readable .npy file: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

/**
 * Reads an array of any shape from a .npy file.
 *
 * @param file the name that messages shall use
 * @throws MacroError BAD_BUNDLE where the file is no .npy, is cut off, is in Fortran order, or holds another type
 */
export function readNpyArray<Type extends NpyType>(bytes: Uint8Array, file: string, type: Type): { shape: number[]; data: NpyData[Type] } {
  const { data, shape, dtype, fortranOrder } = parseOrRefuse(bytes, file);
  if (dtype !== type || !(data instanceof constructors[type])) throw refuse(file, `holds type ${dtype}, expected ${type}`);
  if (fortranOrder) throw refuse(file, 'is in Fortran order, expected C order');
  if (!shape.every((size) => Number.isInteger(size) && size >= 0)) throw refuse(file, `states the shape (${shape.join(', ')})`);
  const stated = shape.reduce((product, size) => product * size, 1);
  const held = (data as NpyData[Type]).length;
  if (held !== stated) throw refuse(file, `states ${stated} elements and holds ${held}`);
  return { shape, data: data as NpyData[Type] };
}

/** As `readNpyArray`, and the shape must be exactly the one given. */
export function readNpy<Type extends NpyType>(bytes: Uint8Array, file: string, type: Type, shape: readonly number[]): NpyData[Type] {
  const array = readNpyArray(bytes, file, type);
  if (array.shape.length !== shape.length || array.shape.some((size, axis) => size !== shape[axis])) {
    throw refuse(file, `has the shape (${array.shape.join(', ')}), expected (${shape.join(', ')})`);
  }
  return array.data;
}

/** A .npy file, version 1, C order. */
export function writeNpy(data: NpyData[NpyType], shape: readonly number[]): Uint8Array {
  return new Uint8Array(dump(data, [...shape]));
}
