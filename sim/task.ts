import type { ErrorCode } from '../proto/error.js';
import type { MethodName, MethodResults, Program, Progress, Pulse } from '../proto/message.js';
import type { BulkStore } from './bulk-store.js';
import type { Chip } from './chip.js';
import type { Macro } from './macro.js';

/** Why a method was not done. Nothing was applied. */
export class Refusal {
  constructor(readonly code: ErrorCode, readonly detail: string) {}
}

/** What methods work on. */
export interface Bench {
  readonly chip: Chip;
  readonly macro: Macro;
  readonly bulk: BulkStore;
  readonly programs: Map<string, Program>;
  arrayState(): Uint8Array;
  /** Makes what was done to the chip outlast this process, before anybody hears of it. */
  note(): void;
  /** Makes what was done to the chip outlast a power cut, before it is acknowledged. */
  persist(): void;
}

type ProgressBody = Omit<Progress, 'requestId'>;

/** A pulse that comes next. Whoever drives the task gives it before the task goes on: as it was asked for, or shorter where bias goes off meanwhile. */
export interface PulseAhead {
  readonly pulse: Pulse;
  give(driven: Pulse): void;
}

type Yielded = ProgressBody | PulseAhead | undefined;

export const isPulse = (yielded: Yielded): yielded is PulseAhead => yielded !== undefined && 'give' in yielded;

/**
 * A method at work: it yields each pulse, and what it has to tell between two steps, which may be nothing, and returns its answer. A step is short, so that
 * the line has its turn and ESTOP gets in.
 */
export type Task<Name extends MethodName = MethodName> = Generator<Yielded, MethodResults[Name] | Refusal, void>;

export const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
export const outOfRange = (field: string, value: unknown, minimum: number, maximum: number) =>
  new Refusal('REQUEST_INVALID', `${field} is ${value}; the range is ${minimum} to ${maximum}`);

export function missingObject(field: string, digest: Uint8Array): Refusal {
  return new Refusal('BULK_UNKNOWN', `${field} names the object ${hex(digest.subarray(0, 8))}, which is not here`);
}
