import { maximumBulkBytes } from '../../firmware-protocol/limits.js';
import type { CellProgress, MethodName, MethodRequests, MethodResults, Request } from '../../proto/message.js';
import { BulkStore } from '../../sim/bulk-store.js';
import { Chip } from '../../sim/chip.js';
import { Macro } from '../../sim/macro.js';
import { taskOf } from '../../sim/methods.js';
import { overrideProfile, profileNamed } from '../../sim/profile.js';
import { type Bench, isPulse, Refusal } from '../../sim/task.js';
import { sha256 } from './bench.js';

/** What the methods of a simulated board work on, without the board. */
export interface Rig extends Bench { saves: number }

export function rigOf(state: 'formed' | 'pristine', overrides: object = {}, name = 'lab-full', seed = 1): Rig {
  const profile = overrideProfile(profileNamed(name), overrides);
  const chip = state === 'formed' ? Chip.formed(profile, seed) : Chip.pristine(profile, seed);
  const bulk = new BulkStore(maximumBulkBytes, sha256);
  const persist = () => { rig.saves += 1; };
  const arrayState = () => sha256(chip.stateBytes());
  const rig: Rig = { chip, macro: new Macro(chip), bulk, programs: new Map(), arrayState, note: () => undefined, persist, saves: 0 };
  return rig;
}

export const put = ({ bulk }: Bench, bytes: Uint8Array) => bulk.put(bytes) ?? new Uint8Array();

export interface Ended<Name extends MethodName> { readonly result: MethodResults[Name] | Refusal; readonly progress: CellProgress[]; readonly steps: number }

/** Runs a method to its end, or so many steps far. */
export function run<Name extends MethodName>(rig: Bench, method: Name, body: MethodRequests[Name], steps = Number.POSITIVE_INFINITY): Ended<Name> {
  const request = { requestId: new Uint8Array(16), deadlineMicroseconds: 0, leaseEpoch: 0, [method]: body } as Request;
  const task = taskOf(rig, request, method);
  const progress: CellProgress[] = [];
  for (let step = 0; step < steps;) {
    const { done, value } = task.next();
    if (done === true) return { result: value as MethodResults[Name] | Refusal, progress, steps: step };
    if (isPulse(value)) {
      value.give(value.pulse);
      continue;
    }
    step += 1;
    if (value?.cells) progress.push(value.cells);
  }
  return { result: new Refusal('CANCELLED', 'ended at a safe point'), progress, steps };
}

export function done<Name extends MethodName>(ended: Ended<Name>): MethodResults[Name] {
  if (ended.result instanceof Refusal) throw new Error(`${ended.result.code}: ${ended.result.detail}`);
  return ended.result;
}
