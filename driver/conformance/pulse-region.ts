import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import type { Region } from '../../proto/message.js';

/** The cells that the suite may pulse. */
export type PulseRegion = Region;

const refuse = (text: string, problem: string): never => {
  throw new MacroError('BAD_ARGUMENT', `--allow-pulses is "${text}": ${problem}`, { field: 'allow-pulses' });
};

/** @throws MacroError BAD_ARGUMENT, saying how a region is written */
export function parsePulseRegion(text: string): PulseRegion {
  const match = /^\s*bl\s+(\d+)(?:-(\d+))?\s*,\s*sl\s+(\d+)(?:-(\d+))?\s*$/.exec(text);
  if (match === null) return refuse(text, 'a region is written "bl 0-3, sl 0-3"');
  const [firstBitLine, firstSourceLine] = [Number(match[1]), Number(match[3])];
  const [lastBitLine, lastSourceLine] = [Number(match[2] ?? match[1]), Number(match[4] ?? match[3])];
  if (lastBitLine < firstBitLine || lastBitLine >= bitLineCount) refuse(text, `bit lines go from 0 to ${bitLineCount - 1}, the first before the last`);
  if (lastSourceLine < firstSourceLine || lastSourceLine >= sourceLineCount) {
    refuse(text, `source lines go from 0 to ${sourceLineCount - 1}, the first before the last`);
  }
  return { firstBitLine, bitLines: lastBitLine - firstBitLine + 1, firstSourceLine, sourceLines: lastSourceLine - firstSourceLine + 1 };
}

/** The region as the bitmap of a ResetCells: bit line × 512 + source line, bit i of byte i>>3. */
export function bitmapOf({ firstBitLine, bitLines, firstSourceLine, sourceLines }: PulseRegion): Uint8Array {
  const bits = new Uint8Array((bitLineCount * sourceLineCount) / 8);
  for (let row = firstBitLine; row < firstBitLine + bitLines; row += 1) {
    for (let line = firstSourceLine; line < firstSourceLine + sourceLines; line += 1) {
      const cell = row * sourceLineCount + line;
      bits[cell >> 3] |= 1 << (cell & 7);
    }
  }
  return bits;
}
