import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { unzipSync } from 'fflate';
import { MacroError } from '../../proto/error.js';
import { topCode } from '../chip.js';

/** What a file says of the cells of a chip. */
export interface SnapshotFile {
  /** Bit line by bit line; infinite: above what a code can say. */
  readonly microsiemens: ArrayLike<number>;
  /** 1 where a cell was never formed; without it those that conduct nothing. */
  readonly unformed?: Uint8Array;
}

type Shape = readonly [bitLines: number, sourceLines: number];

const headerStart = 10;
const fileBytesMaximum = 8 * 2 ** 20;
const unformedFlag = 2;
const parts = { metadata: 'metadata.npy', codes: 'codes.npy', flags: 'flags.npy' };
const known = new Set(Object.values(parts));

/** The data of a .npy file (format 1.0, little-endian, C order). @param descr of NumPy: '<f4', '<u2' */
function npyData(bytes: Buffer, descr: string, elementBytes: number, shape: Shape | undefined, means: string): Buffer {
  if (bytes.length < headerStart || bytes.toString('latin1', 0, 6) !== '\x93NUMPY') throw new RangeError('this is no .npy file');
  const start = headerStart + bytes.readUInt16LE(8);
  const header = bytes.toString('latin1', headerStart, start);
  // Writers differ in quotes and spaces.
  const field = (name: string, value: string) => new RegExp(`['"]${name}['"]:\\s*${value}`).test(header);
  const isType = field('descr', `['"]${descr.replace('|', '[|<]')}['"]`) && field('fortran_order', 'False');
  if (!isType || (shape !== undefined && !field('shape', `\\(${shape[0]},\\s*${shape[1]},?\\)`))) throw new RangeError(means);
  const data = bytes.subarray(start);
  if (shape !== undefined && data.length !== shape[0] * shape[1] * elementBytes) {
    throw new RangeError(`${data.length} bytes of data; there are ${shape[0] * shape[1] * elementBytes}`);
  }
  return data;
}

function readNpyMap(bytes: Buffer, shape: Shape): SnapshotFile {
  const data = npyData(bytes, '<f4', 4, shape, `a snapshot is float32 of shape (${shape[0]}, ${shape[1]}) in C order`);
  return { microsiemens: new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length)) };
}

/** A snapshot as `prime chip export` writes it (docs/snapshot.md). */
function readNpzMap(bytes: Buffer, shape: Shape): SnapshotFile {
  const files = unzipSync(bytes, {
    filter({ name, originalSize }) {
      if (!known.has(name)) return false;
      if (originalSize > fileBytesMaximum) throw new RangeError(`${name} has ${originalSize} bytes, the limit is ${fileBytesMaximum}`);
      return true;
    },
  });
  const part = (name: string): Buffer => {
    if (!Object.hasOwn(files, name)) throw new RangeError(`it holds no ${name}`);
    const { buffer, byteOffset, length } = files[name];
    return Buffer.from(buffer, byteOffset, length);
  };
  const means = (name: string) => `${name} is not as docs/snapshot.md describes it`;
  const codes = npyData(part(parts.codes), '<u2', 2, shape, means(parts.codes));
  const flags = npyData(part(parts.flags), '|u1', 1, shape, means(parts.flags));
  const metadata: unknown = JSON.parse(npyData(part(parts.metadata), '|u1', 1, undefined, means(parts.metadata)).toString('utf8'));
  const { cellUnitNanosiemens: unit, provenance } = metadata as { cellUnitNanosiemens?: unknown; provenance?: { digest?: unknown } };
  if (typeof unit !== 'number' || !(unit > 0 && unit <= 1000)) throw new RangeError('cellUnitNanosiemens is not a number above 0 to 1000');
  if (createHash('sha256').update(codes).digest('hex') !== provenance?.digest) throw new RangeError('its codes have not the digest that it states');
  const cells = shape[0] * shape[1];
  // In double precision a code times its unit is that code again, where the chip has the same unit.
  const microsiemens = Float64Array.from({ length: cells }, (_, cell) => {
    const code = codes.readUInt16LE(2 * cell);
    return code === topCode ? Number.POSITIVE_INFINITY : (code * unit) / 1000;
  });
  return { microsiemens, unformed: Uint8Array.from(flags, (flag) => ((flag & unformedFlag) === 0 ? 0 : 1)) };
}

/**
 * A map of conductances from a .npy file (float32, µS), or a whole snapshot from a .npz file.
 * @throws MacroError BAD_PROFILE, naming the file and what it should hold
 */
export function readSnapshotFile(path: string, shape: Shape): SnapshotFile {
  try {
    const bytes = readFileSync(path);
    return path.toLowerCase().endsWith('.npz') ? readNpzMap(bytes, shape) : readNpyMap(bytes, shape);
  } catch (error) {
    throw new MacroError('BAD_PROFILE', `${path}: ${error instanceof Error ? error.message : String(error)}`, { field: 'snapshot' });
  }
}
