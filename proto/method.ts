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
  subscribe: 'idempotent',
  arithmetic: 'pure',
  restart: 'idempotent',
  formCells: 'effectful',
  setCells: 'effectful',
  programCells: 'effectful',
  readWear: 'pure',
  sweepCell: 'effectful',
};

export const methodNames = Object.keys(methodEffects) as MethodName[];

export const isMethodName = (name: string): name is MethodName => Object.hasOwn(methodEffects, name);

/** Methods that change nothing and put bias on the array all the same. */
const arrayReads: ReadonlySet<MethodName> = new Set<MethodName>(['runNetwork', 'multiply', 'readCells']);

/** Whether a method puts bias on the array, or counts as if it did: refused under ESTOP, watched by the dead-man. */
export const energises = (method: MethodName): boolean => methodEffects[method] === 'effectful' || arrayReads.has(method);

/** The name of a method in `HelloAck.capabilities`: that of its message. */
export const capabilityOf = (method: MethodName): string => method[0].toUpperCase() + method.slice(1);

/** Beside methods: a board that runs networks knows stop rules other than the softmax, and thresholds by timestep. */
export const stopRulesCapability = 'StopRules';

/** Methods that every board has, named or not. */
export const alwaysThere: ReadonlySet<MethodName> = new Set<MethodName>(['noOperation', 'getStatus']);

const sinceProtocol2: ReadonlySet<MethodName> = new Set<MethodName>(['subscribe', 'arithmetic', 'restart']);

const sinceProtocol3: ReadonlySet<MethodName> = new Set<MethodName>(['formCells', 'setCells', 'programCells', 'readWear', 'sweepCell']);

/** The first protocol version that has a method. */
export function protocolOf(method: MethodName): number {
  if (sinceProtocol3.has(method)) return 3;
  return sinceProtocol2.has(method) ? 2 : 1;
}
