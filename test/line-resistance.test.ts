// Resistance of lines and multiplexers: against a direct solution of the circuit, known limits, and the sweeps against their twin.
import fc from 'fast-check';
import t from 'tap';
import { Chip } from '../sim/chip.js';
import { type Crossbar, CrossbarSolver, effectiveConductances, referenceSweeps, useSweeps } from '../sim/line-resistance.js';
import { Macro } from '../sim/macro.js';
import { compiledLineSweeps } from '../sim/process/line-program.js';
import { overrideProfile, profileNamed } from '../sim/profile.js';

const compiled = compiledLineSweeps();
useSweeps(compiled);

/** Solves a dense system in place, with pivoting. */
function solveDense(matrix: Float64Array[], right: Float64Array): Float64Array {
  const count = right.length;
  for (let step = 0; step < count; step += 1) {
    let pivot = step;
    for (let row = step + 1; row < count; row += 1) if (Math.abs(matrix[row][step]) > Math.abs(matrix[pivot][step])) pivot = row;
    [matrix[step], matrix[pivot]] = [matrix[pivot], matrix[step]];
    [right[step], right[pivot]] = [right[pivot], right[step]];
    for (let row = step + 1; row < count; row += 1) {
      const factor = matrix[row][step] / matrix[step][step];
      if (factor === 0) continue;
      for (let column = step; column < count; column += 1) matrix[row][column] -= factor * matrix[step][column];
      right[row] -= factor * right[step];
    }
  }
  for (let row = count - 1; row >= 0; row -= 1) {
    for (let column = row + 1; column < count; column += 1) right[row] -= matrix[row][column] * right[column];
    right[row] /= matrix[row][row];
  }
  return right;
}

/** Kirchhoff's current law at every node, resistor by resistor: nothing of the solver's own scaling or elimination. */
function directCurrents(crossbar: Crossbar, volts: readonly number[]): number[] {
  const { bitLineCount, sourceLineCount, conductancesSiemens, bitLineOhmsPerCell, sourceLineOhmsPerCell, driverOhms } = crossbar;
  const cells = bitLineCount * sourceLineCount;
  const matrix = Array.from({ length: 2 * cells }, () => new Float64Array(2 * cells));
  const right = new Float64Array(2 * cells);
  const join = (a: number, b: number, siemens: number) => {
    matrix[a][a] += siemens;
    matrix[b][b] += siemens;
    matrix[a][b] -= siemens;
    matrix[b][a] -= siemens;
  };
  for (let cell = 0; cell < cells; cell += 1) {
    const column = cell % sourceLineCount;
    const row = (cell - column) / sourceLineCount;
    join(cell, cells + cell, conductancesSiemens[cell]);
    if (column > 0) join(cell, cell - 1, 1 / bitLineOhmsPerCell);
    else {
      matrix[cell][cell] += 1 / (bitLineOhmsPerCell + driverOhms);
      right[cell] += volts[row] / (bitLineOhmsPerCell + driverOhms);
    }
    if (row > 0) join(cells + cell, cells + cell - sourceLineCount, 1 / sourceLineOhmsPerCell);
    else matrix[cells + cell][cells + cell] += 1 / sourceLineOhmsPerCell;
  }
  const voltages = solveDense(matrix, right);
  return Array.from({ length: sourceLineCount }, (_, line) => voltages[cells + line] / sourceLineOhmsPerCell);
}

/** Largest difference against the largest value. */
function relativeError(values: ArrayLike<number>, wanted: ArrayLike<number>): number {
  const scale = Math.max(...Array.from(wanted, Math.abs));
  return Math.max(...Array.from(wanted, (value, index) => Math.abs(values[index] - value))) / scale;
}

const worstFraction = (values: ArrayLike<number>, wanted: ArrayLike<number>) =>
  Math.max(...Array.from(wanted, (value, index) => Math.abs(values[index] / value - 1)));

