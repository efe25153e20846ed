import { MacroError } from '../../proto/error.js';
import { checkEventCount, fieldPixels, maximumTimeMicroseconds, type Recording } from './recording.js';
import { refuseDataset } from './refusal.js';
import { ZipArchive, type ZipEntry } from './zip-archive.js';

/** In which order an array of N×4 numbers holds x, y, polarity (p) and time (t). */
export type ColumnOrder = string;
export const usualColumns: ColumnOrder = 'xypt';

/** 2^20 events of the widest elements, and a header. */
export const eventArrayBytesMaximum = 64 * 2 ** 20;

const fieldNames = { x: ['x'], y: ['y'], p: ['p', 'pol', 'polarity'], t: ['t', 'ts', 'time', 'timestamp'] } as const;
type Field = keyof typeof fieldNames;
const fields = Object.keys(fieldNames) as Field[];

/** One number of each event, and where it stands. */
interface Column {
  readonly count: number;
  readonly at: (event: number) => number;
  readonly where: (event: number) => string;
}

interface Element {
  readonly bytes: number;
  /** Undefined: padding. */
  readonly read?: (view: DataView, offset: number) => number;
}

interface StructureField extends Element {
  readonly name: string;
  readonly offset: number;
}

interface NpyHeader {
  readonly dataOffset: number;
  readonly elementBytes: number;
  /** One, without a name, where the array is none of structures. */
  readonly structure: readonly StructureField[];
  readonly isFortran: boolean;
  readonly shape: readonly number[];
}

const readers: Readonly<Record<string, (little: boolean) => Element['read']>> = {
  b1: () => (view, at) => view.getUint8(at),
  u1: () => (view, at) => view.getUint8(at),
  i1: () => (view, at) => view.getInt8(at),
  u2: (little) => (view, at) => view.getUint16(at, little),
  i2: (little) => (view, at) => view.getInt16(at, little),
  u4: (little) => (view, at) => view.getUint32(at, little),
  i4: (little) => (view, at) => view.getInt32(at, little),
  u8: (little) => (view, at) => Number(view.getBigUint64(at, little)),
  i8: (little) => (view, at) => Number(view.getBigInt64(at, little)),
  f4: (little) => (view, at) => view.getFloat32(at, little),
  f8: (little) => (view, at) => view.getFloat64(at, little),
};

/** @param type as NumPy spells it: `<u2`, `|b1`, `>i8`; `|V3` is padding */
function elementOf(type: string, file: string): Element {
  const padding = /^\|V(\d+)$/.exec(type);
  if (padding !== null) return { bytes: Number(padding[1]) };
  const [, order, kind = ''] = /^([<>|=]?)([biuf][1248])$/.exec(type.replace('?', 'b1')) ?? [];
  const reader = readers[kind];
  if (reader === undefined) refuseDataset(file, `holds elements of type ${type}; integers, floats and bools of 1 to 8 bytes are read`);
  const read = reader(order !== '>');
  return { bytes: Number(kind[1]), ...(read && { read }) };
}

const structureField = /\('([^']*)',\s*'([^']+)'\)/g;

function structureOf(descr: string, file: string): StructureField[] {
  const plain = /^'([^']+)'$/.exec(descr);
  if (plain !== null) return [{ name: '', offset: 0, ...elementOf(plain[1], file) }];
  let offset = 0;
  const structure = [...descr.matchAll(structureField)].map(([, name, type]) => {
    const field = { name, offset, ...elementOf(type, file) };
    offset += field.bytes;
    return field;
  });
  const isWhole = descr.replace(structureField, '').replace(/[[\],\s]/g, '') === '';
  if (!isWhole || structure.length === 0) refuseDataset(file, `has a structure that is not read: ${descr.slice(0, 200)}`);
  return structure;
}

const magic = [0x93, ...Buffer.from('NUMPY')];

