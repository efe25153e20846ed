import { sourceLineCount } from '../firmware-protocol/limits.js';
import { MacroError } from '../proto/error.js';

/** The parameters of a simulated chip and board. MODEL.md gives the source or the reason of every value. */
export interface Profile {
  readonly name: string;
  /** Conductance of one step of a cell's 16-bit code. */
  readonly cellUnitNanosiemens: number;
  /** How the cells of a formed chip are drawn: one by one, or as pairs of neighbours with a stated difference. */
  readonly formedLaw: 'cells' | 'pairs';
  readonly formingYieldFraction: number;
  readonly formedMeanMicrosiemens: number;
  readonly formedSdMicrosiemens: number;
  /** Of the conductance of formed cells, and of what a SET leaves. */
  readonly formedSkewness: number;
  /** Voltage at which a pulse of the reference width breaks a pristine cell down. */
  readonly breakdownMeanMillivolts: number;
  readonly breakdownSdMillivolts: number;
  /** How much lower it is for a pulse that is ten times as wide. */
  readonly breakdownMillivoltsPerDecade: number;
  readonly formingReferenceNanoseconds: number;
  /** Compliance that leaves `formedMeanMicrosiemens`; conductance goes with it. */
  readonly complianceReferenceMicroamperes: number;
  /** A cell that is formed so far above its breakdown voltage breaks for good, and then conducts `overFormedMicrosiemens`. */
  readonly overFormingMillivolts: number;
  readonly overFormedMicrosiemens: number;
  readonly neverFormsFraction: number;
  /** Cells that no RESET, and that no SET, moves. */
  readonly stuckOnFraction: number;
  readonly stuckOffFraction: number;
  /** A pulse below the threshold of a cell does not move it, one above threshold and span moves it all the way. */
  readonly resetThresholdMillivolts: number;
  readonly resetThresholdSdMillivolts: number;
  readonly resetSpanMillivolts: number;
  readonly setThresholdMillivolts: number;
  readonly setThresholdSdMillivolts: number;
  readonly setSpanMillivolts: number;
  /** From pulse to pulse, of a cell's threshold. */
  readonly switchingJitterMillivolts: number;
  /** Share of the variance of what a SET leaves that is the cell's own; the rest is drawn anew each time. */
  readonly setCellVarianceFraction: number;
  /** SET and RESET pulses after which a cell no longer moves; 0: it always does. */
  readonly enduranceCycles: number;
  readonly enduranceSdFraction: number;
  /** Relative loss of conductance for each tenfold of the time since the last pulse. */
  readonly driftMeanFractionPerDecade: number;
  readonly driftSdFractionPerDecade: number;
  readonly driftReferenceNanoseconds: number;
  readonly temperatureCelsius: number;
  /** Warmer by so much, time goes twice as fast for drift. */
  readonly driftDoublingCelsius: number;
  /** Cells that jump between two conductances, by how much, and how long the fastest of them stay. */
  readonly telegraphCellFraction: number;
  readonly telegraphAmplitudeFraction: number;
  readonly telegraphDwellNanoseconds: number;
  /** Relative loss of conductance for each second that a cell's bit line is driven for reads. */
  readonly readDisturbFractionPerSecond: number;
  /** Slow states are looked at so often in operation time. */
  readonly ageingStepNanoseconds: number;
  readonly pairDifferenceSdMicrosiemens: number;
  readonly pairMeanSdMicrosiemens: number;
  /** Whether a bundle's weights become cells without rounding or residual (DESIGN §5, `ideal`). */
  readonly exactSnapshots: boolean;
  readonly residualMeanMicrosiemens: number;
  readonly residualSdMicrosiemens: number;
  /** Standard deviation of a cell's read noise, as a fraction of its conductance. */
  readonly readNoiseFraction: number;
  /** How much cells differ in it: relative spread of their noise scale. Its mean square is kept, so the noise of a sum does not change. */
  readonly readNoiseSpread: number;
  /** 32: exact sums; otherwise unsigned codes of so many bits. */
  readonly converterBits: number;
  readonly multiplyFullScaleMicrosiemens: number;
  readonly cellFullScaleMicrosiemens: number;
  readonly readVoltageMillivolts: number;
  readonly settlingNanoseconds: number;
  readonly conversionNanoseconds: number;
  readonly parallelConverters: number;
  readonly conversionEnergyFemtojoules: number;
  /** Envelope of the board: a pulse outside it is refused. */
  readonly formingAmplitudeMaximumMillivolts: number;
  readonly formingWidthMaximumNanoseconds: number;
  readonly formingPulsesPerCellMaximum: number;
  readonly setAmplitudeMaximumMillivolts: number;
  readonly setWidthMaximumNanoseconds: number;
  readonly setPulsesPerCellMaximum: number;
  readonly resetAmplitudeMaximumMillivolts: number;
  readonly resetWidthMaximumNanoseconds: number;
  readonly resetPulsesPerCellMaximum: number;
  readonly complianceMaximumMicroamperes: number;
}