const ohms = fc.double({ min: 0.01, max: 100, noNaN: true });
const crossbars = (maximum: number) => fc
  .record({
    bitLineCount: fc.integer({ min: 1, max: maximum }), sourceLineCount: fc.integer({ min: 1, max: maximum }),
    bitLineOhmsPerCell: ohms, sourceLineOhmsPerCell: ohms, driverOhms: fc.double({ min: 0, max: 1000, noNaN: true }),
  })
  .chain((shape) => {
    const volts = fc.oneof(fc.constant(0), fc.double({ min: 0.001, max: 1, noNaN: true }));
    const cells = shape.bitLineCount * shape.sourceLineCount;
    const microsiemens = fc.oneof(fc.constant(0), fc.double({ min: 0.1, max: 260, noNaN: true }));
    const drives = fc.array(volts, { minLength: shape.bitLineCount, maxLength: shape.bitLineCount });
    return fc.record({ values: fc.array(microsiemens, { minLength: cells, maxLength: cells }), volts: drives }).map(({ values, volts }) => {
      const crossbar: Crossbar = { ...shape, conductancesSiemens: Float64Array.from(values, (value) => value * 1e-6) };
      return { crossbar, volts };
    });
  });

/** A fixed sequence, for arrays too large to be drawn value by value. */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function largeCrossbar(ohmsPerCell: number, lines = 512): Crossbar {
  const next = sequence(3);
  const conductancesSiemens = Float64Array.from({ length: lines * lines }, () => (1 + 49 * next()) * 1e-6);
  return {
    bitLineCount: lines, sourceLineCount: lines, conductancesSiemens, bitLineOhmsPerCell: ohmsPerCell, sourceLineOhmsPerCell: ohmsPerCell, driverOhms: 125,
  };
}

t.test('currents are those of a direct solution of the circuit', async () => {
  const property = fc.property(crossbars(12), ({ crossbar, volts }) => {
    const wanted = directCurrents(crossbar, volts);
    return Math.max(...wanted) === 0 || relativeError(new CrossbarSolver(crossbar).currents(volts), wanted) <= 1e-6;
  });
  await fc.assert(property, { numRuns: 60 });
});

t.test('24 × 24 at 100 ohms a cell', async (t) => {
  const crossbar = largeCrossbar(100, 24);
  const next = sequence(5);
  const volts = Array.from({ length: 24 }, () => Math.round(next()));
  t.ok(worstFraction(new CrossbarSolver(crossbar).currents(volts), directCurrents(crossbar, volts)) <= 1e-6);
});

t.test('without resistance of lines a source line carries the sum of its cells; one cell is resistors in series', async (t) => {
  const lines = 16;
  const almostNone = { ...largeCrossbar(1e-9, lines), driverOhms: 0 };
  const sumOf = (line: number) => almostNone.conductancesSiemens.reduce((sum, value, cell) => sum + (cell % lines === line ? value : 0), 0);
  const sums = Array.from({ length: lines }, (_, line) => sumOf(line));
  t.ok(worstFraction(new CrossbarSolver(almostNone).currents(new Array(lines).fill(1)), sums) <= 1e-9);
  const one: Crossbar = {
    bitLineCount: 1, sourceLineCount: 1, conductancesSiemens: Float64Array.of(1e-3), bitLineOhmsPerCell: 20, sourceLineOhmsPerCell: 30, driverOhms: 450,
  };
  t.ok(worstFraction(new CrossbarSolver(one).currents([3]), [3 / 1500]) <= 1e-12);
});

t.test('512 × 512: each current within 1e-6 of a far tighter run, up to the largest resistance that a profile may state', async (t) => {
  const volts = Array.from({ length: 512 }, (_, line) => line % 2);
  for (const ohmsPerCell of [0.1, 1, 10, 100]) {
    const solver = new CrossbarSolver(largeCrossbar(ohmsPerCell));
    const exact = solver.currents(volts, { residualFraction: 1e-13, iterationLimit: 5000 });
    const error = worstFraction(solver.currents(volts), exact);
    t.ok(error <= 1e-6, `${ohmsPerCell} ohms: ${error}`);
  }
});

