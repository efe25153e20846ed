import { type Dataset, type Group, type Hdf5File, readHdf5File, writeHdf5File } from '../../snapshot/hdf5-file.js';
import { refuseModel } from './refusal.js';
import { elementCount, shapeText, tensorLimits } from './tensor.js';

/**
 * The Neuromorphic Intermediate Representation (neuroir.org; Pedersen et al., Nature Communications 2024): a graph whose nodes are differential equations.
 * Its file is HDF5: `/version`; `/node/type` "NIRGraph"; `/node/edges` of names [E, 2]; `/node/nodes/NAME/` with `type` and one dataset a parameter; groups
 * `metadata`, which only describe. This file knows the container; nir-network.ts knows what our networks are in it.
 */
export interface NirArray {
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | BigInt64Array | Uint8Array;
}
export type NirField = string | NirArray;

export interface NirNode {
  readonly type: string;
  readonly fields: ReadonlyMap<string, NirField>;
  readonly metadata: ReadonlyMap<string, NirField>;
}

export interface NirGraph {
  readonly nodes: ReadonlyMap<string, NirNode>;
  /** From, to. */
  readonly edges: readonly (readonly [string, string])[];
  readonly metadata: ReadonlyMap<string, NirField>;
}

/** The release of the NIR package whose layout this is. */
export const nirVersion = '1.0.8';

const compressionLevel = 4;
const nodeMaximum = 256;
const fieldMaximum = 32;
const elementMaximum = 2 * tensorLimits.elements;

export const nirInteger = (value: number): NirArray => ({ shape: [], data: BigInt64Array.of(BigInt(value)) });
export const nirIntegers = (values: readonly number[]): NirArray => ({ shape: [values.length], data: BigInt64Array.from(values, BigInt) });
export const nirReal = (value: number): NirArray => ({ shape: [], data: Float64Array.of(value) });

function writeField(group: Group, name: string, field: NirField): void {
  if (typeof field === 'string') {
    group.create_dataset({ name, data: field, shape: [] });
    return;
  }
  const { shape, data } = field;
  const isPacked = elementCount(shape) > 1;
  group.create_dataset({ name, data, shape: [...shape], ...(isPacked && { chunks: [...shape], compression: compressionLevel }) });
}

function writeFields(group: Group, fields: ReadonlyMap<string, NirField>): void {
  for (const [name, field] of fields) writeField(group, name, field);
}

/** The graph as a `.nir` file. */
export function writeNir(graph: NirGraph): Promise<Uint8Array> {
  return writeHdf5File((file) => {
    writeField(file, 'version', nirVersion);
    const root = file.create_group('node');
    writeField(root, 'type', 'NIRGraph');
    root.create_dataset({ name: 'edges', data: graph.edges.flat(), shape: [graph.edges.length, 2] });
    writeFields(root.create_group('metadata'), graph.metadata);
    const nodes = root.create_group('nodes');
    for (const [name, { type, fields, metadata }] of graph.nodes) {
      const group = nodes.create_group(name);
      writeField(group, 'type', type);
      writeFields(group, fields);
      if (metadata.size > 0) writeFields(group.create_group('metadata'), metadata);
    }
  });
}

const isGroup = (entity: unknown): entity is Group => (entity as { type?: string } | null)?.type === 'Group';
const isDataset = (entity: unknown): entity is Dataset => (entity as { type?: string } | null)?.type === 'Dataset';
/** Classes of elements in HDF5. */
const elementClass = { integer: 0, real: 1, text: 3 } as const;

class NirReader {
  private elements = 0;

  constructor(private readonly file: string) {}

  group(parent: Group, name: string, path: string): Group {
    const entity = parent.keys().includes(name) ? parent.get(name) : null;
    return isGroup(entity) ? entity : this.refuse(path, 'is no group');
  }