const labHalf: Profile = {
  name: 'lab-half',
  cellUnitNanosiemens: 4,
  formedLaw: 'cells',
  formingYieldFraction: 0.5,
  formedMeanMicrosiemens: 12.34,
  formedSdMicrosiemens: 1.84,
  formedSkewness: 0.54,
  breakdownMeanMillivolts: 3433,
  breakdownSdMillivolts: 114,
  breakdownMillivoltsPerDecade: 100,
  formingReferenceNanoseconds: 1000,
  complianceReferenceMicroamperes: 50,
  overFormingMillivolts: 700,
  overFormedMicrosiemens: 1000,
  neverFormsFraction: 0,
  stuckOnFraction: 0.002,
  stuckOffFraction: 0,
  resetThresholdMillivolts: 1000,
  resetThresholdSdMillivolts: 60,
  resetSpanMillivolts: 600,
  setThresholdMillivolts: 900,
  setThresholdSdMillivolts: 60,
  setSpanMillivolts: 600,
  switchingJitterMillivolts: 20,
  setCellVarianceFraction: 0.3,
  enduranceCycles: 0,
  enduranceSdFraction: 0.2,
  driftMeanFractionPerDecade: 0.001,
  driftSdFractionPerDecade: 0.002,
  driftReferenceNanoseconds: 1000,
  temperatureCelsius: 25,
  driftDoublingCelsius: 10,
  telegraphCellFraction: 0,
  telegraphAmplitudeFraction: 0,
  telegraphDwellNanoseconds: 1_000_000_000,
  readDisturbFractionPerSecond: 0,
  ageingStepNanoseconds: 100_000_000,
  pairDifferenceSdMicrosiemens: 6.352,
  pairMeanSdMicrosiemens: 3.18,
  exactSnapshots: false,
  residualMeanMicrosiemens: 0.5,
  residualSdMicrosiemens: 0.3,
  readNoiseFraction: 0.02,
  readNoiseSpread: 0.26,
  converterBits: 14,
  multiplyFullScaleMicrosiemens: 2500,
  cellFullScaleMicrosiemens: 102.4,
  readVoltageMillivolts: 100,
  settlingNanoseconds: 2000,
  conversionNanoseconds: 20_000,
  parallelConverters: 8,
  conversionEnergyFemtojoules: 500_000_000,
  formingAmplitudeMaximumMillivolts: 4000,
  formingWidthMaximumNanoseconds: 1_000_000,
  formingPulsesPerCellMaximum: 256,
  setAmplitudeMaximumMillivolts: 2500,
  setWidthMaximumNanoseconds: 1_000_000,
  setPulsesPerCellMaximum: 20,
  resetAmplitudeMaximumMillivolts: 2500,
  resetWidthMaximumNanoseconds: 1_000_000,
  resetPulsesPerCellMaximum: 100,
  complianceMaximumMicroamperes: 200,
};

