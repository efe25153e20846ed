import { bitLineCount, sourceLineCount } from '../../../firmware-protocol/limits.js';
import { MacroError } from '../../../proto/error.js';
import { utf8 } from '../../snapshot/archive.js';
import { type Bundle, type BundleLayer, bundleFromFiles, chipFile, filesOfBundle } from '../bundle.js';
import { type Network, parseNetwork } from '../network.js';
import { checkFits } from '../placement.js';
import { layersOfTensors, type MatchOptions, usualMatch } from './layer-tensors.js';
import { layersOfNir } from './nir-layers.js';
import { nirMetadata } from './nir-network.js';
import { type NirField, readNir } from './nir.js';
import { type ModelArrays, readNpzModel } from './npz.js';
import { asModel } from './refusal.js';
import { readSafetensors } from './safetensors.js';
import { readTorch } from './torch.js';

/** A file that was read and waits for a network to say what its numbers are. */
interface ModelSource {
  /** JSON of the network and of the chip, where the file brings its own. */
  readonly network?: string;
  readonly chip?: string;
  layers(network: Network, options: MatchOptions, hasChip: boolean): BundleLayer[];
}

const arraysSource = ({ tensors, ...texts }: ModelArrays, file: string): ModelSource =>
  ({ ...texts, layers: (network, options, hasChip) => layersOfTensors(tensors, network, file, options, hasChip) });

const textIn = (field: NirField | undefined) => (typeof field === 'string' ? field : undefined);

async function nirSource(bytes: Uint8Array, file: string): Promise<ModelSource> {
  const graph = await readNir(bytes, file);
  const [network, chip] = [nirMetadata.network, nirMetadata.chip].map((name) => textIn(graph.metadata.get(name)));
  return { ...(network !== undefined && { network }), ...(chip !== undefined && { chip }), layers: (given) => layersOfNir(graph, given, file) };
}

const readers: Readonly<Record<string, (bytes: Uint8Array, file: string) => ModelSource | Promise<ModelSource>>> = {
  pt: (bytes, file) => arraysSource({ tensors: readTorch(bytes, file) }, file),
  pth: (bytes, file) => arraysSource({ tensors: readTorch(bytes, file) }, file),
  npz: (bytes, file) => arraysSource(readNpzModel(bytes, file), file),
  safetensors: (bytes, file) => arraysSource({ tensors: readSafetensors(bytes, file) }, file),
  nir: nirSource,
  h5: nirSource,
  hdf5: nirSource,
};

/** Endings of files that are read. */
export const importEndings = Object.keys(readers);

export interface ImportOptions {
  /** What `network.json` holds; not needed where the file brings its own. */
  readonly network?: string;
  readonly match?: MatchOptions;
}

/**
 * Reads the network of a model file: PyTorch, npz, safetensors or NIR, by the ending of its name. Whether it fits an array of 512×512 is known before its
 * numbers are looked at.
 *
 * @throws MacroError BAD_ARGUMENT where the ending is none of them or no network is given, BAD_BUNDLE naming the field of `network.json`, NETWORK_TOO_LARGE
 *   with what the network needs, BAD_MODEL or UNSAFE_PICKLE naming the file and what is wrong in it
 */
export async function importModel(bytes: Uint8Array, file: string, { network: given, match = usualMatch }: ImportOptions = {}): Promise<Bundle> {
  const ending = /\.([a-z0-9]+)$/i.exec(file)?.[1]?.toLowerCase() ?? '';
  if (!Object.hasOwn(readers, ending)) {
    throw new MacroError('BAD_ARGUMENT', `${file}: a model is read from ${importEndings.map((name) => `.${name}`).join(', ')}`, { field: 'file' });
  }
  const asked = given === undefined ? undefined : parseNetwork(given);
  if (asked) checkFits(asked, { bitLines: bitLineCount, sourceLines: sourceLineCount });
  const source = await readers[ending](bytes, file);
  const network = asked ?? networkOf(source, file);
  const layers = source.layers(network, match, source.chip !== undefined);
  return asModel(file, () => {
    const files = filesOfBundle({ network, layers });
    if (source.chip !== undefined) files.set(chipFile, utf8(source.chip));
    return bundleFromFiles(files);
  });
}

function networkOf({ network: text }: ModelSource, file: string): Network {
  if (text === undefined) throw new MacroError('BAD_ARGUMENT', `${file} does not say what its network is: --network is needed`, { field: 'network' });
  const network = asModel(file, () => parseNetwork(text));
  checkFits(network, { bitLines: bitLineCount, sourceLines: sourceLineCount });
  return network;
}
