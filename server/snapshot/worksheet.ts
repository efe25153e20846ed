import { readArchive } from './archive.js';
import { refuseSnapshot } from './refusal.js';

/** A worksheet, unpacked, may have so many bytes; an entity or a document type is never looked at. */
const sheetBytesMaximum = 256 * 2 ** 20;
const sheetName = /^xl\/worksheets\/sheet(\d+)\.xml$/;
/** The widest and longest sheet of the format. */
const columnMaximum = 16_384;
const rowMaximum = 1_048_576;

/** One cell of a worksheet that holds a number, or a text where `value` is undefined. Row and column count from 0. */
export interface WorksheetCell {
  readonly row: number;
  readonly column: number;
  readonly value: number | undefined;
  readonly text: string;
}

function placeOf(reference: string, file: string): { row: number; column: number } {
  const match = /^([A-Z]{1,3})([1-9]\d{0,6})$/.exec(reference);
  if (match === null) return refuseSnapshot(file, `has a cell with the reference "${reference.slice(0, 20)}"`);
  const column = [...match[1]].reduce((sum, letter) => sum * 26 + letter.charCodeAt(0) - 64, 0) - 1;
  const row = Number(match[2]) - 1;
  if (column >= columnMaximum || row >= rowMaximum) return refuseSnapshot(file, `has a cell at ${reference}, beyond the end of a sheet`);
  return { row, column };
}

/** What stands between `<v>` and `</v>` of a cell; numbers need no entities. */
function valueText(body: string): string {
  const open = body.indexOf('<v');
  if (open < 0) return '';
  const start = body.indexOf('>', open) + 1;
  const end = body.indexOf('</v', start);
  return start > 0 && end >= 0 ? body.slice(start, end).trim() : '';
}

const attributes = { reference: /\sr="([^"]*)"/, type: /\st="([^"]*)"/ };

function cellOf(tag: string, body: string, file: string): WorksheetCell | undefined {
  const reference = attributes.reference.exec(tag)?.[1] ?? refuseSnapshot(file, 'has a cell without a reference');
  const type = attributes.type.exec(tag)?.[1] ?? 'n';
  const text = valueText(body);
  if (type === 'n' && text === '') return undefined; // a cell that only has a style
  const place = placeOf(reference, file);
  if (type !== 'n') return { ...place, value: undefined, text: type === 's' ? 'a text' : text.slice(0, 40) || 'a text' };
  const value = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  return { ...place, value, text: text.slice(0, 40) };
}

/** The text from tag to tag, once over: what is not closed is refused, not searched for again and again. */
function* cellsIn(xml: string, file: string): Generator<WorksheetCell> {
  if (/<!DOCTYPE|<!ENTITY/i.test(xml)) refuseSnapshot(file, 'declares a document type; a worksheet has none');
  const opening = /<c(?=[\s>/])/g;
  for (let match = opening.exec(xml); match !== null; match = opening.exec(xml)) {
    const tagEnd = xml.indexOf('>', match.index);
    if (tagEnd < 0) refuseSnapshot(file, 'ends within a cell');
    const tag = xml.slice(match.index, tagEnd);
    opening.lastIndex = tagEnd;
    if (tag.endsWith('/')) continue;
    const end = xml.indexOf('</c>', tagEnd);
    if (end < 0) refuseSnapshot(file, 'ends within a cell');
    opening.lastIndex = end;
    const cell = cellOf(tag, xml.slice(tagEnd + 1, end), file);
    if (cell !== undefined) yield cell;
  }
}

/**
 * The cells of the first worksheet of an .xlsx file, in the order of the file. Formulas count by the value that was saved with them.
 * @throws MacroError BAD_SNAPSHOT
 */
export function* readWorksheet(bytes: Uint8Array, file: string): Generator<WorksheetCell> {
  const files = readArchive(bytes, file, { files: 64, fileBytes: sheetBytesMaximum, wants: (name) => name === 'xl/worksheets/sheet1.xml' });
  const [name] = Object.keys(files).filter((candidate) => sheetName.test(candidate));
  if (name === undefined) refuseSnapshot(file, 'holds no xl/worksheets/sheet1.xml: it is no .xlsx workbook');
  yield* cellsIn(new TextDecoder().decode(files[name]), file);
}
