import { hasCell } from '../../server/array/cell-bitmap.js';
import { usualMaskChoice } from '../../server/array/mask-application.js';
import type { Bundle, ChipRecord } from '../../server/network/bundle.js';
import { prunedCells } from '../../server/network/snapshot.js';
import type { Chip } from '../../sim/chip.js';
import { overrideProfile, profileNamed } from '../../sim/profile.js';
import { madeOn } from './made-on.js';

const geometry = { bitLines: 512, sourceLines: 512 };

/** Of chips on which one RESET is enough for every cell: without noise and without cells that no pulse moves. */
export const maskProfile = { name: 'lab-quiet', overrides: { stuckOnFraction: 0 } } as const;
export const maskedProfile = () => overrideProfile(profileNamed(maskProfile.name), maskProfile.overrides);

/** The small network made on one chip, and what its mask asks of the cells. */
export interface Mask {
  readonly bundle: Bundle;
  readonly pruned: readonly number[];
  /** Those of them that conduct: each needs one RESET. */
  readonly conducting: ReadonlySet<number>;
}

export function maskOn(chip: Chip): Mask {
  const bundle = madeOn(chip);
  const { placements } = bundle.chip as ChipRecord;
  const bitmap = prunedCells(bundle.layers.map(({ mask }) => mask), placements, geometry);
  const pruned = [...chip.codes.keys()].filter((cell) => hasCell(bitmap, cell));
  return { bundle, pruned, conducting: new Set(pruned.filter((cell) => chip.microsiemens(cell) >= usualMaskChoice.residualLimitMicrosiemens)) };
}
