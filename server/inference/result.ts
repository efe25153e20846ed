import type { StopRule } from '../../firmware-protocol/numerics/index.js';
import { type AuditReport, auditOf } from '../early-stop/audit.js';
import type { Threshold } from '../early-stop/policy.js';
import type { Recalibration } from '../array/recalibration.js';

/** What the conversions of one layer did over one recording. */
export interface LayerTally {
  readonly name: string;
  readonly conversions: number;
  readonly saturations: number;
  readonly spikes: number;
}

/** The answer to one recording, in the order and spelling that other programs read. */
export interface Decision {
  readonly input: string;
  readonly label: number | null;
  /** Class with the largest mean output. */
  readonly prediction: number;
  /** Counts from 1. */
  readonly stoppedAtTimestep: number;
  /** Largest softmax probability at the stop, rounded to 6 decimals. */
  readonly confidence: number;
  /** Time mean of the output membranes up to the stop, network units, rounded to 6 decimals. */
  readonly outputMean: readonly number[];
  readonly clippedEvents: number;
}

/** A decision and what it cost. `warnings`: codes of what makes the decision doubtful. */
export interface InferenceRow extends Decision {
  readonly layers: readonly LayerTally[];
  readonly operationNanoseconds: number;
  readonly energyFemtojoules: number;
  readonly warnings: readonly string[];
  /** Where asked for: the output membranes of each timestep, membrane units, and the conversions that it took. */
  readonly timesteps?: readonly { readonly membranes: readonly number[]; readonly conversions: number }[];
  /** Of a recording that was drawn for an audit: the answer after its last timestep. Its time and energy are those of all timesteps. */
  readonly predictionAtEnd?: number;
}

export interface Summary {
  readonly recordings: number;
  readonly failed: number;
  /** Share of the labelled recordings that were read right; null where none has a label. */
  readonly accuracy: number | null;
  readonly meanTimesteps: number;
  /** 1 − mean timesteps / T. */
  readonly savedFraction: number;
  readonly saturatedFraction: number;
  /** Mean a recording. */
  readonly energyNanojoules: number;
  /** Operation time of the simulated or real device, all recordings. */
  readonly executionSeconds: number;
  readonly saturatedFractionByLayer: Readonly<Record<string, number>>;
}

/** The figures of a run, and under what it was run. */
export interface RunSummary extends Summary {
  readonly rule: StopRule;
  /** Confidence that it stopped at, or one for each timestep; null: no early stop. */
  readonly threshold: Threshold | null;
  /** Of the output layer; what rows tell of timesteps is in these. */
  readonly membraneUnitsPerNetworkUnit: number;
  /** What the early stop cost and saved, where it was audited. */
  readonly audit: AuditReport | null;
  /** What makes all of its decisions doubtful, for people. */
  readonly warnings: readonly string[];
  /** What became of the calibration of the chip, where its mask had to be applied. */
  readonly calibration: Recalibration | null;
  readonly objects: Readonly<Record<string, string>>;
}

/** More saturated conversions than this in a layer make a result doubtful (NUMERICS.md). */
export const saturationWarningFraction = 0.001;

export const roundSixDecimals = (value: number): number => Math.round(value * 1e6) / 1e6;

const fractionOf = (part: number, whole: number) => (whole === 0 ? 0 : roundSixDecimals(part / whole));

export function saturationWarnings(layers: readonly LayerTally[]): string[] {
  const saturated = layers.filter(({ saturations, conversions }) => saturations > saturationWarningFraction * conversions);
  return saturated.map(({ name, saturations, conversions }) => `layer ${name}: ${saturations} of ${conversions} conversions saturated`);
}

function tallyLayers(rows: readonly InferenceRow[]): LayerTally[] {
  const first = rows[0]?.layers ?? [];
  const sum = (layer: number, count: Exclude<keyof LayerTally, 'name'>) => rows.reduce((total, row) => total + row.layers[layer][count], 0);
  return first.map(({ name }, layer) => ({
    name,
    conversions: sum(layer, 'conversions'),
    saturations: sum(layer, 'saturations'),
    spikes: sum(layer, 'spikes'),
  }));
}

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

/**
 * The figures of a finished run, a pure function of its rows, so that a run that was taken up again ends with the same summary.
 *
 * @param failed recordings that were refused and have no row
 */
export function summarise(rows: readonly InferenceRow[], timestepCount: number, failed = 0): Summary {
  const labelled = rows.filter(({ label }) => label !== null);
  const right = labelled.filter(({ label, prediction }) => label === prediction);
  const layers = tallyLayers(rows);
  const timesteps = total(rows.map((row) => row.stoppedAtTimestep));
  const conversions = total(layers.map((layer) => layer.conversions));
  return {
    recordings: rows.length + failed,
    failed,
    accuracy: labelled.length === 0 ? null : fractionOf(right.length, labelled.length),
    meanTimesteps: fractionOf(timesteps, rows.length),
    savedFraction: rows.length === 0 ? 0 : roundSixDecimals(1 - timesteps / rows.length / timestepCount),
    saturatedFraction: fractionOf(total(layers.map((layer) => layer.saturations)), conversions),
    energyNanojoules: fractionOf(total(rows.map((row) => row.energyFemtojoules)), rows.length * 1e6),
    executionSeconds: total(rows.map((row) => row.operationNanoseconds)) / 1e9,
    saturatedFractionByLayer: Object.fromEntries(layers.map((layer) => [layer.name, fractionOf(layer.saturations, layer.conversions)])),
  };
}

/** What an early stop cost and saved, by the rows of recordings that were run on behind it. */
export function auditOfRows(rows: readonly InferenceRow[], timestepCount: number, fraction: number): AuditReport | null {
  const runs = rows.flatMap(({ label, stoppedAtTimestep, prediction, predictionAtEnd }) =>
    (predictionAtEnd === undefined ? [] : [{ label, stoppedAtTimestep, predictionAtStop: prediction, predictionAtEnd }]));
  return auditOf(runs, timestepCount, fraction);
}

/** A decision alone, in the order in which it is printed. */
export function decisionOf({ input, label, prediction, stoppedAtTimestep, confidence, outputMean, clippedEvents }: Decision): Decision {
  return { input, label, prediction, stoppedAtTimestep, confidence, outputMean, clippedEvents };
}
