import type { Bench } from './bench.js';

/** One statement of the specification, and how a board is held to it. */
export interface Item {
  /** Stable; its first word is the group. */
  readonly name: string;
  /** Where the statement stands. */
  readonly section: string;
  /** The statement, in a few words. */
  readonly title: string;
  /** The item is about what this version of the protocol added. */
  readonly protocol?: 2 | 3;
  /** Names of methods that HELLO_ACK has to declare. */
  readonly capabilities?: readonly string[];
  /** What the user has to allow. */
  readonly permission?: 'pulses' | 'restart';
  /** @throws Deviation, NotRun */
  run(bench: Bench): Promise<void>;
}

export const groupOf = (item: Item): string => item.name.slice(0, item.name.indexOf('-'));