/** NumPy's format, versions 1 to 3 (numpy.lib.format). */
function readHeader(bytes: Uint8Array, file: string): NpyHeader {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 65_536));
  if (head.length < 12 || magic.some((byte, at) => head[at] !== byte)) refuseDataset(file, ', offset 0: is no .npy file');
  const [lengthAt, lengthBytes] = head[6] === 1 ? [8, 2] : [8, 4];
  const dataOffset = lengthAt + lengthBytes + head.readUIntLE(lengthAt, lengthBytes);
  if (dataOffset > head.length) refuseDataset(file, `ends inside its header of ${dataOffset} bytes`);
  const text = head.toString('latin1', lengthAt + lengthBytes, dataOffset);
  const [, descr] = /'descr':\s*('[^']*'|\[[^\]]*\])/.exec(text) ?? [];
  const [, order] = /'fortran_order':\s*(True|False)/.exec(text) ?? [];
  const [, sizes] = /'shape':\s*\(([\d,\s]*)\)/.exec(text) ?? [];
  if (descr === undefined || order === undefined || sizes === undefined) refuseDataset(file, ', offset 10: has no header that is read');
  const structure = structureOf(descr, file);
  const elementBytes = structure.reduce((sum, field) => sum + field.bytes, 0);
  const shape = sizes.split(',').map((size) => size.trim()).filter(Boolean).map(Number);
  const stated = shape.reduce((product, size) => product * size, elementBytes);
  const held = bytes.length - dataOffset;
  if (held !== stated) refuseDataset(file, `states ${stated} bytes from offset ${dataOffset} on and holds ${held}`);
  return { dataOffset, elementBytes, structure, isFortran: order === 'True', shape };
}

/** The column that begins at an offset and goes on by a stride. */
function columnOf(bytes: Uint8Array, file: string, element: Element, count: number, first: number, stride: number): Column {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const { read } = element;
  if (read === undefined) refuseDataset(file, `, offset ${first}: is padding where numbers are expected`);
  return { count, at: (event) => read(view, first + event * stride), where: (event) => `${file}, event ${event} at offset ${first + event * stride}` };
}

function columnsOfStructure(bytes: Uint8Array, file: string, { dataOffset, elementBytes, structure, shape }: NpyHeader): Record<Field, Column> {
  if (shape.length !== 1) refuseDataset(file, `holds structures in the shape (${shape.join(', ')}), expected (N)`);
  const found = fields.map((field) => {
    const names: readonly string[] = fieldNames[field];
    const element = structure.find(({ name }) => names.includes(name));
    if (element === undefined) refuseDataset(file, `has no field ${names.join(', ')}; it has ${structure.map(({ name }) => name).join(', ')}`);
    return [field, columnOf(bytes, file, element, shape[0], dataOffset + element.offset, elementBytes)];
  });
  return Object.fromEntries(found) as Record<Field, Column>;
}

function columnsOfMatrix(bytes: Uint8Array, file: string, header: NpyHeader, order: ColumnOrder): Record<Field, Column> {
  const { dataOffset, elementBytes, structure: [element], isFortran, shape } = header;
  const isTall = shape.length === 2 && shape[1] === 4;
  const isWide = shape.length === 2 && shape[0] === 4;
  if (!isTall && !isWide) refuseDataset(file, `has the shape (${shape.join(', ')}), expected (N, 4) or (4, N)`);
  const count = isTall ? shape[0] : shape[1];
  const isInterleaved = isTall !== isFortran;
  const [eventStride, fieldStride] = isInterleaved ? [4 * elementBytes, elementBytes] : [elementBytes, count * elementBytes];
  const found = fields.map((field) => [field, columnOf(bytes, file, element, count, dataOffset + order.indexOf(field) * fieldStride, eventStride)]);
  return Object.fromEntries(found) as Record<Field, Column>;
}

function columnsOfNpy(bytes: Uint8Array, file: string, order: ColumnOrder): Record<Field, Column> {
  const header = readHeader(bytes, file);
  return header.structure[0].name === '' && header.structure.length === 1
    ? columnsOfMatrix(bytes, file, header, order)
    : columnsOfStructure(bytes, file, header);
}

function vectorOf(archive: ZipArchive, entry: ZipEntry, file: string): Column {
  const bytes = archive.read(entry, eventArrayBytesMaximum);
  const { dataOffset, elementBytes, structure: [element], shape } = readHeader(bytes, file);
  if (shape.length !== 1) refuseDataset(file, `has the shape (${shape.join(', ')}), expected (N)`);
  return columnOf(bytes, file, element, shape[0], dataOffset, elementBytes);
}

