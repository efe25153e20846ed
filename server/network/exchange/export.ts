import { sourceLineCount } from '../../../firmware-protocol/limits.js';
import { MacroError } from '../../../proto/error.js';
import type { Snapshot } from '../../snapshot/snapshot.js';
import type { Bundle } from '../bundle.js';
import { snapshotDifferences } from '../snapshot.js';
import { nirOfBundle } from './nir-network.js';
import { writeNir } from './nir.js';
import { writeNpzModel } from './npz.js';
import { writeOnnx } from './onnx.js';

/** Formats that a bundle is exported in, by the ending of the file. */
export const exportFormats = {
  npz: writeNpzModel,
  nir: (bundle: Omit<Bundle, 'digest'>) => writeNir(nirOfBundle(bundle)),
  onnx: writeOnnx,
} as const satisfies Readonly<Record<string, (bundle: Omit<Bundle, 'digest'>) => Uint8Array | Promise<Uint8Array>>>;

export type ExportFormat = keyof typeof exportFormats;

/** @throws MacroError BAD_ARGUMENT where neither the format nor the ending of the file is known */
export function exportFormatOf(file: string, format?: string): ExportFormat {
  const name = format ?? /\.([a-z0-9]+)$/i.exec(file)?.[1]?.toLowerCase() ?? '';
  if (Object.hasOwn(exportFormats, name)) return name as ExportFormat;
  const subject = format === undefined ? file : `--format ${format}`;
  throw new MacroError('BAD_ARGUMENT', `${subject}: a model is written as ${Object.keys(exportFormats).join(', ')}`, { field: format === undefined ? 'out' : 'format' });
}

/**
 * A bundle that was made on a chip with the weights that a snapshot of that chip holds.
 * @throws MacroError BUNDLE_CHIP_MISMATCH where the snapshot is of another chip, BAD_ARGUMENT where the bundle is of none
 */
export function withMeasuredWeights(bundle: Bundle, snapshot: Snapshot): Bundle {
  const { chip, layers } = bundle;
  if (chip === undefined) throw new MacroError('BAD_ARGUMENT', 'the bundle has weights of its own and is of no chip: leave --snapshot out', { field: 'snapshot' });
  if (snapshot.chip.chipId !== chip.chipId) {
    throw new MacroError('BUNDLE_CHIP_MISMATCH', `the bundle was made on chip ${chip.chipId}, the snapshot is of ${snapshot.chip.chipId}`, { field: 'snapshot' });
  }
  const measured = layers.map((layer, index) =>
    ({ ...layer, weight: snapshotDifferences(snapshot.codes, snapshot.cellUnitNanosiemens, chip.placements[index], sourceLineCount) }));
  return { ...bundle, layers: measured };
}
