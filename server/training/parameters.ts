import Type, { type Static } from 'typebox';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { averages, pulsingFields } from '../array/parameters.js';
import { type Split, splits } from '../dataset/frames.js';
import { integerFrom, type Network, parseNetwork, strict, textUpTo } from '../network/network.js';
import { placeNetwork } from '../network/placement.js';
import { publishedNetwork } from './published-network.js';
import type { WeightNoise } from './search.js';

const fractionBelowOne = Type.Number({ minimum: 0, exclusiveMaximum: 1, description: 'a number from 0 to below 1' });

const noiseSchema = strict({
  readFraction: Type.Optional(Type.Number({ minimum: 0, maximum: 1, description: 'standard deviation of a read, as a fraction of what a cell conducts' })),
  residualSdMicrosiemens: Type.Optional(Type.Number({ minimum: 0, maximum: 20, description: 'standard deviation of what a pruned cell conducts, µS' })),
});

export const trainSchema = strict({
  dataset: Type.Optional(textUpTo(64)),
  test: Type.Optional(textUpTo(64)),
  films: Type.Optional(Type.String({ pattern: '^mnist(:(train|test))?(\\?.*)?$', description: 'mnist, mnist:train or mnist:test, with ?seed=N&count=N' })),
  network: Type.Optional(Type.Object({}, { additionalProperties: true, description: 'network.json; left out: the published classification network' })),
  snapshot: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$', description: 'digest of a map of the chip; left out: the chip is read' })),
  split: Type.Optional(Type.Union(splits.map((split) => Type.Literal(split)))),
  epochs: Type.Optional(integerFrom(1, 1000)),
  batchSize: Type.Optional(integerFrom(1, 4096)),
  learningRate: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'above 0 to 1' })),
  weightDecay: Type.Optional(Type.Number({ minimum: 0, maximum: 1, description: 'a number from 0 to 1' })),
  sparsity: Type.Optional(Type.Union([fractionBelowOne, Type.Array(fractionBelowOne, { minItems: 1, maxItems: 8 })])),
  seed: Type.Optional(integerFrom(0, 2 ** 32 - 1)),
  timestepLossFraction: Type.Optional(Type.Number({ minimum: 0, maximum: 1, description: 'a number from 0 to 1' })),
  noise: Type.Optional(noiseSchema),
  validationFraction: Type.Optional(fractionBelowOne),
  averages: Type.Optional(averages),
  user: pulsingFields.user,
});

/** What a search is asked to do; kept with its job, so that it can be repeated to the bit. */
export interface TrainParameters {
  /** Recordings by the id of their dataset, or which MNIST digits the camera model films (`filmSource`). */
  readonly dataset?: string;
  readonly films?: string;
  /** Id of a dataset that the search does not see; what it finds is tried on it in the end. */
  readonly test?: string;
  readonly network: Network;
  readonly snapshot?: string;
  readonly split: Split;
  readonly epochs: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly sparsities: readonly number[];
  readonly seed: number;
  readonly timestepLossFraction: number;
  readonly noise?: WeightNoise;
  readonly validationFraction: number;
  /** Of the read of each cell. */
  readonly averages: number;
  readonly user?: string;
}

const usual = {
  split: 'number', epochs: 60, batchSize: 32, learningRate: 2e-3, weightDecay: 5e-4, sparsity: 0.5, seed: 1, timestepLossFraction: 0, validationFraction: 0.1,
  averages: 16,
} as const;
const usualNoise: WeightNoise = { readFraction: 0.02, residualSdMicrosiemens: 0.3 };

function refuse(field: string, problem: string): never {
  throw new MacroError('BAD_REQUEST', `${field} ${problem}`, { field });
}

/** @throws MacroError BAD_REQUEST, BAD_BUNDLE naming the field; NETWORK_TOO_LARGE */
export function trainParameters(given: unknown): TrainParameters {
  const { network: asked, sparsity = usual.sparsity, noise, ...rest } = given as Static<typeof trainSchema>;
  if ((rest.dataset === undefined) === (rest.films === undefined)) refuse('dataset', 'or films must say what to learn from: one of the two');
  const network = asked === undefined ? publishedNetwork : parseNetwork(JSON.stringify(asked));
  const count = network.layers.length;
  const sparsities = typeof sparsity === 'number' ? new Array<number>(count).fill(sparsity) : sparsity;
  if (sparsities.length !== count) refuse('sparsity', `has ${sparsities.length} numbers, the network has ${count} layers`);
  placeNetwork(network, { geometry: { bitLines: bitLineCount, sourceLines: sourceLineCount } });
  const { sparsity: _sparsity, ...defaults } = usual;
  return { ...defaults, ...rest, network, sparsities, ...(noise !== undefined && { noise: { ...usualNoise, ...noise } }) };
}
