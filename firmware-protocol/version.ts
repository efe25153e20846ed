/** A range of protocol versions, both ends included. */
export interface VersionRange {
  readonly minimum: number;
  readonly maximum: number;
}

/** Versions of PROTOCOL.md that this code speaks, at either end. */
export const protocolVersions: VersionRange = { minimum: 1, maximum: 3 };

/** The highest version that both ends speak, or undefined where there is none. */
export function commonVersion(left: VersionRange, right: VersionRange): number | undefined {
  const highest = Math.min(left.maximum, right.maximum);
  return highest >= Math.max(left.minimum, right.minimum) ? highest : undefined;
}

/** What is said where there is no common version. */
export function versionMismatch(board: VersionRange, host: VersionRange): string {
  return `the board speaks protocol ${rangeText(board)}, the host ${rangeText(host)}`;
}

const rangeText = ({ minimum, maximum }: VersionRange) => `${minimum} to ${maximum}`;
