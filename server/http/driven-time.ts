import type { Static } from 'typebox';
import type { WearCounts } from '../../driver/index.js';
import { bitLineCount } from '../../firmware-protocol/limits.js';
import { voltageStepCount, voltageStepMillivolts } from '../../proto/voltage-step.js';
import type { drivenAtSchema } from './schemas.js';

export const millisecondsOf = (nanoseconds: number) => nanoseconds / 1e6;

const sumOf = (nanoseconds: Float64Array) => nanoseconds.reduce((sum, value) => sum + value, 0);

/** How long each bit line was driven, at whatever voltage. */
export function drivenMilliseconds({ drivenNanoseconds }: WearCounts): number[] {
  return Array.from({ length: bitLineCount }, (_, line) =>
    millisecondsOf(sumOf(drivenNanoseconds.subarray(line * voltageStepCount, (line + 1) * voltageStepCount))));
}

/** How long bit lines were driven at the voltages of a step. */
function drivenAt({ drivenNanoseconds }: WearCounts, step: number, withLines: boolean): Static<typeof drivenAtSchema> {
  const lines = Float64Array.from({ length: bitLineCount }, (_, line) => drivenNanoseconds[line * voltageStepCount + step]);
  const longest = Math.max(...lines);
  const bitLine = lines.indexOf(longest);
  return {
    fromMillivolts: step * voltageStepMillivolts,
    toMillivolts: step === voltageStepCount - 1 ? null : (step + 1) * voltageStepMillivolts,
    drivenMilliseconds: millisecondsOf(sumOf(lines)),
    longest: { bitLine, drivenMilliseconds: millisecondsOf(longest) },
    ...(withLines && { bitLines: Array.from(lines, millisecondsOf) }),
  };
}

/** Voltages at which some bit line was driven, from the lowest on. */
export function drivenByVoltage(counts: WearCounts, withLines: boolean): Static<typeof drivenAtSchema>[] {
  const steps = Array.from({ length: voltageStepCount }, (_, step) => drivenAt(counts, step, withLines));
  return steps.filter((step) => step.drivenMilliseconds > 0);
}
