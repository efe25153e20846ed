import Type, { type Static, type TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { maximumDriveCode, maximumLayerCount, maximumTimestepCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { fieldPixels } from '../dataset/recording.js';
import { type EarlyStopPolicy, isStopRule, policySchema, policySchemas } from '../early-stop/policy.js';
import { exactly, integerFrom, numberBetween, numberFrom, strict, textUpTo } from './fields.js';

export { integerFrom, strict, textUpTo } from './fields.js';

/** Layer names become file names. */
export const layerName = Type.String({
  pattern: '^[a-z][a-z0-9-]{0,31}$',
  description: 'a name of 1 to 32 small letters, digits and hyphens that begins with a letter',
});
const negativeSlope = numberFrom(0, 1);

/** Leaky integrate-and-fire: U ← leak·U·(1−s) + I, then LeakyReLU, then a spike above the threshold. Threshold in network units. */
const lifNeuron = strict({ type: exactly('lif'), threshold: numberBetween(0, 100), leak: numberFrom(0, 1), negativeSlope });
/** U ← LeakyReLU(U + I): no leak, no reset, no spike. */
const accumulateNeuron = strict({ type: exactly('accumulate'), negativeSlope });

/** Far more than the array holds, so that a network beyond it is refused with what it would need and not with the limit of a field. */
const widthMaximum = 4096;
const inputMaximum = 2 ** 18;

const maximumPoolSize = Math.floor(Math.sqrt(maximumDriveCode));
const pool = strict({ type: exactly('average'), size: integerFrom(2, maximumPoolSize) });

const convolutionLayer = strict({
  name: layerName,
  type: exactly('convolution'),
  inputChannels: integerFrom(1, widthMaximum),
  outputChannels: integerFrom(1, widthMaximum),
  kernel: integerFrom(1, 15),
  stride: integerFrom(1, 8),
  padding: integerFrom(0, 7),
  neuron: lifNeuron,
  pool: Type.Optional(pool),
});

const linearLayer = (neuron: typeof lifNeuron | typeof accumulateNeuron) =>
  strict({
    name: layerName,
    type: exactly('linear'),
    inputs: integerFrom(1, inputMaximum),
    outputs: integerFrom(1, widthMaximum),
    neuron,
  });
const hiddenLinearLayer = linearLayer(lifNeuron);
const outputLayer = linearLayer(accumulateNeuron);

const header = strict({
  format: exactly('prime-bundle/1'),
  name: textUpTo(64),
  task: exactly('classification'),
  source: Type.Optional(textUpTo(1000)),
  input: strict({
    channels: exactly(2),
    height: exactly(fieldPixels),
    width: exactly(fieldPixels),
    encoding: exactly('event-count'),
  }),
  timestepCount: integerFrom(1, maximumTimestepCount),
  weightScale: numberBetween(0, 1),
  layers: Type.Array(Type.Unknown(), {
    minItems: 1,
    maxItems: maximumLayerCount,
    description: `a list of 1 to ${maximumLayerCount} layers`,
  }),
  earlyStop: Type.Unknown(),
});

/** JSON Schema of `network.json`. That layers fit one another, and that the last one is the output layer, is checked beyond it. */
export const networkSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'network.json of a bundle',
  ...header,
  properties: {
    ...header.properties,
    layers: { ...header.properties.layers, items: { anyOf: [convolutionLayer, hiddenLinearLayer, outputLayer] } },
    earlyStop: policySchema,
  },
};

export type ConvolutionLayer = Static<typeof convolutionLayer>;
export interface LinearLayer {
  name: string;
  type: 'linear';
  inputs: number;
  outputs: number;
  neuron: Static<typeof lifNeuron> | Static<typeof accumulateNeuron>;
}
export type NetworkLayer = ConvolutionLayer | LinearLayer;

/** What `network.json` of a bundle says. `weightScale`: network units of weight per µS of differential conductance. */
export type Network = Omit<Static<typeof header>, 'layers' | 'earlyStop'> & { layers: NetworkLayer[]; earlyStop: EarlyStopPolicy };

/** Cells of one line that an output needs: its inputs in the order channel, ky, kx. */
export const layerInputs = (layer: NetworkLayer): number =>
  layer.type === 'linear' ? layer.inputs : layer.inputChannels * layer.kernel * layer.kernel;

export const layerOutputs = (layer: NetworkLayer): number => (layer.type === 'linear' ? layer.outputs : layer.outputChannels);

/** Shape of the layer's arrays in a bundle, as PyTorch has it. */
export const weightShape = (layer: NetworkLayer): number[] =>
  layer.type === 'linear' ? [layer.outputs, layer.inputs] : [layer.outputChannels, layer.inputChannels, layer.kernel, layer.kernel];

export interface LayerGeometry {
  readonly inputChannels: number;
  readonly inputHeight: number;
  readonly inputWidth: number;
  readonly outputChannels: number;
  /** Before pooling. */
  readonly outputHeight: number;
  readonly outputWidth: number;
  readonly poolSize: number;
  /** Largest code that drives a bit line: an event count, the spikes of a pool, or one spike. */
  readonly maximumDrive: number;
  /** Drives are this many times what the network calls its input: size² after an average pool. */
  readonly driveScale: number;
}

/** The field as people write it: `layers[1].pool.size` for the pointer `/layers/1/pool/size`. */
function fieldAt(prefix: string, pointer: string): string {
  const parts = pointer.split('/').slice(1);
  return (prefix + parts.map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`)).join('')).replace(/^\./, '');
}

function descriptionAt(schema: unknown, schemaPath: string): string | undefined {
  let at = schema;
  for (const part of schemaPath.split('/').slice(1)) at = (at as Record<string, unknown> | undefined)?.[part];
  return (at as { description?: string } | undefined)?.description;
}

/**
 * Checks parsed JSON against a schema whose parts have descriptions.
 *
 * @param prefix the field that the value has in its file, for messages
 * @throws MacroError BAD_BUNDLE naming file, field and what it must be
 */
export function checkShape<Schema extends TSchema>(schema: Schema, value: unknown, file: string, prefix = ''): Static<Schema> {
  if (Value.Check(schema, value)) return value as Static<Schema>;
  const [error] = Value.Errors(schema, value);
  const field = fieldAt(prefix, error.instancePath);
  if (error.keyword === 'boolean') throw new MacroError('BAD_BUNDLE', `${file}: ${field} is no known field`, { field });
  if (error.keyword === 'required') {
    const missing = fieldAt(field, `/${error.params.requiredProperties[0]}`);
    throw new MacroError('BAD_BUNDLE', `${file}: ${missing} is missing`, { field: missing });
  }
  const subject = field === '' ? file : `${file}: ${field}`;
  const wanted = descriptionAt(schema, error.schemaPath) ?? error.message;
  throw new MacroError('BAD_BUNDLE', `${subject} must be ${wanted}`, { field: field || file });
}

export const networkFile = 'network.json';

function refuse(field: string, problem: string): never {
  throw new MacroError('BAD_BUNDLE', `${networkFile}: ${field} ${problem}`, { field });
}

function checkLayer(value: unknown, index: number, isLast: boolean): NetworkLayer {
  const field = `layers[${index}]`;
  if (isLast) return checkShape(outputLayer, value, networkFile, field) as LinearLayer;
  const type = typeof value === 'object' && value !== null && 'type' in value ? value.type : undefined;
  if (type === 'convolution') return checkShape(convolutionLayer, value, networkFile, field);
  if (type === 'linear') return checkShape(hiddenLinearLayer, value, networkFile, field) as LinearLayer;
  return refuse(`${field}.type`, 'must be "convolution" or "linear"');
}

function checkPolicy(value: unknown, timestepCount: number): EarlyStopPolicy {
  const rule = typeof value === 'object' && value !== null && 'rule' in value ? value.rule : undefined;
  if (!isStopRule(rule)) return refuse('earlyStop.rule', `must be one of ${Object.keys(policySchemas).join(', ')}`);
  const policy = checkShape(policySchemas[rule], value, networkFile, 'earlyStop') as EarlyStopPolicy;
  const { threshold } = policy;
  if (typeof threshold !== 'number' && threshold.length !== timestepCount) refuse('earlyStop.threshold', `must be a number or a list of ${timestepCount}`);
  return policy;
}

function convolutionGeometry(layer: ConvolutionLayer, before: Omit<LayerGeometry, 'outputChannels'>, field: string): LayerGeometry {
  const given = before.inputChannels;
  if (layer.inputChannels !== given) refuse(`${field}.inputChannels`, `must be ${given}, what the layer before gives`);
  const size = (pixels: number) => Math.floor((pixels + 2 * layer.padding - layer.kernel) / layer.stride) + 1;
  const outputHeight = size(before.inputHeight);
  const outputWidth = size(before.inputWidth);
  const poolSize = layer.pool?.size ?? 1;
  if (outputHeight < poolSize || outputWidth < poolSize) refuse(`${field}.kernel`, 'leaves no output pixel');
  if (outputHeight % poolSize !== 0 || outputWidth % poolSize !== 0) {
    refuse(`${field}.pool.size`, `must divide the output of ${outputHeight}×${outputWidth} pixels`);
  }
  return { ...before, outputChannels: layer.outputChannels, outputHeight, outputWidth, poolSize };
}

function linearGeometry(layer: LinearLayer, before: Omit<LayerGeometry, 'outputChannels'>, field: string): LayerGeometry {
  const given = before.inputChannels * before.inputHeight * before.inputWidth;
  if (layer.inputs !== given) refuse(`${field}.inputs`, `must be ${given}, what the layer before gives`);
  const flat = { inputChannels: given, inputHeight: 1, inputWidth: 1 };
  return { ...before, ...flat, outputChannels: layer.outputs, outputHeight: 1, outputWidth: 1, poolSize: 1 };
}

/** Pixels and drive codes of each layer. @throws MacroError BAD_BUNDLE where a layer does not fit the one before it */
export function layerGeometries(network: Network): LayerGeometry[] {
  const { channels, height, width } = network.input;
  let next = {
    inputChannels: channels as number,
    inputHeight: height as number,
    inputWidth: width as number,
    outputHeight: 0,
    outputWidth: 0,
    poolSize: 1,
    maximumDrive: maximumDriveCode,
    driveScale: 1,
  };
  return network.layers.map((layer, index) => {
    const field = `layers[${index}]`;
    const geometry = layer.type === 'linear' ? linearGeometry(layer, next, field) : convolutionGeometry(layer, next, field);
    const { outputChannels, outputHeight, outputWidth, poolSize } = geometry;
    const pooled = { inputHeight: outputHeight / poolSize, inputWidth: outputWidth / poolSize, driveScale: poolSize ** 2 };
    next = { ...geometry, ...pooled, inputChannels: outputChannels, maximumDrive: poolSize ** 2 };
    return geometry;
  });
}

/**
 * Checks what `network.json` holds, field by field; nothing unknown is let through.
 *
 * @throws MacroError BAD_BUNDLE naming the field and what it must be
 */
export function parseNetwork(text: string): Network {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new MacroError('BAD_BUNDLE', `${networkFile} is not JSON: ${(error as Error).message}`, { field: networkFile, cause: error });
  }
  const { layers, earlyStop, ...rest } = checkShape(header, value, networkFile);
  // The fields keep their order, so that a bundle that is read and written again keeps its digest.
  const network: Network = {
    ...(value as typeof rest & { earlyStop: EarlyStopPolicy }),
    layers: layers.map((layer, index) => checkLayer(layer, index, index === layers.length - 1)),
  };
  checkPolicy(earlyStop, network.timestepCount);
  const names = network.layers.map(({ name }) => name);
  const twice = names.findIndex((name, index) => names.indexOf(name) < index);
  if (twice >= 0) refuse(`layers[${twice}].name`, `"${names[twice]}" is taken by another layer`);
  layerGeometries(network);
  return network;
}
