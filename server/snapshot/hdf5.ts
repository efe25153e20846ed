import { cellCount } from '../../firmware-protocol/limits.js';
import { type Dataset, type Group, type Hdf5File, readHdf5File, writeHdf5File } from './hdf5-file.js';
import { headerOf, keptReadsMaximum, mapShape, type Snapshot, snapshotOf } from './snapshot.js';
import { type SnapshotHeader, snapshotFormat } from './header.js';
import { refuseSnapshot } from './refusal.js';

const compressionLevel = 1;
const chunkLines = 64;
const sections = ['chip', 'conditions', 'provenance'] as const;
const units: Readonly<Record<string, string>> = {
  readVoltageMillivolts: 'mV', wordLineBiasMillivolts: 'mV', settlingNanoseconds: 'ns', temperatureCelsius: 'degC',
  secondsSinceLastPulse: 's', readSeconds: 's',
};

function writeSection(file: Hdf5File, name: string, fields: Readonly<Record<string, unknown>>): void {
  const group = file.create_group(name);
  for (const [field, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    group.create_attribute(field, Array.isArray(value) ? Float64Array.from(value as number[]) : (value as string | number));
    if (units[field] !== undefined) group.create_attribute(`${field}_unit`, units[field]);
  }
}

function writeMap(file: Hdf5File, name: string, data: Uint16Array | Uint8Array, shape: number[], attributes: Readonly<Record<string, string | number>>): void {
  const chunks = [...shape.slice(0, -2).map(() => 1), chunkLines, shape[shape.length - 1]];
  const dataset = file.create_dataset({ name, data, shape, chunks, compression: compressionLevel });
  for (const [attribute, value] of Object.entries(attributes)) dataset.create_attribute(attribute, value);
}

/** A snapshot as HDF5: datasets `codes`, `flags` and `read_codes` with their units, groups `chip`, `conditions` and `provenance` with attributes. */
export function writeHdf5(snapshot: Snapshot): Promise<Uint8Array> {
  const { codes, flags, reads, cellUnitNanosiemens } = snapshot;
  return writeHdf5File((file) => {
    file.create_attribute('format', snapshotFormat);
    const scale = { unit: 'cell code', cell_unit_nanosiemens: cellUnitNanosiemens, axes: 'bit line, source line' };
    writeMap(file, 'codes', codes, [...mapShape], scale);
    writeMap(file, 'flags', flags, [...mapShape], { meaning: '1 saturated, 2 unformed', axes: 'bit line, source line' });
    if (reads.length > 0) {
      const all = new Uint16Array(reads.length * cellCount);
      reads.forEach((read, index) => { all.set(read, index * cellCount); });
      writeMap(file, 'read_codes', all, [reads.length, ...mapShape], { ...scale, axes: 'read, bit line, source line' });
    }
    const header = headerOf(snapshot);
    for (const section of sections) writeSection(file, section, header[section]);
  });
}

/** Attributes as plain values: numbers, texts and lists of numbers; whatever else a file holds is refused by the schema. */
function sectionOf(group: Group): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [name, attribute] of Object.entries(group.attrs)) {
    if (name.endsWith('_unit') && name.slice(0, -'_unit'.length) in units) continue;
    const { value } = attribute;
    fields[name] = ArrayBuffer.isView(value) ? [...(value as Float64Array)] : value;
  }
  return fields;
}

interface Maps {
  readonly count: number;
  readonly data: Uint16Array | Uint8Array;
}

/** @param leading reads that the dataset may hold, where it holds several maps */
function mapOf(file: Hdf5File, name: string, type: 'u1' | 'u2', label: string, leading?: number): Maps {
  const dataset = file.keys().includes(name) ? (file.get(name) as Dataset) : refuseSnapshot(label, `has no dataset ${name}`, { field: name });
  const { shape, metadata } = dataset;
  const isType = metadata?.type === 0 && !metadata.signed && metadata.size === (type === 'u2' ? 2 : 1);
  if (!isType) refuseSnapshot(label, `: ${name} is no dataset of unsigned integers of ${type === 'u2' ? 16 : 8} bits`, { field: name });
  const wanted = [...(leading === undefined ? [] : [leading]), ...mapShape];
  const isSize = (size: number, axis: number) => size === wanted[axis] || (axis === 0 && leading !== undefined && size <= leading);
  const isShape = shape?.length === wanted.length && shape.every(isSize);
  if (!isShape) refuseSnapshot(label, `: ${name} has the shape (${shape?.join(', ')}), expected (${wanted.join(', ')})`, { field: name });
  return { count: leading === undefined ? 1 : (shape?.[0] ?? 0), data: dataset.value as Uint16Array };
}

function readKept(file: Hdf5File, label: string): Uint16Array[] {
  if (!file.keys().includes('read_codes')) return [];
  const { count, data } = mapOf(file, 'read_codes', 'u2', label, keptReadsMaximum);
  return Array.from({ length: count }, (_, read) => (data as Uint16Array).slice(read * cellCount, (read + 1) * cellCount));
}

function snapshotIn(file: Hdf5File, label: string): Snapshot {
  const keys = file.keys();
  const section = (name: string) => (keys.includes(name) ? sectionOf(file.get(name) as Group) : refuseSnapshot(label, `has no group ${name}`, { field: name }));
  const codes = mapOf(file, 'codes', 'u2', label);
  const flags = mapOf(file, 'flags', 'u1', label);
  const unit = (file.get('codes') as Dataset).attrs['cell_unit_nanosiemens']?.value;
  const header: Record<keyof SnapshotHeader, unknown> = {
    format: file.attrs['format']?.value, chip: section('chip'), cellUnitNanosiemens: unit, conditions: section('conditions'), provenance: section('provenance'),
  };
  return snapshotOf(header, codes.data as Uint16Array, flags.data as Uint8Array, readKept(file, label), label);
}

/** @throws MacroError BAD_SNAPSHOT naming the file, and the dataset or attribute */
export function readHdf5(bytes: Uint8Array, label: string): Promise<Snapshot> {
  const elements = cellCount * keptReadsMaximum;
  return readHdf5File(bytes, { label, elements, refuse: refuseSnapshot, read: (file) => snapshotIn(file, label) });
}
