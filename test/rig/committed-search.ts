import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder } from '../../server/version.js';
import { demonstrationOptions, prepareSearch } from '../../server/training/demonstration.js';
import type { TopologySearch } from '../../server/training/search.js';
import { Chip } from '../../sim/chip.js';
import { Macro } from '../../sim/macro.js';
import { profileNamed } from '../../sim/profile.js';

/** What the search of the demonstration network has written of itself. */
export interface SearchReport {
  readonly chipId: string;
  readonly seed: number;
  readonly digits: number;
  readonly epochs: number;
  readonly first: { readonly steps: number; readonly digest: string };
  readonly history: readonly { readonly digest: string }[];
  readonly device: Readonly<Record<'allTimesteps' | 'earlyStop', { readonly accuracy: number; readonly meanTimesteps: number }>>;
}

/** With the sources, from which a build runs as well. */
export const committedFolder = join(packageFolder(), 'server', 'training', 'demonstration');

export const committedReport = () => JSON.parse(readFileSync(join(committedFolder, 'report.json'), 'utf8')) as SearchReport;

/** The whole array as the board reads it for one request, sixteen times each cell: blocks of 32 bit lines. */
function readAsBoard(macro: Macro): Uint16Array {
  const codes = new Uint16Array(512 * 512);
  for (let firstBitLine = 0; firstBitLine < 512; firstBitLine += 32) {
    const block = { firstBitLine, bitLines: 32, firstSourceLine: 0, sourceLines: 512 };
    codes.set(macro.readCells(block, 16).codes, firstBitLine * 512);
  }
  return codes;
}

/** The search that found the demonstration network, at its beginning. */
export function committedSearch(): { search: TopologySearch; report: SearchReport } {
  const report = committedReport();
  const chip = Chip.formed(profileNamed('lab'), 1);
  if (chip.chipId !== report.chipId) throw new Error(`the network was found on ${report.chipId}`);
  const geometry = { bitLines: 512, sourceLines: 512, cellUnitNanosiemens: chip.profile.cellUnitNanosiemens };
  const { seed, epochs } = report;
  const cells = readAsBoard(new Macro(chip));
  const { search } = prepareSearch(cells, { geometry } as Parameters<typeof prepareSearch>[1], { ...demonstrationOptions, seed, epochs });
  return { search, report };
}