const labFull: Profile = { ...labHalf, name: 'lab-full', formingYieldFraction: 1 };
/** What the published bundle assumes: nothing of a cell is uncertain but what PRIME §6 states. */
const labPaper: Profile = {
  ...labHalf,
  name: 'lab-paper',
  formedLaw: 'pairs',
  formingYieldFraction: 1,
  formedSkewness: 0,
  stuckOnFraction: 0,
  driftMeanFractionPerDecade: 0,
  driftSdFractionPerDecade: 0,
  readNoiseSpread: 0,
};
const ideal: Profile = {
  ...labPaper,
  name: 'ideal',
  cellUnitNanosiemens: 1,
  exactSnapshots: true,
  residualMeanMicrosiemens: 0,
  residualSdMicrosiemens: 0,
  resetThresholdMillivolts: 0,
  resetThresholdSdMillivolts: 0,
  resetSpanMillivolts: 1,
  setThresholdMillivolts: 0,
  setThresholdSdMillivolts: 0,
  setSpanMillivolts: 1,
  switchingJitterMillivolts: 0,
  breakdownSdMillivolts: 0,
  readNoiseFraction: 0,
  converterBits: 32,
};

const quiet = (profile: Profile): Profile => ({ ...profile, name: `${profile.name}-quiet`, readNoiseFraction: 0 });

const profiles: ReadonlyMap<string, Profile> = new Map(
  [ideal, labHalf, labFull, labPaper, quiet(labHalf), quiet(labFull), quiet(labPaper)].map((profile) => [profile.name, profile]),
);
const aliases: ReadonlyMap<string, string> = new Map([['lab', 'lab-half'], ['lab-quiet', 'lab-half-quiet']]);

export const profileNames: readonly string[] = [...profiles.keys(), ...aliases.keys()];

/** @throws MacroError BAD_PROFILE */
export function profileNamed(name: string): Profile {
  const profile = profiles.get(aliases.get(name) ?? name);
  if (profile === undefined) throw new MacroError('BAD_PROFILE', `there is no profile "${name}"; there are ${profileNames.join(', ')}`, { field: 'profile' });
  return profile;
}

interface Bounds {
  readonly minimum: number;
  readonly maximum: number;
  readonly integer?: true;
}

