import type { Envelope, Pulse, PulseKind, PulseLimits, Staircase } from '../proto/message.js';
import { formingFromMillivolts } from './forming.js';
import type { Profile } from './profile.js';
import { switchingFromMillivolts } from './switching.js';
import { Refusal } from './task.js';

/** Cells that one pulse reaches: this board drives one bit line and one source line at a time. */
const cellsAtOnce = 1;

/** What the board lets through to a cell. */
export function envelopeOf(profile: Profile): Envelope {
  const { complianceMaximumMicroamperes, totalCurrentMaximumMicroamperes } = profile;
  const common = { complianceMaximumMicroamperes, totalCurrentMaximumMicroamperes, cellsAtOnce };
  return {
    temperature: { minimumCelsius: profile.temperatureMinimumCelsius, maximumCelsius: profile.temperatureMaximumCelsius },
    forming: {
      ...common,
      amplitudeMaximumMillivolts: profile.formingAmplitudeMaximumMillivolts,
      widthMaximumNanoseconds: profile.formingWidthMaximumNanoseconds,
      pulsesPerCell: profile.formingPulsesPerCellMaximum,
      movesFromMillivolts: formingFromMillivolts(profile),
    },
    set: {
      ...common,
      amplitudeMaximumMillivolts: profile.setAmplitudeMaximumMillivolts,
      widthMaximumNanoseconds: profile.setWidthMaximumNanoseconds,
      pulsesPerCell: profile.setPulsesPerCellMaximum,
      movesFromMillivolts: switchingFromMillivolts('set', profile),
    },
    reset: {
      ...common,
      amplitudeMaximumMillivolts: profile.resetAmplitudeMaximumMillivolts,
      widthMaximumNanoseconds: profile.resetWidthMaximumNanoseconds,
      pulsesPerCell: profile.resetPulsesPerCellMaximum,
      movesFromMillivolts: switchingFromMillivolts('reset', profile),
    },
  };
}

/** Why a number of a pulse is refused. */
export function outside(field: string, value: number, minimum: number, maximum: number): Refusal | undefined {
  return value >= minimum && value <= maximum ? undefined : new Refusal('PULSE_REFUSED', `${field} is ${value}; the range is ${minimum} to ${maximum}`);
}

/** Why the cells that a pulse reaches might draw too much together. Where no compliance limits them, the driver of the line does (conduction.ts). */
export function totalProblem(complianceMicroamperes: number, { cellsAtOnce: cells, totalCurrentMaximumMicroamperes }: PulseLimits): Refusal | undefined {
  return outside('totalCurrentMicroamperes', complianceMicroamperes * cells, 0, totalCurrentMaximumMicroamperes);
}

/** Why no pulse may be given now. */
export function temperatureProblem({ temperatureCelsius, temperatureMinimumCelsius, temperatureMaximumCelsius }: Profile): Refusal | undefined {
  return outside('temperatureCelsius', temperatureCelsius, temperatureMinimumCelsius, temperatureMaximumCelsius);
}

/** Why a pulse may not reach a cell, naming the field and its range. */
export function pulseProblem(kind: PulseKind, pulse: Pulse | null | undefined, profile: Profile): Refusal | undefined {
  if (!pulse) return new Refusal('REQUEST_INVALID', `the ${kind} pulse is missing`);
  const limits = envelopeOf(profile)[kind];
  // Without a limit of current a cell that forms or is SET would run away; a RESET is limited by the cell itself.
  const complianceMinimum = kind === 'reset' ? 0 : 1;
  return outside('amplitudeMillivolts', pulse.amplitudeMillivolts, 1, limits.amplitudeMaximumMillivolts)
    ?? outside('widthNanoseconds', pulse.widthNanoseconds, 1, limits.widthMaximumNanoseconds)
    ?? outside('complianceMicroamperes', pulse.complianceMicroamperes, complianceMinimum, limits.complianceMaximumMicroamperes)
    ?? totalProblem(pulse.complianceMicroamperes, limits)
    ?? temperatureProblem(profile);
}

export function staircaseProblem(kind: PulseKind, staircase: Staircase | null | undefined, profile: Profile): Refusal | undefined {
  if (!staircase) return new Refusal('REQUEST_INVALID', `the ${kind} staircase is missing`);
  const { first, stepMillivolts, lastMillivolts } = staircase;
  return pulseProblem(kind, first, profile)
    ?? outside('stepMillivolts', stepMillivolts, 1, envelopeOf(profile)[kind].amplitudeMaximumMillivolts)
    ?? outside('lastMillivolts', lastMillivolts, first.amplitudeMillivolts, envelopeOf(profile)[kind].amplitudeMaximumMillivolts);
}

/** The pulse of a staircase after so many steps; the last one where there are no more. */
export function stairOf({ first, stepMillivolts, lastMillivolts }: Staircase, step: number): Pulse {
  const { amplitudeMillivolts, widthNanoseconds, complianceMicroamperes } = first;
  return { amplitudeMillivolts: Math.min(lastMillivolts, amplitudeMillivolts + step * stepMillivolts), widthNanoseconds, complianceMicroamperes };
}
