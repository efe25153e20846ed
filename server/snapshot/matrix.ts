import { parse } from 'npyjs';
import { problemOf, refuseSnapshot } from './refusal.js';
import { readWorksheet } from './worksheet.js';

/** Numbers in rows, as a file has them, before anybody says what they are. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** Row by row. */
  readonly values: ArrayLike<number>;
  /** Whether the file itself says that they are unsigned 16-bit codes. */
  readonly isCodes: boolean;
  /** Rows of headings above the first one. */
  readonly headings: number;
}

/** 64 reads of a whole array. */
const elementMaximum = 2 ** 24;
const numberPattern = /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*$/;
const types: Readonly<Record<string, string>> = { u2: 'codes', u1: 'codes', f4: 'reals', f8: 'reals', i4: 'reals', i2: 'reals', u4: 'reals', f2: 'reals' };

function checkSize(rows: number, columns: number, file: string): void {
  if (rows === 0 || columns === 0) refuseSnapshot(file, 'holds no numbers');
  if (rows * columns > elementMaximum) refuseSnapshot(file, `holds ${rows} × ${columns} numbers, the limit is ${elementMaximum}`);
}

function npyMatrix(bytes: Uint8Array, file: string): Matrix {
  let array: ReturnType<typeof parse>;
  try {
    array = parse(new Uint8Array(bytes).buffer);
  } catch (error) {
    return refuseSnapshot(file, `is not a readable .npy file: ${problemOf(error)}`, { cause: error });
  }
  const { data, shape, dtype, fortranOrder } = array;
  const kind = types[dtype] ?? refuseSnapshot(file, `holds type ${dtype}, expected u2 codes or floats`);
  if (fortranOrder) refuseSnapshot(file, 'is in Fortran order, expected C order');
  if (shape.length !== 2 && shape.length !== 3) {
    refuseSnapshot(file, `has the shape (${shape.join(', ')}), expected (512, 512), (reads, cells) or (reads, 512, 512)`);
  }
  const [rows, ...rest] = shape;
  const columns = rest.reduce((product, size) => product * size, 1);
  if (!shape.every((size) => Number.isInteger(size) && size >= 0)) refuseSnapshot(file, `states the shape (${shape.join(', ')})`);
  checkSize(rows, columns, file);
  const values = data as unknown as ArrayLike<number>;
  if (values.length !== rows * columns) refuseSnapshot(file, `states ${rows * columns} elements and holds ${values.length}`);
  return { rows, columns, values, isCodes: kind === 'codes', headings: 0 };
}

function csvMatrix(bytes: Uint8Array, file: string): Matrix {
  const lines = new TextDecoder().decode(bytes).split(/\r?\n/).filter((line) => line.trim() !== '' && !line.startsWith('#'));
  const [first = ''] = lines;
  const separator = ['\t', ';', ','].find((candidate) => first.includes(candidate)) ?? ',';
  const headings = first !== '' && first.split(separator).every((field) => !numberPattern.test(field)) ? 1 : 0;
  const rows = lines.length - headings;
  const columns = lines[headings]?.split(separator).length ?? 0;
  checkSize(rows, columns, file);
  const values = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row += 1) {
    const fields = lines[row + headings].split(separator);
    if (fields.length !== columns) refuseSnapshot(file, `row ${row} has ${fields.length} fields, the first has ${columns}`);
    for (let column = 0; column < columns; column += 1) {
      if (!numberPattern.test(fields[column])) refuseSnapshot(file, `row ${row}, column ${column} holds "${fields[column].slice(0, 40)}", no number`);
      values[row * columns + column] = Number(fields[column]);
    }
  }
  return { rows, columns, values, isCodes: false, headings };
}

function worksheetMatrix(bytes: Uint8Array, file: string): Matrix {
  const cells = [...readWorksheet(bytes, file)];
  const texts = cells.filter(({ value }) => value === undefined);
  const isHeading = texts.length > 0 && texts.every(({ row }) => row === 0) && cells.every(({ row, value }) => row > 0 || value === undefined);
  const headings = isHeading ? 1 : 0;
  const numbers = cells.filter(({ row }) => row >= headings);
  const rows = numbers.reduce((last, { row }) => Math.max(last, row + 1), 0) - headings;
  const columns = numbers.reduce((last, { column }) => Math.max(last, column + 1), 0);
  checkSize(Math.max(0, rows), columns, file);
  const values = new Float64Array(rows * columns).fill(Number.NaN);
  for (const { row, column, value, text } of numbers) {
    if (value === undefined) refuseSnapshot(file, `row ${row - headings}, column ${column} holds ${text}, no number`);
    values[(row - headings) * columns + column] = value;
  }
  return { rows, columns, values, isCodes: false, headings };
}

const readers: Readonly<Record<string, (bytes: Uint8Array, file: string) => Matrix>> = { '.npy': npyMatrix, '.csv': csvMatrix, '.xlsx': worksheetMatrix };
export const matrixFormats = Object.keys(readers);

/** @throws MacroError BAD_SNAPSHOT naming the file, and row and column counted from 0 behind any heading */
export function readMatrix(bytes: Uint8Array, file: string): Matrix {
  const reader = Object.entries(readers).find(([ending]) => file.toLowerCase().endsWith(ending))?.[1];
  return reader === undefined ? refuseSnapshot(file, `is of no known kind: numbers come as ${matrixFormats.join(', ')}`) : reader(bytes, file);
}

/** The same numbers with rows and columns exchanged. */
export function transposed({ rows, columns, values, ...rest }: Matrix): Matrix {
  const turned = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row += 1) for (let column = 0; column < columns; column += 1) turned[column * rows + row] = values[row * columns + column];
  return { ...rest, rows: columns, columns: rows, values: turned };
}