  field(parent: Group, name: string, path: string): NirField {
    const entity = parent.keys().includes(name) ? parent.get(name) : null;
    if (!isDataset(entity)) return this.refuse(path, 'is no dataset');
    const { shape, metadata } = entity;
    if (shape === null || elementCount(shape) > tensorLimits.elements) {
      return this.refuse(path, `has the shape ${shapeText(shape ?? [])}, the limit is ${tensorLimits.elements} elements`);
    }
    // Zeros pack so well that a small file could fill the memory field by field.
    this.elements += elementCount(shape);
    if (this.elements > elementMaximum) return this.refuse(path, `is beyond the limit of ${elementMaximum} elements of a graph`);
    if (metadata.type === elementClass.text && shape.length === 0) return String(entity.value);
    const isNumber = metadata.type === elementClass.integer || (metadata.type === elementClass.real && metadata.size >= 4 && metadata.size <= 8);
    if (!isNumber || metadata.vlen || !metadata.littleEndian) return this.refuse(path, 'holds neither a text nor little-endian numbers of 32 or 64 bits');
    const { value } = entity;
    const scalar = typeof value === 'number' || typeof value === 'bigint' ? [value] : value;
    return { shape, data: metadata.size === 4 && metadata.type === elementClass.real ? Float32Array.from(scalar as ArrayLike<number>) : exactly(scalar) };
  }

  texts(parent: Group, name: string, path: string): string[] {
    const entity = parent.keys().includes(name) ? parent.get(name) : null;
    if (!isDataset(entity) || entity.metadata.type !== elementClass.text || entity.shape?.length !== 2 || entity.shape[1] !== 2) {
      return this.refuse(path, 'is no list of pairs of names');
    }
    if (entity.shape[0] > nodeMaximum) return this.refuse(path, `has ${entity.shape[0]} edges, the limit is ${nodeMaximum}`);
    return (entity.value as string[]).map(String);
  }

  fields(group: Group, path: string): Map<string, NirField> {
    const names = group.keys().filter((name) => name !== 'type' && name !== 'metadata');
    if (names.length > fieldMaximum) this.refuse(path, `has ${names.length} fields, the limit is ${fieldMaximum}`);
    return new Map(names.map((name) => [name, this.field(group, name, `${path}/${name}`)]));
  }

  metadata(group: Group, path: string): Map<string, NirField> {
    if (!group.keys().includes('metadata')) return new Map();
    const metadata = this.group(group, 'metadata', `${path}/metadata`);
    // What other programs keep here may be of any kind; only what can be read as a field is of use.
    const names = metadata.keys().filter((name) => isDataset(metadata.get(name))).slice(0, fieldMaximum);
    return new Map(names.map((name) => [name, this.field(metadata, name, `${path}/metadata/${name}`)]));
  }

  node(nodes: Group, name: string): NirNode {
    const path = `node ${name}`;
    const group = this.group(nodes, name, path);
    return { type: this.text(group, 'type', path), fields: this.fields(group, path), metadata: this.metadata(group, path) };
  }

  text(group: Group, name: string, path: string): string {
    const field = this.field(group, name, `${path}/${name}`);
    return typeof field === 'string' ? field : this.refuse(`${path}/${name}`, 'is no text');
  }

  refuse(path: string, problem: string): never {
    return refuseModel(this.file, `: ${path} ${problem}`, { field: path });
  }
}

/** Bytes stay bytes, for masks; everything else becomes float64, which holds integers to 2^53. */
const exactly = (value: unknown): Float64Array | Uint8Array =>
  value instanceof Uint8Array ? Uint8Array.from(value) : Float64Array.from(value as ArrayLike<number | bigint>, Number);

function graphIn(file: Hdf5File, label: string): NirGraph {
  const reader = new NirReader(label);
  reader.text(file, 'version', '');
  const root = reader.group(file, 'node', 'node');
  const type = reader.text(root, 'type', 'node');
  if (type !== 'NIRGraph') reader.refuse('node', `is of type ${type}, expected NIRGraph`);
  const nodes = reader.group(root, 'nodes', 'node/nodes');
  const names = nodes.keys();
  if (names.length > nodeMaximum) reader.refuse('node/nodes', `has ${names.length} nodes, the limit is ${nodeMaximum}`);
  const ends = reader.texts(root, 'edges', 'node/edges');
  return {
    nodes: new Map(names.map((name) => [name, reader.node(nodes, name)])),
    edges: Array.from({ length: ends.length / 2 }, (_, edge) => [ends[2 * edge], ends[2 * edge + 1]] as const),
    metadata: reader.metadata(root, 'node'),
  };
}

/** @throws MacroError BAD_MODEL naming the file, and the node and its field */
export function readNir(bytes: Uint8Array, file: string): Promise<NirGraph> {
  return readHdf5File(bytes, { label: file, elements: tensorLimits.elements, refuse: refuseModel, read: (opened) => graphIn(opened, file) });
}
