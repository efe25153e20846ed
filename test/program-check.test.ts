// What a board refuses of a program: every number that would leave a register or the array, named with its range.
import t from 'tap';
import { bundleFromFiles, filesOfBundle } from '../server/network/bundle.js';
import { compile } from '../server/network/compile.js';
import type { Layer, Program } from '../proto/message.js';
import { programProblem } from '../sim/program-check.js';
import { smallBundle } from './small-bundle.js';

const converter = { bits: 32, signedCodes: false, differential: false, ranges: [{ name: 'multiply', stepNumeratorNanosiemens: 1, stepDenominator: 1 }] };
const { program } = compile(bundleFromFiles(filesOfBundle(smallBundle())), { geometry: { bitLines: 512, sourceLines: 512 }, converter });

const changed = (layer: number, changes: Partial<Layer>): Program => ({
  ...program,
  layers: program.layers.map((known, index) => (index === layer ? { ...known, ...changes } : known)),
});

t.test('what the compiler makes is accepted', async (t) => {
  t.equal(programProblem(program, 1), undefined);
});

t.test('a leak or a slope above 1 would leave the membrane, a larger multiplier the exact products', async (t) => {
  const { neuron } = program.layers[0];
  for (const part of ['leak', 'negativeSlope'] as const) {
    const wrong = (multiplier: number, shift: number) => programProblem(changed(0, { neuron: { ...neuron, [part]: { multiplier, shift } } }), 1);
    t.equal(wrong(2 ** 20, 20), undefined, `${part} of exactly 1`);
    t.match(wrong(2 ** 20 + 1, 20), new RegExp(`layers\\[0\\]\\.${part}\\.multiplier is 1048577; the range is 0 to 1048576`));
    t.match(wrong(3, 1), new RegExp(`${part}\\.multiplier is 3; the range is 0 to 2`));
  }
  t.match(programProblem(changed(0, { current: { multiplier: 2 ** 22 + 1, shift: 0 } }), 1), /layers\[0\]\.current\.multiplier/);
});

t.test('a kernel beyond the padded input is refused', async (t) => {
  const { inputHeight, padding } = program.layers[0];
  t.match(programProblem(changed(0, { inputHeight: 2, kernel: 5 }), 1), /layers\[0\]\.kernel is 5; the range is 1 to 4/);
  t.ok(inputHeight + 2 * padding >= 5);
});

t.test('a program without its parts is refused', async (t) => {
  t.match(programProblem(changed(0, { neuron: undefined as unknown as Layer['neuron'] }), 1), /neuron is missing/);
  t.match(programProblem(changed(1, { range: 1 }), 1), /layers\[1\]\.range is 1; the range is 0 to 0/);
  t.match(programProblem({ ...program, layers: [] }, 1), /layers\.length is 0/);
});
