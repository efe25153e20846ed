import { type PulseKind, pulseKinds, type SweepBranch, type SweepBranches } from './message.js';

/** Steps of one request. */
export const maximumSweepPoints = 4096;
export const maximumSweepCycles = 100;

/** What a sweep of one cell asks for, as far as it says which steps there are. */
export interface SweepPath extends SweepBranches {
  readonly stepMillivolts: number;
  readonly cycles: number;
}

/** One voltage of a sweep. Of a RESET it lies the other way round across the cell. */
export interface SweepStep {
  readonly kind: PulseKind;
  readonly amplitudeMillivolts: number;
  /** It is a pulse in the life of the cell; otherwise it can move none. */
  readonly isCounted: boolean;
}

/** What was measured at one step. */
export interface SweepPoint {
  /** Of a RESET voltage and current are negative. */
  readonly amplitudeMillivolts: number;
  readonly currentNanoamperes: number;
  /** Index into the ranges of the result. */
  readonly range: number;
  /** The current was this or more, and nobody knows how much. */
  readonly isSaturated: boolean;
}

export const sweepPointBytes = 8;

/** Branches of a sweep in the order in which a cycle takes them. */
export const sweptKinds = (branches: SweepBranches): PulseKind[] => pulseKinds.filter((kind) => Boolean(branches[kind]));

const stairsOf = ({ lastMillivolts }: SweepBranch, stepMillivolts: number) => Math.ceil(lastMillivolts / stepMillivolts);

/** How many steps a request has at most, without making them: it may be any numbers. */
export function countSweepSteps(path: SweepPath): number {
  const stepsOf = (kind: PulseKind) => {
    const stairs = stairsOf(path[kind] as SweepBranch, path.stepMillivolts);
    return kind === 'forming' ? stairs : 2 * stairs - 1;
  };
  return path.cycles * sweptKinds(path).reduce((sum, kind) => sum + stepsOf(kind), 0);
}

/** From one step above 0 up to the last amplitude, and down again; a forming only climbs. */
function branchOf(kind: PulseKind, branch: SweepBranch, stepMillivolts: number): SweepStep[] {
  const rising = Array.from({ length: stairsOf(branch, stepMillivolts) }, (_, stair): SweepStep => {
    const amplitudeMillivolts = Math.min(branch.lastMillivolts, (stair + 1) * stepMillivolts);
    return { kind, amplitudeMillivolts, isCounted: amplitudeMillivolts >= branch.countedFromMillivolts };
  });
  return kind === 'forming' ? rising : [...rising, ...rising.slice(0, -1).reverse()];
}

/** Every step of a sweep, in order; a forming ends earlier where the cell forms. */
export function sweepSteps(path: SweepPath): SweepStep[] {
  const cycle = sweptKinds(path).flatMap((kind) => branchOf(kind, path[kind] as SweepBranch, path.stepMillivolts));
  return Array.from({ length: path.cycles }, () => cycle).flat();
}

/** Pulses that a sweep counts as, by kind; of a forming at most. */
export function countedPulses(path: SweepPath): Record<PulseKind, number> {
  const pulses = { forming: 0, set: 0, reset: 0 };
  for (const { kind, isCounted } of sweepSteps(path)) if (isCounted) pulses[kind] += 1;
  return pulses;
}

/** The points as their bulk object holds them. */
export function encodeSweepPoints(points: readonly SweepPoint[]): Uint8Array {
  const bytes = new Uint8Array(points.length * sweepPointBytes);
  const view = new DataView(bytes.buffer);
  points.forEach(({ amplitudeMillivolts, currentNanoamperes, range, isSaturated }, index) => {
    view.setInt16(index * sweepPointBytes, amplitudeMillivolts, true);
    view.setUint8(index * sweepPointBytes + 2, range);
    view.setUint8(index * sweepPointBytes + 3, isSaturated ? 1 : 0);
    view.setInt32(index * sweepPointBytes + 4, currentNanoamperes, true);
  });
  return bytes;
}

/** What is left of a point that is not whole is left out. */
export function decodeSweepPoints(bytes: Uint8Array): SweepPoint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / sweepPointBytes) }, (_, index) => ({
    amplitudeMillivolts: view.getInt16(index * sweepPointBytes, true),
    range: view.getUint8(index * sweepPointBytes + 2),
    isSaturated: view.getUint8(index * sweepPointBytes + 3) === 1,
    currentNanoamperes: view.getInt32(index * sweepPointBytes + 4, true),
  }));
}
