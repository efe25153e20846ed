import { type StopRule, thresholdQ24 } from '../../firmware-protocol/numerics/index.js';
import { type Course, type Frontier, frontierAt, judge, type Judgement, stopOf } from './course.js';
import { acrossHalves, fitThreshold, type HalvesOptions, type HalvesReport, type Shape, shapes } from './fit.js';
import { type Threshold, thresholdLimits } from './policy.js';

/** A recording that a device has looked at to the end, and what each timestep took. */
export interface SweptRun extends Course {
  readonly conversions: readonly number[];
  readonly energyNanojoules: number;
}

export interface SweepPoint extends Frontier {
  /** null: all timesteps. */
  readonly threshold: Threshold | null;
  /** Mean a recording: of each the part of its energy that its conversions up to the stop are of all. */
  readonly energyNanojoules: number;
}

export interface SweepOptions extends HalvesOptions {
  readonly temperature: number;
  readonly membraneUnitsPerNetworkUnit: number;
}

/** What one rule can do on these recordings. */
export interface RuleSweep {
  readonly rule: StopRule;
  readonly points: readonly SweepPoint[];
  /** Calibrated to the accuracy that may be lost: fitted on all of them; and fitted on one half and tried on the other. */
  readonly fits: readonly { readonly shape: Shape; readonly fitted: SweepPoint; readonly halves: HalvesReport }[];
}

const pointCount = 19;

/** Round thresholds from one end of what can be to the other. */
function roundThresholds(judgements: readonly Judgement[], rule: StopRule): number[] {
  const seen = Math.max(...judgements.flatMap(({ confidencesQ24 }) => confidencesQ24)) / 2 ** 24;
  const step = rule === 'margin' ? Math.max(0.05, Math.ceil((20 * Math.min(seen, thresholdLimits[rule])) / (pointCount + 1)) / 20) : 1 / (pointCount + 1);
  return Array.from({ length: pointCount }, (_, index) => Math.round((index + 1) * step * 1000) / 1000);
}

function energyAt(runs: readonly SweptRun[], judgements: readonly Judgement[], threshold: Threshold | null): number {
  const thresholdsQ24 = [threshold ?? Number.POSITIVE_INFINITY].flat().map(thresholdQ24);
  const total = (conversions: readonly number[]) => conversions.reduce((sum, count) => sum + count, 0);
  const spent = runs.map(({ conversions, energyNanojoules }, index) =>
    (energyNanojoules * total(conversions.slice(0, stopOf(judgements[index], thresholdsQ24)))) / Math.max(1, total(conversions)));
  return total(spent) / runs.length;
}

/**
 * The frontier of one rule: what it would have answered, when, and at what cost, under each threshold. Decisions are those that a device would take.
 * @param runs with all their timesteps
 */
export function sweepRule(runs: readonly SweptRun[], rule: StopRule, options: SweepOptions): RuleSweep {
  const { temperature, membraneUnitsPerNetworkUnit, accuracyLoss } = options;
  const judgements = judge(runs, rule, { temperature, membraneUnitsPerNetworkUnit });
  const pointAt = (threshold: Threshold | null): SweepPoint =>
    ({ threshold, ...frontierAt(judgements, threshold ?? undefined), energyNanojoules: energyAt(runs, judgements, threshold) });
  return {
    rule, points: [...roundThresholds(judgements, rule).map(pointAt), pointAt(null)],
    fits: shapes.map((shape) => ({
      shape, fitted: pointAt(fitThreshold(judgements, rule, accuracyLoss, shape)), halves: acrossHalves(judgements, rule, shape, options),
    })),
  };
}
