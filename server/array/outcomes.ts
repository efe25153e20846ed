import type { CellOutcome, Region } from '../../driver/index.js';
import { sourceLineCount } from '../../firmware-protocol/limits.js';
import { cellOutcomes } from '../../proto/message.js';

/** How many cells ended how. Cells that were not selected are not counted. */
export function outcomeCounts(outcomes: Uint8Array): Record<CellOutcome, number> {
  const counts = Object.fromEntries(cellOutcomes.map((name) => [name, 0])) as Record<CellOutcome, number>;
  for (const outcome of outcomes) if (outcome !== 0) counts[cellOutcomes[outcome]] += 1;
  return counts;
}

/** The part of a map of the whole array, one value a cell, that a region is. */
export function partOf<Values extends Uint8Array | Uint16Array>(map: Values, region: Region): Values {
  const part = map.slice(0, region.bitLines * region.sourceLines) as Values;
  for (let row = 0; row < region.bitLines; row += 1) {
    const from = (region.firstBitLine + row) * sourceLineCount + region.firstSourceLine;
    part.set(map.subarray(from, from + region.sourceLines), row * region.sourceLines);
  }
  return part;
}
