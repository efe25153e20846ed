import { readArchive } from '../../snapshot/archive.js';
import {
  PickleDictionary, PickleGlobal, type PickleGuests, PickleList, PickleObject, PickleTuple, type PickleValue, readPickle,
} from './pickle.js';
import { asModel, refuseModel } from './refusal.js';
import { elementBytes, type ElementType, storedTensor, type Tensor, tensorLimits } from './tensor.js';

const storageTypes: Readonly<Record<string, ElementType>> = {
  'torch DoubleStorage': 'f8', 'torch FloatStorage': 'f4', 'torch HalfStorage': 'f2', 'torch BFloat16Storage': 'bf2', 'torch LongStorage': 'i8',
  'torch IntStorage': 'i4', 'torch ShortStorage': 'i2', 'torch CharStorage': 'i1', 'torch ByteStorage': 'u1', 'torch BoolStorage': 'b1',
};
const dictionary = 'collections OrderedDict';
const rebuildTensor = 'torch._utils _rebuild_tensor_v2';
const rebuildParameter = 'torch._utils _rebuild_parameter';
const globals = new Set([...Object.keys(storageTypes), dictionary, rebuildTensor, rebuildParameter]);

const limits = { files: 2 * tensorLimits.count, fileBytes: 2 ** 27, totalBytes: 2 ** 28 };
const partPattern = /^([^/]+)\/(data\.pkl|byteorder|data\/[0-9]+)$/;
/** Values that are looked at in search of tensors: a pickle can name one dictionary over and over. */
const visitMaximum = 65_536;
const nestingMaximum = 16;

interface Storage { readonly type: ElementType; readonly bytes: Uint8Array }
/** What `_rebuild_tensor_v2` is given, before the tensor has a name. */
interface Rebuilt { readonly storage: Storage; readonly offset: number; readonly shape: readonly number[]; readonly strides: readonly number[] }

const isNumbers = (items: readonly PickleValue[]): items is number[] => items.every((item) => typeof item === 'number');

function rebuilt(given: readonly PickleValue[]): PickleObject | undefined {
  const [storage, offset, size, strides, , , metadata] = given;
  if (given.length < 6 || given.length > 7 || (metadata !== undefined && metadata !== null)) return undefined;
  if (!(storage instanceof PickleObject) || !('bytes' in storage.what) || typeof offset !== 'number') return undefined;
  if (!(size instanceof PickleTuple && isNumbers(size.items) && strides instanceof PickleTuple && isNumbers(strides.items))) return undefined;
  return new PickleObject({ storage: storage.what as Storage, offset, shape: size.items, strides: strides.items } satisfies Rebuilt);
}

class TorchArchive implements PickleGuests {
  readonly globals = globals;
  private readonly storages = new Map<string, Storage>();

  constructor(private readonly parts: ReadonlyMap<string, Uint8Array>, private readonly file: string) {}

  call(name: string, given: readonly PickleValue[]): PickleValue | undefined {
    if (name === dictionary) return given.length === 0 ? new PickleDictionary() : undefined;
    if (name === rebuildTensor) return rebuilt(given);
    if (name === rebuildParameter) return given.length === 3 && given[0] instanceof PickleObject && 'shape' in given[0].what ? given[0] : undefined;
    return undefined;
  }

  /** ('storage', type, key, location, number of elements). */
  object(id: PickleValue): PickleValue | undefined {
    const [mark, type, key, , count] = id instanceof PickleTuple ? id.items : [];
    if (mark !== 'storage' || !(type instanceof PickleGlobal) || typeof key !== 'string' || typeof count !== 'number') return undefined;
    const elementType = storageTypes[type.name];
    const bytes = this.parts.get(`data/${key}`);
    if (elementType === undefined || bytes === undefined) return undefined;
    const known = this.storages.get(key);
    if (known !== undefined && known.type !== elementType) refuseModel(this.file, `: data/${key} is a storage of two types`, { field: `data/${key}` });
    const needed = count * elementBytes(elementType);
    if (bytes.length !== needed) {
      refuseModel(this.file, `: data/${key} has ${bytes.length} bytes, its ${count} elements need ${needed}`, { field: `data/${key}` });
    }
    const storage = known ?? { type: elementType, bytes };
    this.storages.set(key, storage);
    return new PickleObject(storage);
  }
}

/** Tensors by the path of keys that leads to them, joined by dots. */
function tensorsIn(root: PickleValue, file: string): Tensor[] {
  const tensors: Tensor[] = [];
  let visits = 0;
  const visit = (value: PickleValue, path: readonly (string | number)[]): void => {
    if ((visits += 1) > visitMaximum) refuseModel(file, `holds more than ${visitMaximum} values`);
    if (path.length > nestingMaximum) refuseModel(file, `nests dictionaries deeper than ${nestingMaximum}`);
    if (value instanceof PickleDictionary) for (const [key, item] of value.entries) visit(item, [...path, key]);
    else if (value instanceof PickleList || value instanceof PickleTuple) value.items.forEach((item, index) => { visit(item, [...path, index]); });
    else if (value instanceof PickleObject && 'shape' in value.what) {
      const { storage: { type, bytes }, ...place } = value.what as Rebuilt;
      if (tensors.length >= tensorLimits.count) refuseModel(file, `holds more than ${tensorLimits.count} tensors`);
      tensors.push(storedTensor({ name: path.join('.'), type, bytes, ...place }, file));
    }
  };
  if (!(root instanceof PickleDictionary)) refuseModel(file, 'holds no dictionary of tensors: write it by torch.save(model.state_dict(), FILE)');
  visit(root, []);
  return tensors;
}

/**
 * The tensors of a file that `torch.save` wrote: a zip archive with a pickle and one file a storage. Nothing in it is run (pickle.ts).
 *
 * @throws MacroError UNSAFE_PICKLE where the pickle asks for more than tensors, BAD_MODEL where the file is damaged, too large, big-endian, or of the
 *   form before PyTorch 1.6
 */
export function readTorch(bytes: Uint8Array, file: string): Tensor[] {
  if (bytes[0] !== 0x50 || bytes[1] !== 0x4b) {
    refuseModel(file, 'is no zip archive, as torch.save has written since PyTorch 1.6: load it there and save it again');
  }
  const unpacked = asModel(file, () => readArchive(bytes, file, { ...limits, wants: (name) => partPattern.test(name) }));
  const roots = new Set<string>();
  const parts = new Map<string, Uint8Array>();
  for (const [name, part] of Object.entries(unpacked)) {
    const [, root, rest] = partPattern.exec(name) as unknown as [string, string, string];
    roots.add(root);
    parts.set(rest, part);
  }
  if (roots.size > 1) refuseModel(file, `holds ${roots.size} folders, one is expected`);
  const pickle = parts.get('data.pkl') ?? refuseModel(file, 'has no data.pkl: torch.save did not write it', { field: 'data.pkl' });
  const order = new TextDecoder('latin1').decode(parts.get('byteorder') ?? Uint8Array.of()).trim() || 'little';
  if (order !== 'little') refuseModel(file, `has the byte order "${order.slice(0, 16)}", expected little`, { field: 'byteorder' });
  return tensorsIn(readPickle(pickle, `${file}: data.pkl`, new TorchArchive(parts, file)), file);
}