/** Four arrays of one number an event, or the only array of the archive. */
function columnsOfNpz(bytes: Uint8Array, file: string, order: ColumnOrder): Record<Field, Column> {
  const archive = ZipArchive.of(bytes, file);
  const arrays = new Map(archive.entries.filter(({ path }) => path.endsWith('.npy')).map((entry) => [entry.path.slice(0, -4), entry]));
  const named = (path: string) => `${file}/${path}.npy`;
  const [only] = arrays;
  if (arrays.size === 1) return columnsOfNpy(archive.read(only[1], eventArrayBytesMaximum), named(only[0]), order);
  const columns = fields.map((field) => {
    const name = fieldNames[field].find((choice) => arrays.has(choice));
    const entry = name === undefined ? undefined : arrays.get(name);
    if (name === undefined || entry === undefined) {
      refuseDataset(file, `has no array ${fieldNames[field].join(', ')}; it has ${[...arrays.keys()].slice(0, 20).join(', ') || 'none'}`);
    }
    return [field, vectorOf(archive, entry, named(name))] as const;
  });
  const [[, first], ...others] = columns;
  const other = others.find(([, { count }]) => count !== first.count);
  if (other !== undefined) refuseDataset(file, `has ${first.count} numbers in x and ${other[1].count} in ${other[0]}`);
  return Object.fromEntries(columns) as Record<Field, Column>;
}

/** @throws MacroError RECORDING_INVALID where a number is not what the range says */
function integerAt(column: Column, event: number, field: Field, minimum: number, maximum: number, name: string): number {
  const value = column.at(event);
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return value;
  const problem = `${field} is ${value}, the range is the integers ${minimum} to ${maximum}`;
  throw new MacroError('RECORDING_INVALID', `${column.where(event)}: ${problem}`, { field: name });
}

/** Times as they are, or from the first event on where they are too late for 23 bits: a clock that counts from another day. */
function fillTimes(times: Uint32Array, column: Column, name: string): void {
  const count = times.length;
  const first = integerAt(column, 0, 't', 0, Number.MAX_SAFE_INTEGER, name);
  const last = integerAt(column, count - 1, 't', 0, Number.MAX_SAFE_INTEGER, name);
  const origin = last > maximumTimeMicroseconds ? first : 0;
  let earlier = 0;
  for (let event = 0; event < count; event += 1) {
    const time = integerAt(column, event, 't', 0, origin + maximumTimeMicroseconds, name) - origin;
    if (time < earlier) {
      const problem = `time runs backwards from ${earlier + origin} to ${time + origin} µs`;
      throw new MacroError('RECORDING_INVALID', `${column.where(event)}: ${problem}`, { field: name });
    }
    times[event] = earlier = time;
  }
}

function recordingOf({ x, y, p, t }: Record<Field, Column>, name: string, label: number | null): Recording {
  checkEventCount(x.count, name);
  const recording = {
    name,
    label,
    x: Uint8Array.from({ length: x.count }, (_, event) => integerAt(x, event, 'x', 0, fieldPixels - 1, name)),
    y: Uint8Array.from({ length: x.count }, (_, event) => integerAt(y, event, 'y', 0, fieldPixels - 1, name)),
    polarity: Uint8Array.from({ length: x.count }, (_, event) => (integerAt(p, event, 'p', -1, 1, name) > 0 ? 1 : 0)),
    timeMicroseconds: new Uint32Array(x.count),
  };
  fillTimes(recording.timeMicroseconds, t, name);
  return recording;
}

/** What the first bytes say. None of them could begin ATIS events, whose x is below 34 (AEDAT begins with "#!", which is 35). */
export const isEventArray = (bytes: Uint8Array): boolean => bytes[0] === magic[0] || (bytes[0] === 0x50 && bytes[1] === 0x4b);

/**
 * Reads events from a NumPy file. `.npy`: structures with fields x, y, p and t (also pol, polarity; ts, time, timestamp), or N×4 or 4×N numbers.
 * `.npz`: four arrays of those names, or one array as above. p is 1 for ON, 0 or −1 for OFF; t is in whole µs.
 *
 * @param order of the columns of N×4 numbers
 * @throws MacroError BAD_DATASET, RECORDING_EMPTY, RECORDING_INVALID, RECORDING_TOO_LARGE; each names file, and event and offset
 */
export function parseEventArray(bytes: Uint8Array, name: string, label: number | null = null, order: ColumnOrder = usualColumns): Recording {
  const columns = bytes[0] === magic[0] ? columnsOfNpy(bytes, name, order) : columnsOfNpz(bytes, name, order);
  return recordingOf(columns, name, label);
}
