export {
  confidenceMultiplierMaximum, confidenceOne, confidenceScale, confidenceShiftMaximum, exactQuotient, marginScale, negativePower, thresholdQ24,
} from './confidence.js';
export { type Conversion, convert, gainOf } from './converter.js';
export { packNibbles, planesOf, unpackNibbles } from './drive.js';
export { GaussianStream, gaussianOfWord, gaussianOne } from './gaussian.js';
export { gaussianQuantiles } from './gaussian-table.js';
export { countPool, type LifParameters, stepAccumulate, stepLif } from './neuron.js';
export { philox } from './philox.js';
export { type Scale, saturateInt32, scale, shiftRounded } from './round.js';
export { binaryLogarithm, confidenceMaximum, type EarlyStopRule, isConfident, StopGate, type StopRule, stopRules } from './stop-rule.js';
