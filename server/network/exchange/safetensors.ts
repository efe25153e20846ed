import Type from 'typebox';
import { Value } from 'typebox/value';
import { refuseModel } from './refusal.js';
import { denseStrides, elementBytes, elementCount, type ElementType, shapeText, storedTensor, type Tensor, tensorLimits } from './tensor.js';

const types: Readonly<Record<string, ElementType>> = {
  F64: 'f8', F32: 'f4', F16: 'f2', BF16: 'bf2', I64: 'i8', I32: 'i4', I16: 'i2', I8: 'i1', U8: 'u1', BOOL: 'b1',
};
const metadataName = '__metadata__';
const headerBytesMaximum = 4 * 2 ** 20;
const lengthBytes = 8;

const size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const entrySchema = Type.Object(
  { dtype: Type.String(), shape: Type.Array(size, { maxItems: tensorLimits.dimensions }), data_offsets: Type.Array(size, { minItems: 2, maxItems: 2 }) },
  { additionalProperties: false },
);
const headerSchema = Type.Record(Type.String(), Type.Unknown());

function headerOf(bytes: Uint8Array, file: string): { entries: [string, unknown][]; data: Uint8Array } {
  if (bytes.length < lengthBytes) refuseModel(file, `has ${bytes.length} bytes, a safetensors file has at least ${lengthBytes}`);
  const stated = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (stated > BigInt(Math.min(headerBytesMaximum, bytes.length - lengthBytes))) {
    refuseModel(file, `states a header of ${stated} bytes; the file has ${bytes.length}, the limit is ${headerBytesMaximum}`, { field: 'header' });
  }
  const end = lengthBytes + Number(stated);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(lengthBytes, end)));
  } catch (error) {
    refuseModel(file, `has a header that is not JSON: ${(error as Error).message}`, { field: 'header', cause: error });
  }
  if (!Value.Check(headerSchema, header)) return refuseModel(file, 'has a header that is no object', { field: 'header' });
  const entries = Object.entries(header).filter(([name]) => name !== metadataName);
  if (entries.length > tensorLimits.count) refuseModel(file, `holds ${entries.length} tensors, the limit is ${tensorLimits.count}`);
  return { entries, data: bytes.subarray(end) };
}

/**
 * The tensors of a safetensors file: 8 bytes with the length of a JSON header, the header, the elements (little-endian, C order). The tensors must lie one
 * behind the other and fill the file, as the format demands.
 *
 * @throws MacroError BAD_MODEL naming the tensor
 */
export function readSafetensors(bytes: Uint8Array, file: string): Tensor[] {
  const { entries, data } = headerOf(bytes, file);
  const places = entries.map(([name, entry]) => {
    if (!Value.Check(entrySchema, entry)) return refuseModel(file, `: ${name} is described by no dtype, shape and data_offsets`, { field: name });
    const { dtype, shape, data_offsets: [from, to] } = entry;
    const known = Object.keys(types);
    if (!known.includes(dtype)) refuseModel(file, `: ${name} has the type ${dtype}, expected one of ${known.join(', ')}`, { field: name });
    return { name, type: types[dtype], shape, from, to };
  });
  let end = 0;
  for (const { name, type, shape, from, to } of [...places].sort((left, right) => left.from - right.from || left.to - right.to)) {
    if (from !== end) refuseModel(file, `: ${name} begins at byte ${from} of the data, expected ${end}`, { field: name });
    const needed = elementCount(shape) * elementBytes(type);
    if (to - from !== needed) refuseModel(file, `: ${name} of shape ${shapeText(shape)} has ${to - from} bytes, expected ${needed}`, { field: name });
    end = to;
  }
  if (end !== data.length) refuseModel(file, `has ${data.length} bytes of data, its tensors ${end}`);
  return places.map(({ name, type, shape, from, to }) =>
    storedTensor({ name, type, shape, strides: denseStrides(shape), offset: 0, bytes: data.subarray(from, to) }, file));
}
