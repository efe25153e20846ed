import { type NpyArray, parse } from 'npyjs';
import { readArchive, utf8, writeArchive } from '../../snapshot/archive.js';
import { problemOf } from '../../snapshot/refusal.js';
import type { Bundle } from '../bundle.js';
import { weightShape } from '../network.js';
import { writeNpy } from '../npy.js';
import { asModel, refuseModel } from './refusal.js';
import { denseStrides, elementBytes, isElementType, shapeText, storedTensor, type Tensor, tensorLimits } from './tensor.js';

const limits = { files: tensorLimits.count, fileBytes: 2 ** 27, totalBytes: 2 ** 28 };
const ending = '.npy';
/** Texts beside the arrays, as bytes: what `network.json` and `chip.json` of the bundle hold. */
const texts = { network: 'network', chip: 'chip' } as const;
const textBytesMaximum = 4 * 2 ** 20;

/** What a file of arrays holds. */
export interface ModelArrays {
  readonly tensors: readonly Tensor[];
  /** JSON of the network, where the file brings its own. */
  readonly network?: string;
  readonly chip?: string;
}

function parseOrRefuse(bytes: Uint8Array, name: string, file: string): NpyArray {
  try {
    return parse(new Uint8Array(bytes).buffer, { convertFloat16: false });
  } catch (error) {
    return refuseModel(file, `: ${name}${ending} is not a readable .npy file: ${problemOf(error)}`, { field: name, cause: error });
  }
}

function tensorOf(bytes: Uint8Array, name: string, file: string): Tensor {
  const { data, shape, dtype, fortranOrder } = parseOrRefuse(bytes, name, file);
  const type = isElementType(dtype) ? dtype : refuseModel(file, `: ${name} holds type ${dtype}`, { field: name });
  const { buffer, byteOffset, byteLength } = data;
  // Truth values come as a plain array.
  const elements = ArrayBuffer.isView(data) ? new Uint8Array(buffer, byteOffset, byteLength) : Uint8Array.from(data as ArrayLike<boolean>, Number);
  const stated = shape.reduce((product, size) => product * size, elementBytes(type));
  if (stated !== elements.length) refuseModel(file, `: ${name} states the shape ${shapeText(shape)} and holds ${elements.length} bytes`, { field: name });
  return storedTensor({ name, type, shape, strides: denseStrides(shape, fortranOrder), offset: 0, bytes: elements }, file);
}

function textOf(tensor: Tensor, file: string): string {
  const { name, type, shape } = tensor;
  if (type !== 'u1' || shape.length !== 1 || shape[0] > textBytesMaximum) {
    refuseModel(file, `: ${name} is of type ${type} and shape ${shapeText(shape)}, expected at most ${textBytesMaximum} bytes of text`, { field: name });
  }
  return new TextDecoder().decode(Uint8Array.from(tensor.values()));
}

/**
 * The arrays of a NumPy archive, as `numpy.savez` writes it.
 * @throws MacroError BAD_MODEL naming the array
 */
export function readNpzModel(bytes: Uint8Array, file: string): ModelArrays {
  const files = asModel(file, () => readArchive(bytes, file, { ...limits, wants: (name) => name.endsWith(ending) }));
  const all = Object.entries(files).map(([name, part]) => tensorOf(part, name.slice(0, -ending.length), file));
  const text = (name: string) => {
    const tensor = all.find((candidate) => candidate.name === name);
    return tensor && textOf(tensor, file);
  };
  const [network, chip] = [text(texts.network), text(texts.chip)];
  const tensors = all.filter(({ name }) => name !== texts.network && name !== texts.chip);
  return { tensors, ...(network !== undefined && { network }), ...(chip !== undefined && { chip }) };
}

/** All arrays of a bundle, under the names that its files have without `.npy`, with its network and chip as JSON. */
export function writeNpzModel({ network, layers, chip }: Omit<Bundle, 'digest'>): Uint8Array {
  const files: Record<string, Uint8Array> = {};
  const addText = (name: string, value: unknown) => {
    const bytes = utf8(JSON.stringify(value));
    files[`${name}${ending}`] = writeNpy(bytes, [bytes.length]);
  };
  addText(texts.network, network);
  if (chip) addText(texts.chip, chip);
  layers.forEach(({ name, mask, weight, scores }, index) => {
    const shape = weightShape(network.layers[index]);
    files[`${name}.mask${ending}`] = writeNpy(mask, shape);
    if (weight) files[`${name}.weight${ending}`] = writeNpy(weight, shape);
    if (scores) files[`${name}.scores${ending}`] = writeNpy(scores, shape);
  });
  return writeArchive(files);
}
