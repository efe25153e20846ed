import { wholeArray } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';
import type { Bundle, ChipRecord } from '../network/bundle.js';
import { fingerprintCells, fingerprintCorrelation, fingerprintOf, prunedCells, weightCells } from '../network/snapshot.js';
import { type CellBitmap, cellsWhere, hasCell } from './cell-bitmap.js';
import type { CellMap, MeteredArray } from './metered-array.js';

/** A kept pair that cannot conduct as the bundle expects, because cells of it were RESET since. */
export interface RegrowingPair {
  readonly layer: string;
  /** Index of the weight in its layer. */
  readonly weight: number;
  readonly plus: number;
  readonly minus: number;
  /** Those of its two cells that were RESET. */
  readonly cells: readonly number[];
}

/** What a mask asks of an array as it is. */
export interface MaskInspection {
  readonly map: CellMap;
  readonly pruned: CellBitmap;
  /** Pruned, still conducting, and worth a pulse. */
  readonly conducting: CellBitmap;
  /** Pruned and still conducting although they have had all the pulses of an application: more would only wear them. */
  readonly stubborn: CellBitmap;
  readonly regrowing: readonly RegrowingPair[];
}

export interface InspectionLimits {
  readonly residualLimitMicrosiemens: number;
  readonly pulsesPerCell: number;
  readonly averages: number;
}

/** Another chip correlates with 0, the same one with 0.98 and more at 2 % of read noise. */
const sameChipCorrelation = 0.9;

/** Refuses a chip that says it is the bundle's and does not look like it. Cells that the mask prunes may have changed, and those that were RESET. */
function checkFingerprint(array: MeteredArray, codes: Uint16Array, chip: ChipRecord, pruned: CellBitmap): void {
  const { geometry } = array.identity;
  const cells = fingerprintCells(geometry);
  const { set, reset } = array.wear;
  const isAsItWas = (sample: number) => !hasCell(pruned, cells[sample]) && reset[cells[sample]] === 0 && set[cells[sample]] === 0;
  const correlation = fingerprintCorrelation(chip.fingerprint, fingerprintOf(codes, geometry), isAsItWas);
  if (correlation >= sameChipCorrelation) return;
  const problem = `the cells of ${chip.chipId} correlate with those that the bundle was made on by ${correlation.toFixed(3)}`;
  throw new MacroError('BUNDLE_CHIP_MISMATCH', `${problem}, ${sameChipCorrelation} is needed`, { field: 'model' });
}

/**
 * Kept pairs with a cell that was RESET and not SET again, and no longer conducts.
 * @param recorded codes of the snapshot that the bundle was made on, where it is known: a cell that was low already then is as the bundle wants it
 */
function regrowingPairs(
  array: MeteredArray, codes: Uint16Array, { layers }: Bundle, chip: ChipRecord, limitCode: number, recorded: Uint16Array | undefined,
): RegrowingPair[] {
  const { set, reset } = array.wear;
  const isLost = (cell: number) => reset[cell] > set[cell] && codes[cell] < limitCode && (recorded === undefined || recorded[cell] >= limitCode);
  return chip.placements.flatMap((placement, layer) => {
    const { plus, minus } = weightCells(placement, array.identity.geometry.sourceLines);
    const { name, mask } = layers[layer];
    return [...mask.keys()].flatMap((weight) => {
      if (mask[weight] === 0) return [];
      const cells = [plus[weight], minus[weight]].filter(isLost);
      return cells.length === 0 ? [] : [{ layer: name, weight, plus: plus[weight], minus: minus[weight], cells }];
    });
  });
}

/** @throws MacroError BUNDLE_CHIP_MISMATCH */
export function checkChipId({ identity }: MeteredArray, chip: ChipRecord): void {
  if (chip.chipId === identity.chipId) return;
  const problem = `the bundle was made on ${chip.chipId}, the device holds ${identity.chipId}`;
  throw new MacroError('BUNDLE_CHIP_MISMATCH', problem, { field: 'model' });
}

/**
 * Reads the array and compares it with a mask. Cells are read, not remembered, so an unknown outcome of an earlier command is healed.
 * @throws MacroError BUNDLE_CHIP_MISMATCH
 */
export async function inspectMask(
  array: MeteredArray, bundle: Bundle, chip: ChipRecord, limits: InspectionLimits, recorded: Uint16Array | undefined,
): Promise<MaskInspection> {
  checkChipId(array, chip);
  const pruned = prunedCells(bundle.layers.map(({ mask }) => mask), chip.placements, array.identity.geometry);
  const map = await array.read(wholeArray, limits.averages);
  checkFingerprint(array, map.codes, chip, pruned);
  const limitCode = array.codeOf(limits.residualLimitMicrosiemens);
  const { set, reset } = array.wear;
  const conducts = cellsWhere(pruned, (cell) => map.codes[cell] >= limitCode);
  const isStubborn = (cell: number) => reset[cell] >= (set[cell] + 1) * limits.pulsesPerCell;
  return {
    map, pruned, conducting: cellsWhere(conducts, (cell) => !isStubborn(cell)), stubborn: cellsWhere(conducts, isStubborn),
    regrowing: regrowingPairs(array, map.codes, bundle, chip, limitCode, recorded),
  };
}
