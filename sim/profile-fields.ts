import { sourceLineCount } from '../firmware-protocol/limits.js';

/** A number that a profile file may set. */
export interface ProfileField {
  readonly minimum: number;
  readonly maximum: number;
  readonly integer?: true;
  /** In its unit, which its name says. MODEL.md gives source and reason of its values. */
  readonly means: string;
}

/** Every parameter of the physics and of the board that is a number. */
export const profileFields = {
  formingYieldFraction: { minimum: 0, maximum: 1, means: 'Fraction of the cells of a formed chip that are formed: those with the lowest breakdown voltage.' },
  formedMeanMicrosiemens: { minimum: 0, maximum: 100, means: 'Mean conductance of formed cells, and of what a full SET leaves, at the reference compliance.' },
  formedSdMicrosiemens: { minimum: 0, maximum: 50, means: 'Its standard deviation.' },
  formedSkewness: { minimum: 0, maximum: 2, means: 'Its skewness.' },
  breakdownMeanMillivolts: { minimum: 500, maximum: 10_000, means: 'Mean voltage at which a pulse of the reference width breaks a pristine cell down.' },
  breakdownSdMillivolts: { minimum: 0, maximum: 2000, means: 'Its standard deviation from cell to cell.' },
  breakdownMillivoltsPerDecade: { minimum: 0, maximum: 1000, means: 'How much lower it is for a pulse that is ten times as wide.' },
  formingReferenceNanoseconds: { minimum: 1, maximum: 1e9, integer: true, means: 'Reference width of forming pulses.' },
  complianceReferenceMicroamperes: { minimum: 1, maximum: 1000, means: 'Compliance that leaves the mean conductance; conductance goes with it.' },
  overFormingMillivolts: { minimum: 0, maximum: 10_000, means: 'A cell that is formed so far above its breakdown voltage breaks for good.' },
  overFormedMicrosiemens: { minimum: 0, maximum: 100_000, means: 'What a broken cell conducts.' },
  neverFormsFraction: { minimum: 0, maximum: 1, means: 'Fraction of the cells that no pulse forms.' },
  stuckOnFraction: { minimum: 0, maximum: 1, means: 'Fraction of the cells that no RESET moves.' },
  stuckOffFraction: { minimum: 0, maximum: 1, means: 'Fraction of the cells that no SET moves.' },
  resetThresholdMillivolts: { minimum: 0, maximum: 10_000, means: 'Mean amplitude below which a RESET does not move a cell.' },
  resetThresholdSdMillivolts: { minimum: 0, maximum: 2000, means: 'Its standard deviation from cell to cell.' },
  resetSpanMillivolts: { minimum: 1, maximum: 10_000, means: 'So far above its threshold a RESET moves a cell all the way.' },
  setThresholdMillivolts: { minimum: 0, maximum: 10_000, means: 'Mean amplitude below which a SET does not move a cell.' },
  setThresholdSdMillivolts: { minimum: 0, maximum: 2000, means: 'Its standard deviation from cell to cell.' },
  setSpanMillivolts: { minimum: 1, maximum: 10_000, means: 'So far above its threshold a SET moves a cell all the way.' },
  switchingJitterMillivolts: { minimum: 0, maximum: 2000, means: 'Standard deviation of a threshold from pulse to pulse.' },
  setCellVarianceFraction: { minimum: 0, maximum: 1, means: 'Share of the variance of what a SET leaves that is the cell’s own; the rest is new.' },
  enduranceCycles: { minimum: 0, maximum: 1e9, integer: true, means: 'SET and RESET pulses after which a cell no longer moves; 0: it always does.' },
  enduranceSdFraction: { minimum: 0, maximum: 1, means: 'Its relative standard deviation from cell to cell.' },
  driftMeanFractionPerDecade: { minimum: -0.1, maximum: 0.1, means: 'Mean relative loss of conductance for each tenfold of the time since the last pulse.' },
  driftSdFractionPerDecade: { minimum: 0, maximum: 0.1, means: 'Its standard deviation from cell to cell and pulse to pulse.' },
  driftReferenceNanoseconds: { minimum: 1, maximum: 1e12, integer: true, means: 'Time after a pulse at which drift begins to count.' },
  temperatureCelsius: { minimum: -40, maximum: 150, means: 'Temperature of the chip.' },
  driftDoublingCelsius: { minimum: 1, maximum: 1000, means: 'Warmer by so much, time goes twice as fast for drift.' },
  telegraphCellFraction: { minimum: 0, maximum: 1, means: 'Fraction of the cells that jump between two conductances.' },
  telegraphAmplitudeFraction: { minimum: 0, maximum: 1, means: 'How much lower the lower of them is, relative to the upper.' },
  telegraphDwellNanoseconds: { minimum: 1000, maximum: 1e15, integer: true, means: 'How long the fastest of them stay; others up to 128 times as long.' },
  readDisturbFractionPerSecond: { minimum: 0, maximum: 1, means: 'Relative loss of conductance for each second that a bit line is driven for reads.' },
  halfSelectDisturbFraction: { minimum: 0, maximum: 1, means: 'Relative loss of conductance for each pulse on another cell of the same word line.' },
  ageingStepNanoseconds: { minimum: 1000, maximum: 1e15, integer: true, means: 'How often slow states are looked at in operation time, at first.' },
  pairDifferenceSdMicrosiemens: { minimum: 0, maximum: 50, means: 'Standard deviation of the difference of a pair, where cells are drawn in pairs.' },
  pairMeanSdMicrosiemens: { minimum: 0, maximum: 50, means: 'Standard deviation of the mean of a pair.' },
  residualMeanMicrosiemens: { minimum: 0, maximum: 50, means: 'Mean conductance after a full RESET.' },
  residualSdMicrosiemens: { minimum: 0, maximum: 50, means: 'Its standard deviation from cell to cell and pulse to pulse.' },
  readNoiseFraction: { minimum: 0, maximum: 1, means: 'Standard deviation of read noise, relative to conductance; root mean square of all cells.' },
  readNoiseSpread: { minimum: 0, maximum: 2, means: 'How much cells differ in it: relative spread of their noise scale.' },
  multiplyFullScaleMicrosiemens: { minimum: 100, maximum: 100_000, means: 'Full scale of the converter for multiplies.' },
  cellFullScaleMicrosiemens: { minimum: 70, maximum: 1000, means: 'Full scale of the converter for single cells.' },
  ivNonlinearityMillivolts: {
    minimum: 0, maximum: 10_000, integer: true,
    means: 'Voltage from which on the current of a cell rises faster than in proportion: that of a hyperbolic sine; 0: it is ohmic.',
  },
  readVoltageMillivolts: { minimum: 1, maximum: 500, integer: true, means: 'Voltage on a driven bit line.' },
  settlingNanoseconds: { minimum: 0, maximum: 1e9, integer: true, means: 'Settling time of lines, before conversions and around a pulse.' },
  conversionNanoseconds: { minimum: 1, maximum: 1e9, integer: true, means: 'Duration of one conversion.' },
  parallelConverters: { minimum: 1, maximum: sourceLineCount, integer: true, means: 'Source lines that are converted at once.' },
  channelGainSdFraction: { minimum: 0, maximum: 0.2, means: 'Relative standard deviation of gain from converter to converter.' },
  channelOffsetSdCodes: { minimum: 0, maximum: 100, means: 'Standard deviation of offset from converter to converter, in ADC codes.' },
  conversionEnergyFemtojoules: { minimum: 0, maximum: 1e12, integer: true, means: 'Energy of one conversion.' },
  lineResistanceOhmsPerCell: { minimum: 0, maximum: 100, means: 'Of the wire from one cell to the next, along bit lines and along source lines; 0: none.' },
  multiplexerResistanceOhms: { minimum: 0, maximum: 1000, means: 'In series with each bit line at its driven end; 0: none.' },
  formingAmplitudeMaximumMillivolts: { minimum: 0, maximum: 10_000, integer: true, means: 'Envelope of the board: largest amplitude of a forming pulse.' },
  formingWidthMaximumNanoseconds: { minimum: 0, maximum: 1e9, integer: true, means: 'Envelope: largest width of a forming pulse.' },
  formingPulsesPerCellMaximum: { minimum: 0, maximum: 20_000, integer: true, means: 'Envelope: forming pulses in the life of a cell.' },
  setAmplitudeMaximumMillivolts: { minimum: 0, maximum: 5000, integer: true, means: 'Envelope: largest amplitude of a SET.' },
  setWidthMaximumNanoseconds: { minimum: 0, maximum: 1e9, integer: true, means: 'Envelope: largest width of a SET.' },
  setPulsesPerCellMaximum: { minimum: 0, maximum: 20_000, integer: true, means: 'Envelope: SET pulses in the life of a cell.' },
  resetAmplitudeMaximumMillivolts: { minimum: 0, maximum: 5000, integer: true, means: 'Envelope: largest amplitude of a RESET.' },
  resetWidthMaximumNanoseconds: { minimum: 0, maximum: 1e9, integer: true, means: 'Envelope: largest width of a RESET.' },
  resetPulsesPerCellMaximum: { minimum: 0, maximum: 20_000, integer: true, means: 'Envelope: RESET pulses in the life of a cell.' },
  complianceMaximumMicroamperes: { minimum: 0, maximum: 10_000, integer: true, means: 'Envelope: largest compliance of any pulse.' },
  totalCurrentMaximumMicroamperes: {
    minimum: 0, maximum: 1_000_000, integer: true, means: 'Envelope: largest current of all cells that one pulse reaches, together.',
  },
  temperatureMinimumCelsius: { minimum: -40, maximum: 150, integer: true, means: 'Envelope: pulses are refused where the chip is colder.' },
  temperatureMaximumCelsius: { minimum: -40, maximum: 150, integer: true, means: 'Envelope: pulses are refused where the chip is warmer.' },
} as const satisfies Readonly<Record<string, ProfileField>>;

export type ProfileFieldName = keyof typeof profileFields;

/** Parameters that are one of a few words. */
export const profileChoices = {
  wordLines: { choices: ['along-bit-lines', 'along-source-lines'], means: 'Which cells share a word line: those of a bit line, or of a source line.' },
} as const;

export type ProfileChoices = { readonly [Name in keyof typeof profileChoices]: (typeof profileChoices)[Name]['choices'][number] };

/** JSON Schema (draft 2020-12) of a profile file. */
export function profileSchema(): object {
  const properties = Object.entries<ProfileField>(profileFields).map(([name, { minimum, maximum, integer, means }]) =>
    [name, { type: integer === true ? 'integer' : 'number', minimum, maximum, description: means }]);
  const choices = Object.entries(profileChoices).map(([name, { choices: values, means }]) => [name, { enum: values, description: means }]);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Fields of a simulated chip and board that replace those of a named profile',
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries([...properties, ...choices]),
  };
}