t.test('the effective matrix times a drive is the direct solution', async () => {
  const property = fc.property(crossbars(10), ({ crossbar, volts }) => {
    const lines = Array.from({ length: crossbar.sourceLineCount }, (_, line) => line);
    const matrix = effectiveConductances(crossbar, lines);
    const product = lines.map((line) => volts.reduce((sum, value, row) => sum + value * matrix[row * lines.length + line], 0));
    const wanted = directCurrents(crossbar, volts);
    return Math.max(...wanted) === 0 || relativeError(product, wanted) <= 1e-6;
  });
  await fc.assert(property, { numRuns: 40 });
});

t.test('the effective matrix of 512 × 512 gives the currents of random drives', async (t) => {
  const lines = [0, 1, 200, 511];
  for (const ohmsPerCell of [1, 100]) {
    const crossbar = largeCrossbar(ohmsPerCell);
    const matrix = effectiveConductances(crossbar, lines);
    const solver = new CrossbarSolver(crossbar);
    const next = sequence(9);
    for (let drive = 0; drive < 3; drive += 1) {
      const volts = Array.from({ length: 512 }, () => Math.round(next()));
      const currents = solver.currents(volts, { residualFraction: 1e-12, iterationLimit: 5000 });
      const product = lines.map((_, index) => volts.reduce((sum, value, row) => sum + value * matrix[row * lines.length + index], 0));
      const error = worstFraction(product, lines.map((line) => currents[line]));
      t.ok(error <= 1e-6, `${ohmsPerCell} ohms: ${error}`);
    }
  }
});

t.test('compiled sweeps give the bits of the reference', async (t) => {
  const property = fc.property(crossbars(40), fc.nat(), ({ crossbar, volts }, choice) => {
    const reference = new CrossbarSolver(crossbar, referenceSweeps);
    const twin = new CrossbarSolver(crossbar, compiled);
    const line = choice % crossbar.sourceLineCount;
    t.strictSame(twin.currents(volts), reference.currents(volts));
    t.strictSame(twin.effectiveColumn(line), reference.effectiveColumn(line));
  });
  await fc.assert(property, { numRuns: 40 });
});

const chipWith = (overrides: object) => Chip.formed(overrideProfile(profileNamed('lab-paper-quiet'), overrides), 4);
const someLines = { firstBitLine: 0, bitLineCount: 512, sourceLines: [3, 400] };

t.test('a tile holds the codes of the effective matrix, and a cell read sees the same', async (t) => {
  const chip = chipWith({ lineResistanceOhmsPerCell: 2, multiplexerResistanceOhms: 125 });
  const conductancesSiemens = Float64Array.from(chip.codes, (code) => code * 4e-9);
  const crossbar: Crossbar = {
    bitLineCount: 512, sourceLineCount: 512, conductancesSiemens, bitLineOhmsPerCell: 2, sourceLineOhmsPerCell: 2, driverOhms: 125,
  };
  const macro = new Macro(chip);
  const { codes } = macro.tile(someLines);
  t.strictSame(codes, Int32Array.from(effectiveConductances(crossbar, someLines.sourceLines), (siemens) => Math.round(siemens / 4e-9)));
  t.ok(codes[511 * 2 + 1] < 0.9 * chip.codes[511 * 512 + 400], 'the farthest cells lose most');
  const read = macro.readCells({ firstBitLine: 500, bitLines: 1, firstSourceLine: 400, sourceLines: 1 }, 1).codes[0];
  t.ok(Math.abs(read - codes[500 * 2 + 1]) <= 2, `${read} of ${codes[500 * 2 + 1]}`);
});

