/** The part of a snapshot's tile that tells it from others. */
interface NamedTile {
  readonly firstBitLine: number;
  readonly plusLines: readonly number[];
  readonly differenceNanosiemens: ArrayLike<number>;
}

/** Names the effect of loading a snapshot, the same on both ends of the line. */
export function snapshotName(tiles: readonly NamedTile[]): string {
  const [{ firstBitLine, plusLines, differenceNanosiemens }] = tiles;
  return `snapshot ${tiles.length} tiles from ${firstBitLine}/${plusLines[0]}, first ${Array.from(differenceNanosiemens).slice(0, 4).join()}`;
}