/** What a profile file may set, and how far. Names and exactness are not parameters of physics. */
const bounds: Readonly<Record<string, Bounds>> = {
  formingYieldFraction: { minimum: 0, maximum: 1 },
  formedMeanMicrosiemens: { minimum: 0, maximum: 100 },
  formedSdMicrosiemens: { minimum: 0, maximum: 50 },
  formedSkewness: { minimum: 0, maximum: 2 },
  breakdownMeanMillivolts: { minimum: 500, maximum: 10_000 },
  breakdownSdMillivolts: { minimum: 0, maximum: 2000 },
  breakdownMillivoltsPerDecade: { minimum: 0, maximum: 1000 },
  formingReferenceNanoseconds: { minimum: 1, maximum: 1e9, integer: true },
  complianceReferenceMicroamperes: { minimum: 1, maximum: 1000 },
  overFormingMillivolts: { minimum: 0, maximum: 10_000 },
  overFormedMicrosiemens: { minimum: 0, maximum: 100_000 },
  neverFormsFraction: { minimum: 0, maximum: 1 },
  stuckOnFraction: { minimum: 0, maximum: 1 },
  stuckOffFraction: { minimum: 0, maximum: 1 },
  resetThresholdMillivolts: { minimum: 0, maximum: 10_000 },
  resetThresholdSdMillivolts: { minimum: 0, maximum: 2000 },
  resetSpanMillivolts: { minimum: 1, maximum: 10_000 },
  setThresholdMillivolts: { minimum: 0, maximum: 10_000 },
  setThresholdSdMillivolts: { minimum: 0, maximum: 2000 },
  setSpanMillivolts: { minimum: 1, maximum: 10_000 },
  switchingJitterMillivolts: { minimum: 0, maximum: 2000 },
  setCellVarianceFraction: { minimum: 0, maximum: 1 },
  enduranceCycles: { minimum: 0, maximum: 1e9, integer: true },
  enduranceSdFraction: { minimum: 0, maximum: 1 },
  driftMeanFractionPerDecade: { minimum: -0.1, maximum: 0.1 },
  driftSdFractionPerDecade: { minimum: 0, maximum: 0.1 },
  driftReferenceNanoseconds: { minimum: 1, maximum: 1e12, integer: true },
  temperatureCelsius: { minimum: -40, maximum: 150 },
  driftDoublingCelsius: { minimum: 1, maximum: 1000 },
  telegraphCellFraction: { minimum: 0, maximum: 1 },
  telegraphAmplitudeFraction: { minimum: 0, maximum: 1 },
  telegraphDwellNanoseconds: { minimum: 1000, maximum: 1e15, integer: true },
  readDisturbFractionPerSecond: { minimum: 0, maximum: 1 },
  ageingStepNanoseconds: { minimum: 1000, maximum: 1e15, integer: true },
  pairDifferenceSdMicrosiemens: { minimum: 0, maximum: 50 },
  pairMeanSdMicrosiemens: { minimum: 0, maximum: 50 },
  residualMeanMicrosiemens: { minimum: 0, maximum: 50 },
  residualSdMicrosiemens: { minimum: 0, maximum: 50 },
  readNoiseFraction: { minimum: 0, maximum: 1 },
  readNoiseSpread: { minimum: 0, maximum: 2 },
  multiplyFullScaleMicrosiemens: { minimum: 100, maximum: 100_000 },
  cellFullScaleMicrosiemens: { minimum: 70, maximum: 1000 },
  readVoltageMillivolts: { minimum: 1, maximum: 500, integer: true },
  settlingNanoseconds: { minimum: 0, maximum: 1e9, integer: true },
  conversionNanoseconds: { minimum: 1, maximum: 1e9, integer: true },
  parallelConverters: { minimum: 1, maximum: sourceLineCount, integer: true },
  conversionEnergyFemtojoules: { minimum: 0, maximum: 1e12, integer: true },
  formingAmplitudeMaximumMillivolts: { minimum: 0, maximum: 10_000, integer: true },
  formingWidthMaximumNanoseconds: { minimum: 0, maximum: 1e9, integer: true },
  formingPulsesPerCellMaximum: { minimum: 0, maximum: 20_000, integer: true },
  setAmplitudeMaximumMillivolts: { minimum: 0, maximum: 5000, integer: true },
  setWidthMaximumNanoseconds: { minimum: 0, maximum: 1e9, integer: true },
  setPulsesPerCellMaximum: { minimum: 0, maximum: 20_000, integer: true },
  resetAmplitudeMaximumMillivolts: { minimum: 0, maximum: 5000, integer: true },
  resetWidthMaximumNanoseconds: { minimum: 0, maximum: 1e9, integer: true },
  resetPulsesPerCellMaximum: { minimum: 0, maximum: 20_000, integer: true },
  complianceMaximumMicroamperes: { minimum: 0, maximum: 10_000, integer: true },
};

function checkField(field: string, value: unknown): number {
  const bound = bounds[field];
  if (bound === undefined) {
    throw new MacroError('BAD_PROFILE', `"${field}" is not a field of a profile; fields are ${Object.keys(bounds).join(', ')}`, { field });
  }
  const { minimum, maximum, integer } = bound;
  const isNumber = typeof value === 'number' && value >= minimum && value <= maximum && (integer !== true || Number.isInteger(value));
  if (!isNumber) {
    const kind = integer === true ? 'an integer' : 'a number';
    throw new MacroError('BAD_PROFILE', `${field} is ${JSON.stringify(value)}; it is ${kind} from ${minimum} to ${maximum}`, { field });
  }
  return value;
}

/**
 * A profile with some fields replaced, as a profile file states them.
 * @throws MacroError BAD_PROFILE, naming the field and its range
 */
export function overrideProfile(profile: Profile, overrides: unknown): Profile {
  if (typeof overrides !== 'object' || overrides === null || Array.isArray(overrides)) {
    throw new MacroError('BAD_PROFILE', 'a profile file holds one JSON object');
  }
  const checked = Object.fromEntries(Object.entries(overrides).map(([field, value]) => [field, checkField(field, value)]));
  return { ...profile, ...checked };
}
