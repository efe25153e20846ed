import { sourceLineCount } from '../../../firmware-protocol/limits.js';
import { type ErrorCode, MacroError } from '../../../proto/error.js';
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
  const [subject, field] = format === undefined ? [file, 'out'] : [`--format ${format}`, 'format'];
  throw new MacroError('BAD_ARGUMENT', `${subject}: a model is written as ${Object.keys(exportFormats).join(', ')}`, { field });
}

/**
 * A bundle that was made on a chip with the weights that a snapshot of that chip holds.
 * @throws MacroError BUNDLE_CHIP_MISMATCH where the snapshot is of another chip, BAD_ARGUMENT where the bundle is of none
 */
export function withMeasuredWeights(bundle: Bundle, snapshot: Snapshot): Bundle {
  const { chip, layers } = bundle;
  const refuse = (code: ErrorCode, problem: string): never => {
    throw new MacroError(code, problem, { field: 'snapshot' });
  };
  if (chip === undefined) return refuse('BAD_ARGUMENT', 'the bundle has weights of its own and is of no chip: leave --snapshot out');
  const { chipId } = snapshot.chip;
  if (chipId !== chip.chipId) refuse('BUNDLE_CHIP_MISMATCH', `the bundle was made on chip ${chip.chipId}, the snapshot is of ${chipId}`);
  const measured = layers.map((layer, index) =>
    ({ ...layer, weight: snapshotDifferences(snapshot.codes, snapshot.cellUnitNanosiemens, chip.placements[index], sourceLineCount) }));
  return { ...bundle, layers: measured };
}
