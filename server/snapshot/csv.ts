import { cellCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { parseHeader } from './header.js';
import { refuseSnapshot } from './refusal.js';
import { cellFlag, headerOf, keptReadsMaximum, type Snapshot, snapshotOf } from './snapshot.js';

/** The first line of a snapshot as CSV; what follows is its metadata as JSON. */
export const csvMark = '# prime-snapshot ';
const columns = ['bit_line', 'source_line', 'code', 'conductance_microsiemens', 'saturated', 'unformed'] as const;
const readColumn = (read: number) => `read_${read}_code`;
const decimals = 6;

/** A snapshot as CSV: metadata in a comment, then one row a cell. Conductances are for people; codes are what is read back. */
export function writeCsv(snapshot: Snapshot): Uint8Array {
  const { codes, flags, reads, cellUnitNanosiemens } = snapshot;
  const lines = [csvMark + JSON.stringify(headerOf(snapshot)), [...columns, ...reads.map((_, read) => readColumn(read))].join(',')];
  for (let cell = 0; cell < cellCount; cell += 1) {
    const microsiemens = Number(((codes[cell] * cellUnitNanosiemens) / 1000).toFixed(decimals));
    const isSaturated = (flags[cell] & cellFlag.saturated) === 0 ? 0 : 1;
    const isUnformed = (flags[cell] & cellFlag.unformed) === 0 ? 0 : 1;
    const bitLine = Math.floor(cell / sourceLineCount);
    let line = `${bitLine},${cell % sourceLineCount},${codes[cell]},${microsiemens},${isSaturated},${isUnformed}`;
    for (const read of reads) line += `,${read[cell]}`;
    lines.push(line);
  }
  return new TextEncoder().encode(`${lines.join('\n')}\n`);
}

/** A whole number of a field. */
function integerIn(text: string | undefined, maximum: number, place: string, field: string): number {
  if (text !== undefined && /^\d{1,6}$/.test(text) && Number(text) <= maximum) return Number(text);
  return refuseSnapshot(place, `: ${field} is "${(text ?? '').slice(0, 40)}", it is an integer from 0 to ${maximum}`, { field });
}

function readCountOf(heading: string, file: string): number {
  const names = heading.split(',');
  const count = names.length - columns.length;
  const isKnown = count >= 0 && count <= keptReadsMaximum && names.every((name, at) => name === (columns[at] ?? readColumn(at - columns.length)));
  return isKnown ? count : refuseSnapshot(file, `line 2 is no heading of a snapshot: it is ${columns.join(',')} and at most ${keptReadsMaximum} read_N_code`);
}

/** @throws MacroError BAD_SNAPSHOT naming the file, the line and the column */
export function readCsv(bytes: Uint8Array, file: string): Snapshot {
  const lines = new TextDecoder().decode(bytes).split(/\r?\n/);
  const [first = '', heading = ''] = lines;
  if (!first.startsWith(csvMark)) refuseSnapshot(file, `does not begin with "${csvMark}" and metadata`);
  const header = parseHeader(first.slice(csvMark.length), `${file}: line 1`);
  const readCount = readCountOf(heading, file);
  const rows = lines.at(-1) === '' ? lines.length - 3 : lines.length - 2;
  if (rows !== cellCount) refuseSnapshot(file, `has ${rows} rows of cells, there are ${cellCount} cells`);
  const codes = new Uint16Array(cellCount);
  const flags = new Uint8Array(cellCount);
  const reads = Array.from({ length: readCount }, () => new Uint16Array(cellCount));
  for (let cell = 0; cell < cellCount; cell += 1) {
    const place = `${file}: line ${cell + 3}`;
    const fields = lines[cell + 2].split(',');
    if (fields.length !== columns.length + readCount) refuseSnapshot(place, `has ${fields.length} fields, the heading names ${columns.length + readCount}`);
    const at = integerIn(fields[0], 511, place, 'bit_line') * sourceLineCount + integerIn(fields[1], 511, place, 'source_line');
    if (at !== cell) refuseSnapshot(place, 'is not the next cell: cells follow one another, bit line by bit line', { field: 'bit_line' });
    codes[cell] = integerIn(fields[2], 65_535, place, 'code');
    flags[cell] = integerIn(fields[4], 1, place, 'saturated') * cellFlag.saturated + integerIn(fields[5], 1, place, 'unformed') * cellFlag.unformed;
    for (let read = 0; read < readCount; read += 1) reads[read][cell] = integerIn(fields[columns.length + read], 65_535, place, readColumn(read));
  }
  return snapshotOf(header, codes, flags, reads, file);
}
