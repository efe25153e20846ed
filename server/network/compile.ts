import { type EarlyStopRule, planesOf, type Scale, type StopRule } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import {
  type Converter, type Layer, layerKinds, type Neuron, neuronKinds, type Program, type Snapshot, type SnapshotTile,
} from '../../proto/message.js';
import { choosePolicy, type EarlyStopPolicy, ruleOf, type Threshold } from '../early-stop/policy.js';
import type { Bundle } from './bundle.js';
import { type LayerGeometry, layerGeometries, layerInputs, layerOutputs, type NetworkLayer } from './network.js';
import { checkPlacements, type LayerPlacement, placeNetwork, type PlacementTarget, type TilePlacement } from './placement.js';

export type { Program, Snapshot };

/** What the compiler must know of a device; HELLO_ACK says it. */
export interface CompileTarget extends PlacementTarget {
  readonly converter: Converter;
}

export interface CompiledNetwork {
  readonly program: Program;
  /** The bundle's own weights, for a simulator; absent where the bundle was made on a chip. */
  readonly snapshot?: Snapshot;
  readonly placements: readonly LayerPlacement[];
  /** Membrane units of the output layer in one network unit. */
  readonly membraneUnitsPerNetworkUnit: number;
  /** The inverse: a membrane times this is in network units. */
  readonly outputScale: number;
  /** As the bundle has it. */
  readonly earlyStop: EarlyStopPolicy;
  /** Bytes of one code in the answer to a raw multiply. */
  readonly codeBytes: 2 | 4;
}

/**
 * The stop rule of a run, in the integers of the device.
 *
 * @param threshold confidence above which the network stops, or one for each timestep; left out: the bundle's
 * @param rule left out: the bundle's
 * @throws MacroError BAD_THRESHOLD
 */
export function earlyStopAt({ earlyStop, program, membraneUnitsPerNetworkUnit }: CompiledNetwork, threshold?: Threshold, rule?: StopRule): EarlyStopRule {
  const policy = choosePolicy(earlyStop, { ...(rule && { rule }), ...(threshold !== undefined && { threshold }) });
  return ruleOf(policy, membraneUnitsPerNetworkUnit, program.timestepCount);
}

/** Four fractional bits below a nanosiemens: fewer than about four miss the golden vectors, eight overflow (NUMERICS.md). */
const membraneUnitsPerNanosiemens = 16;
const nanosiemensPerMicrosiemens = 1000;
const neuronShift = 20;
/** A recombined sum of 31 bits times the multiplier stays below 2^53. */
const largestMultiplier = 2 ** 22 - 1;
const multiplyRange = 'multiply';

const roundHalfAway = (value: number) => Math.sign(value) * Math.floor(Math.abs(value) + 0.5);

/** The scale nearest to a real factor; exact where the factor is a fraction of a power of two that fits. */
function scaleNearest(factor: number): Scale {
  let shift = 0;
  while (shift < 40 && !Number.isInteger(factor * 2 ** shift) && factor * 2 ** (shift + 1) <= largestMultiplier) shift += 1;
  const multiplier = Math.round(factor * 2 ** shift);
  if (multiplier > largestMultiplier || multiplier === 0) {
    throw new MacroError('NETWORK_TOO_LARGE', `a scale of ${factor} cannot be held in 22 bits`);
  }
  return { multiplier, shift };
}

const fractionScale = (fraction: number): Scale => ({ multiplier: Math.round(fraction * 2 ** neuronShift), shift: neuronShift });

/** Membrane units in one network unit. Behind a pool the unit is finer by size², so that the count folds the mean into it. */
const membraneUnits = (driveScale: number, weightScale: number) =>
  (membraneUnitsPerNanosiemens * driveScale * nanosiemensPerMicrosiemens) / weightScale;

function neuronOf(layer: NetworkLayer, unitsPerNetworkUnit: number): Neuron {
  const { neuron } = layer;
  const negativeSlope = fractionScale(neuron.negativeSlope);
  if (neuron.type === 'accumulate') return { kind: neuronKinds.accumulate, threshold: 0, leak: fractionScale(1), negativeSlope };
  const threshold = roundHalfAway(neuron.threshold * unitsPerNetworkUnit);
  if (threshold > 2 ** 31 - 1) throw new MacroError('NETWORK_TOO_LARGE', `the threshold of ${layer.name} leaves the 32 bits of a membrane`);
  return { kind: neuronKinds.lif, threshold, leak: fractionScale(neuron.leak), negativeSlope };
}

