// The array with resistance of lines: one solve, one line of the effective matrix, and what a multiply costs with it.
import { Chip } from '../../sim/chip.js';
import { type Crossbar, CrossbarSolver, useSweeps } from '../../sim/line-resistance.js';
import { Macro } from '../../sim/macro.js';
import { compiledLineSweeps } from '../../sim/process/line-program.js';
import { overrideProfile, profileNamed } from '../../sim/profile.js';
import type { Figure, Subject } from './measure.js';

const lines = 512;
const solvesPerWindow = 5;
const columnsPerWindow = 16;
const readMilliseconds = 50;
const readWindows = 100;

/** A generator of its own, so that every run solves the same array. */
function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
}

/** G ~ N(25, 8) µS, cut to 1–50 µS; 1 ohm a cell on both lines. */
function benchCrossbar(): Crossbar {
  const next = uniform(1);
  const deviate = () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
  const conductancesSiemens = Float64Array.from({ length: lines * lines }, () => Math.min(50, Math.max(1, 25 + 8 * deviate())) * 1e-6);
  return { bitLineCount: lines, sourceLineCount: lines, conductancesSiemens, bitLineOhmsPerCell: 1, sourceLineOhmsPerCell: 1, driverOhms: 0 };
}

const halfDriven = Array.from({ length: lines }, (_, bitLine) => bitLine % 2);

function assertCurrents(solver: CrossbarSolver): void {
  const exact = solver.currents(halfDriven, { residualFraction: 1e-13, iterationLimit: 1000 });
  const error = Math.max(...solver.currents(halfDriven).map((current, line) => Math.abs(current / exact[line] - 1)));
  if (!(error <= 1e-6)) throw new Error(`currents are off by ${error} of themselves; the row is for 1e-6`);
}

/** Each solve begins with conductances, as if the array had just changed. */
function solves(): Subject {
  const solver = new CrossbarSolver(benchCrossbar(), compiledLineSweeps());
  assertCurrents(solver);
  const window = async () => {
    const start = performance.now();
    for (let index = 0; index < solvesPerWindow; index += 1) {
      solver.refresh();
      solver.currents(halfDriven);
    }
    return (performance.now() - start) / solvesPerWindow;
  };
  return { name: 'solve', window, close: async () => undefined };
}

function columns(): Subject {
  const solver = new CrossbarSolver(benchCrossbar(), compiledLineSweeps());
  const window = async () => {
    const start = performance.now();
    for (let index = 0; index < columnsPerWindow; index += 1) solver.effectiveColumn((index * lines) / columnsPerWindow);
    return (performance.now() - start) / columnsPerWindow;
  };
  return { name: 'column', window, close: async () => undefined };
}

/** Multiplies per second of 256 driven bit lines by 64 source lines. */
function multiplies(name: string, lineResistanceOhmsPerCell: number): Subject {
  const macro = new Macro(Chip.formed(overrideProfile(profileNamed('lab-paper'), { lineResistanceOhmsPerCell }), 1));
  const cells = macro.tile({ firstBitLine: 0, bitLineCount: lines, sourceLines: Array.from({ length: 64 }, (_, line) => line) });
  const rows = Int32Array.from({ length: 256 }, (_, index) => 2 * index);
  const out = new Int32Array(64);
  const window = async () => {
    const start = performance.now();
    let done = 0;
    for (; performance.now() - start < readMilliseconds; done += 1) {
      macro.multiply(cells, rows, rows.length, 0, { inferenceNumber: 0, timestep: 0, tile: 0 }, done, 0, out);
    }
    return (done * 1000) / (performance.now() - start);
  };
  return { name, window, close: async () => undefined };
}

export const lineResistanceFigures: readonly Figure[] = [
  { name: 'ir-drop-solve', unit: 'ms', better: 'lower', open: async () => ({ subject: solves() }) },
  { name: 'ir-drop-column', unit: 'ms', better: 'lower', open: async () => ({ subject: columns() }) },
  {
    name: 'ir-drop-read',
    unit: 'multiplies/s',
    better: 'higher',
    windowCount: readWindows,
    async open() {
      useSweeps(compiledLineSweeps());
      return { subject: multiplies('with resistance', 1), baseline: multiplies('without', 0) };
    },
  },
];
