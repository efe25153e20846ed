import type { MethodName } from './message.js';

/** Whether running a method twice differs from running it once: pure changes nothing, idempotent ends in the same state, effectful does not. */
export type Effect = 'pure' | 'idempotent' | 'effectful';

export const methodEffects: Readonly<Record<MethodName, Effect>> = {
  noOperation: 'pure',
  getStatus: 'pure',
  scratch: 'effectful',
  bulkOffer: 'idempotent',
  bulkCommit: 'idempotent',
  bulkFetch: 'pure',
  loadProgram: 'idempotent',
  loadSnapshot: 'effectful',
  runNetwork: 'pure',
  multiply: 'pure',
  readCells: 'pure',
  resetCells: 'effectful',
};

export const methodNames = Object.keys(methodEffects) as MethodName[];