function rangeOf(converter: Converter): { index: number; stepNanosiemens: number } {
  const index = converter.ranges.findIndex(({ name }) => name === multiplyRange);
  if (index < 0) throw new MacroError('METHOD_UNSUPPORTED', `the converter states no range "${multiplyRange}"`);
  const { stepNumeratorNanosiemens, stepDenominator } = converter.ranges[index];
  return { index, stepNanosiemens: stepNumeratorNanosiemens / stepDenominator };
}

function layerProgram(
  layer: NetworkLayer, geometry: LayerGeometry, placement: LayerPlacement, weightScale: number, converter: Converter,
): Layer {
  const { maximumDrive, driveScale, ...pixels } = geometry;
  const { index: range, stepNanosiemens } = rangeOf(converter);
  const isConvolution = layer.type === 'convolution';
  return {
    name: layer.name,
    kind: isConvolution ? layerKinds.convolution : layerKinds.linear,
    ...pixels,
    kernel: isConvolution ? layer.kernel : 1,
    stride: isConvolution ? layer.stride : 1,
    padding: isConvolution ? layer.padding : 0,
    driveBits: planesOf(maximumDrive),
    range,
    // A count of size² spikes is a mean of 1: the finer membrane unit behind a pool takes that factor, so both cases have one scale.
    current: scaleNearest(stepNanosiemens * membraneUnitsPerNanosiemens),
    neuron: neuronOf(layer, membraneUnits(driveScale, weightScale)),
    tiles: placement.tiles,
  };
}

function snapshotTile(tile: TilePlacement, layer: NetworkLayer, weight: Float32Array, mask: Uint8Array): SnapshotTile {
  const inputs = layerInputs(layer);
  const outputs = layerOutputs(layer);
  const differenceNanosiemens = new Array<number>(tile.inputCount * outputs);
  const kept = new Uint8Array(tile.inputCount * outputs);
  for (let row = 0, pair = 0; row < tile.inputCount; row += 1) {
    for (let output = 0; output < outputs; output += 1, pair += 1) {
      const index = output * inputs + tile.firstInput + row;
      differenceNanosiemens[pair] = roundHalfAway(nanosiemensPerMicrosiemens * weight[index]);
      kept[pair] = mask[index];
    }
  }
  const { firstBitLine, plusLines, minusLines } = tile;
  return { firstBitLine, plusLines, minusLines, differenceNanosiemens, kept };
}

function snapshotOf(bundle: Bundle, placements: readonly LayerPlacement[]): Snapshot {
  const tiles = placements.flatMap((placement, index) => {
    const { name, weight, mask } = bundle.layers[index];
    if (weight === undefined) throw new MacroError('BAD_BUNDLE', `${name}.weight.npy is missing, and no chip is named`, { field: name });
    return placement.tiles.map((tile) => snapshotTile(tile, bundle.network.layers[index], weight, mask));
  });
  return { tiles };
}

/**
 * Turns a bundle into what a device runs: where each weight sits, and every scale as integers. A bundle that was made on a chip keeps the
 * placement that it records; every other one is placed on the lines of the target that are not blocked.
 *
 * @throws MacroError NETWORK_TOO_LARGE where it does not fit, BAD_BUNDLE where a recorded placement does not fit the network
 */
export function compile(bundle: Bundle, target: CompileTarget): CompiledNetwork {
  const { network, chip } = bundle;
  if (chip) checkPlacements(chip.placements, network, target.geometry, 'chip.json');
  const placements = chip?.placements ?? placeNetwork(network, target);
  const geometries = layerGeometries(network);
  const weightScale = chip?.weightScale ?? network.weightScale;
  const membraneUnitsPerNetworkUnit = membraneUnits(geometries[geometries.length - 1].driveScale, weightScale);
  const program: Program = {
    timestepCount: network.timestepCount,
    inputChannels: network.input.channels,
    inputHeight: network.input.height,
    inputWidth: network.input.width,
    layers: network.layers.map((layer, index) => layerProgram(layer, geometries[index], placements[index], weightScale, target.converter)),
  };
  const snapshot = chip ? undefined : snapshotOf(bundle, placements);
  return {
    program,
    ...(snapshot && { snapshot }),
    placements,
    membraneUnitsPerNetworkUnit,
    outputScale: 1 / membraneUnitsPerNetworkUnit,
    earlyStop: network.earlyStop,
    codeBytes: target.converter.bits > 16 ? 4 : 2,
  };
}
