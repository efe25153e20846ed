import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { MacroError } from '../proto/error.js';
import type { Region } from '../proto/message.js';

export const wholeArray: Region = { firstBitLine: 0, bitLines: bitLineCount, firstSourceLine: 0, sourceLines: sourceLineCount };

/**
 * A block of cells as people write it.
 * @param option where it was written, for messages
 * @throws MacroError BAD_ARGUMENT, saying how a region is written
 */
export function parseRegion(text: string, option: string): Region {
  const refuse = (problem: string): never => {
    throw new MacroError('BAD_ARGUMENT', `--${option} is "${text}": ${problem}`, { field: option });
  };
  const match = /^\s*bl\s+(\d+)(?:-(\d+))?\s*,\s*sl\s+(\d+)(?:-(\d+))?\s*$/.exec(text);
  if (match === null) return refuse('a region is written "bl 0-3, sl 0-3"');
  const [firstBitLine, firstSourceLine] = [Number(match[1]), Number(match[3])];
  const [lastBitLine, lastSourceLine] = [Number(match[2] ?? match[1]), Number(match[4] ?? match[3])];
  if (lastBitLine < firstBitLine || lastBitLine >= bitLineCount) refuse(`bit lines go from 0 to ${bitLineCount - 1}, the first before the last`);
  if (lastSourceLine < firstSourceLine || lastSourceLine >= sourceLineCount) {
    refuse(`source lines go from 0 to ${sourceLineCount - 1}, the first before the last`);
  }
  return { firstBitLine, bitLines: lastBitLine - firstBitLine + 1, firstSourceLine, sourceLines: lastSourceLine - firstSourceLine + 1 };
}

/** The region as a bitmap: bit line × 512 + source line, bit i of byte i>>3. */
export function bitmapOf({ firstBitLine, bitLines, firstSourceLine, sourceLines }: Region): Uint8Array {
  const bits = new Uint8Array((bitLineCount * sourceLineCount) / 8);
  for (let row = firstBitLine; row < firstBitLine + bitLines; row += 1) {
    for (let line = firstSourceLine; line < firstSourceLine + sourceLines; line += 1) {
      const cell = row * sourceLineCount + line;
      bits[cell >> 3] |= 1 << (cell & 7);
    }
  }
  return bits;
}
