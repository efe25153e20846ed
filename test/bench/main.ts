// Measures the figures that are named, or all, and prints a row for each.
import { parseArgs } from 'node:util';
import { inferFigures } from './infer.js';
import { lineResistanceFigures } from './line-resistance.js';
import { linkFigures } from './link.js';
import { measure, type Row } from './measure.js';
import { trainFigures } from './train.js';

const figures = [...inferFigures, ...lineResistanceFigures, ...linkFigures, ...trainFigures];

function asText({ name, value, unit, baseline, ratio, median, loaded }: Row): string {
  const against = baseline === null ? '' : `  ${ratio} × ${baseline.name} (${baseline.value})`;
  return `${name.padEnd(24)} ${String(value).padStart(10)} ${unit.padEnd(13)} median ${median}${against}${loaded ? '  (machine loaded)' : ''}`;
}

const { values, positionals } = parseArgs({ options: { json: { type: 'boolean', default: false } }, allowPositionals: true });
const unknown = positionals.filter((name) => !figures.some((figure) => figure.name === name));
if (unknown.length > 0) {
  process.stderr.write(`BAD_ARGUMENT: there is no figure ${unknown.join(', ')}; there are ${figures.map(({ name }) => name).join(', ')}.\n`);
  process.exit(2);
}
let missed = 0;
for (const figure of figures.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
  try {
    const row = await measure(figure);
    process.stdout.write(`${values.json ? JSON.stringify(row) : asText(row)}\n`);
  } catch (error) {
    missed += 1;
    process.stderr.write(`${figure.name} was not measured: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}
process.exit(missed === 0 ? 0 : 1);