t.test('multiplexers alone are a gain a bit line, which rises when cells of it are reset', async (t) => {
  const chip = chipWith({ multiplexerResistanceOhms: 470 });
  const gain = () => 1 / (1 + 470 * 4e-9 * chip.codes.subarray(0, 512).reduce((sum, code) => sum + code, 0));
  const macro = new Macro(chip);
  const before = gain();
  t.equal(macro.tile(someLines).codes[0], Math.round(chip.codes[3] * before));
  chip.beginOperation();
  const pulse = { amplitudeMillivolts: 2000, widthNanoseconds: 1000, complianceMicroamperes: 0 };
  for (let cell = 0; cell < 512 * 512; cell += 1) if (cell % 8 >= 4) chip.reset(cell, pulse);
  t.ok(gain() > before);
  t.equal(macro.tile(someLines).codes[0], Math.round(chip.codes[3] * gain()), 'the array has changed, and so have effective codes');
});

t.test('a pulse is seen by a read of its own operation, and by all reads after it exactly', async (t) => {
  const overrides = { lineResistanceOhmsPerCell: 1, multiplexerResistanceOhms: 125 };
  const chip = chipWith(overrides);
  const macro = new Macro(chip);
  const cell = 300 * 512 + 200;
  chip.beginOperation();
  const before = macro.readCell(cell, 1);
  chip.reset(cell, { amplitudeMillivolts: 2000, widthNanoseconds: 1000, complianceMicroamperes: 0 });
  const within = macro.readCell(cell, 1);
  const region = { firstBitLine: 300, bitLines: 1, firstSourceLine: 200, sourceLines: 4 };
  const after = macro.readCells(region, 1).codes;
  t.ok(within < before / 2, `${within} after ${before}`);
  t.ok(Math.abs(within - after[0]) <= 0.02 * before, `${within} is near ${after[0]}`);
  t.strictSame(after, new Macro(chip).readCells(region, 1).codes, 'as a macro that never saw the chip before it');
});

t.test('ageing counts with the share of a cell that gets through', async (t) => {
  const drifting = { driftMeanFractionPerDecade: 0.002, driftSdFractionPerDecade: 0.002, lineResistanceOhmsPerCell: 1 };
  const chip = chipWith(drifting);
  const macro = new Macro(chip);
  macro.beginPulses();
  for (const cell of [3, 400, 300 * 512 + 3]) chip.set(cell, { amplitudeMillivolts: 2000, widthNanoseconds: 1000, complianceMicroamperes: 60 });
  const fresh = macro.tile(someLines).codes;
  chip.operationNanoseconds = 1e15;
  const aged = macro.tile(someLines).codes;
  const change = chip.codeNow(3) - chip.codes[3];
  t.ok(change !== 0 && Math.abs((aged[0] - fresh[0]) / change - 0.9) < 0.1, `${fresh[0]} became ${aged[0]}, the cell alone changed by ${change}`);
  t.equal(aged[2], fresh[2], 'a cell that does not age stays');
});

t.test('a little resistance of lines is close to the closed form of multiplexers alone; none of both is the chip itself', async (t) => {
  const closed = new Macro(chipWith({ multiplexerResistanceOhms: 470 })).tile(someLines).codes;
  const solved = new Macro(chipWith({ multiplexerResistanceOhms: 470, lineResistanceOhmsPerCell: 1e-6 })).tile(someLines).codes;
  t.ok(closed.every((code, index) => Math.abs(code - solved[index]) <= 1));
  const chip = chipWith({});
  t.equal(new Macro(chip).tile(someLines).codes[1], chip.codes[400]);
});

t.test('a profile refuses resistances out of range', async (t) => {
  t.throws(() => chipWith({ lineResistanceOhmsPerCell: 101 }), /lineResistanceOhmsPerCell is 101; it is a number from 0 to 100/);
  t.throws(() => chipWith({ multiplexerResistanceOhms: -1 }), /multiplexerResistanceOhms is -1; it is a number from 0 to 1000/);
});
