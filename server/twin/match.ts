import { correlationOf, kolmogorovSmirnov, type SampleDistance } from './distance.js';
import { centralMoment, meanOf } from './moments.js';
import { type RepeatedReads, readsOfCell } from './repeated-reads.js';

/** How well a twin stands for what it was fitted to. */
export interface TwinMatch {
  /** Cells that conduct in both and saturate in neither. */
  readonly cells: number;
  /** Of what each cell conducts here and there; 0 where cells have nothing to do with one another. */
  readonly correlation: number;
  readonly conductances: SampleDistance;
  /** Of reads from the mean of their cell, relative to it. */
  readonly deviations: SampleDistance;
  /** Fraction of the reads that deviate by more than four times the root mean square of all. */
  readonly beyondFourSigma: { readonly source: number; readonly twin: number };
  readonly noiseFraction: { readonly source: number; readonly twin: number };
}

const deviationsMaximum = 500_000;

interface Readings {
  readonly means: ReadonlyMap<number, number>;
  readonly deviations: Float64Array;
}

function readingsOf(reads: RepeatedReads, formedMicrosiemens: number): Readings {
  const means = new Map<number, number>();
  for (let cell = 0; cell < reads.cells; cell += 1) {
    const values = readsOfCell(reads, cell);
    const mean = values === undefined ? 0 : meanOf(values);
    if (reads.unformed?.[cell] !== 1 && mean >= formedMicrosiemens) means.set(cell, mean);
  }
  // Every n-th cell, where there are more than anybody can sort.
  const stride = Math.max(1, Math.ceil((means.size * reads.reads) / deviationsMaximum));
  const scale = Math.sqrt((reads.reads / (reads.reads - 1)) * reads.averages);
  const deviations = [...means].filter((_, index) => index % stride === 0)
    .flatMap(([cell, mean]) => Array.from(readsOfCell(reads, cell) ?? [], (value) => (scale * (value - mean)) / mean));
  return { means, deviations: Float64Array.from(deviations) };
}

const rootMeanSquare = (values: Float64Array) => Math.sqrt(centralMoment(values, 0, 2));

function beyondFourSigma(deviations: Float64Array): number {
  const limit = 4 * rootMeanSquare(deviations);
  return deviations.reduce((count, value) => count + (Math.abs(value) > limit ? 1 : 0), 0) / deviations.length;
}

/** Compares reads of a source and of its twin. Cells at the same index are the same cell. */
export function matchOf(source: RepeatedReads, twin: RepeatedReads, formedMicrosiemens: number): TwinMatch {
  const [here, there] = [readingsOf(source, formedMicrosiemens), readingsOf(twin, formedMicrosiemens)];
  const shared = [...here.means.keys()].filter((cell) => there.means.has(cell));
  return {
    cells: shared.length,
    correlation: correlationOf(shared.map((cell) => here.means.get(cell) as number), shared.map((cell) => there.means.get(cell) as number)),
    conductances: kolmogorovSmirnov(Float64Array.from(here.means.values()), Float64Array.from(there.means.values())),
    deviations: kolmogorovSmirnov(here.deviations, there.deviations),
    beyondFourSigma: { source: beyondFourSigma(here.deviations), twin: beyondFourSigma(there.deviations) },
    noiseFraction: { source: rootMeanSquare(here.deviations), twin: rootMeanSquare(there.deviations) },
  };
}
