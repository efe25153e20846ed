import { MacroError } from '../../proto/error.js';
import { Bench, type BenchOptions } from './bench.js';
import { Deviation, NotRun } from './deviation.js';
import { groupOf, type Item } from './item.js';
import { bulkItems } from './items/bulk.js';
import { discardItems, framingItems } from './items/framing.js';
import { journalItems } from './items/journal.js';
import { linkItems } from './items/link.js';
import { methodItems } from './items/method.js';
import { networkItems } from './items/network.js';
import { numericsItems } from './items/numerics.js';
import { pulseItems } from './items/pulses.js';
import { requestItems } from './items/request.js';
import { resyncItems } from './items/resync.js';
import { safetyItems } from './items/safety.js';
import { sessionItems } from './items/session.js';
import { stopItems } from './items/stop.js';
import { telemetryItems } from './items/telemetry.js';
import { checksumItem, probe } from './probe.js';
import type { ItemResult, Report } from './report.js';

/** All items, in the order in which they are run: what later ones build upon comes first. */
export const conformanceItems: readonly Item[] = [
  checksumItem, ...framingItems, ...resyncItems, ...discardItems, ...sessionItems, ...linkItems, ...requestItems, ...journalItems, ...bulkItems, ...methodItems,
  ...numericsItems, ...networkItems, ...telemetryItems, ...safetyItems, ...pulseItems, ...stopItems,
];

export interface ConformanceOptions extends BenchOptions {
  /** How people call the board. */
  readonly name: string;
  /** Names of items or groups; none: all. */
  readonly only: readonly string[];
  readonly connectTimeoutMilliseconds: number;
  readonly onResult?: (result: ItemResult) => void;
  readonly signal?: AbortSignal;
}

const itemMilliseconds = 180_000;
const quotedLines = 12;

/** @throws MacroError BAD_ARGUMENT where a name is no item and no group */
export function chooseItems(only: readonly string[]): readonly Item[] {
  if (only.length === 0) return conformanceItems;
  const isNamed = (item: Item, name: string) => item.name === name || groupOf(item) === name;
  const unknown = only.find((name) => !conformanceItems.some((item) => isNamed(item, name)));
  if (unknown !== undefined) {
    const groups = [...new Set(conformanceItems.map(groupOf))].join(', ');
    throw new MacroError('BAD_ARGUMENT', `there is no item "${unknown}"; groups are ${groups}`, { field: 'only' });
  }
  return conformanceItems.filter((item) => only.some((name) => isNamed(item, name)));
}

/** Why an item is not tried on this board; undefined where it is. */
function obstacle(item: Item, bench: Bench): string | undefined {
  const { identity, options } = bench;
  if ((item.protocol ?? 1) > (identity?.protocol ?? 1)) return `the board speaks protocol ${identity?.protocol ?? 1}`;
  const missing = (item.capabilities ?? []).filter((name) => !bench.declares(name));
  if (missing.length > 0) return `the board does not declare ${missing.join(', ')}`;
  if (item.permission === 'pulses' && options.allowedPulses === undefined) return 'pulses are not allowed (--allow-pulses)';
  if (item.permission !== 'restart') return undefined;
  if (!options.allowsRestart) return 'a restart is not allowed (--allow-restart)';
  return bench.declares('Restart') ? undefined : 'the board does not declare Restart, and nobody can press its button';
}

/** Ends an item that waits for ever: a bound on every wait, whatever an item forgot. */
function bounded(work: Promise<void>, { clock }: BenchOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(itemMilliseconds * 1000, () => reject(new Deviation(`an end within ${itemMilliseconds / 1000} s`, 'none')));
    work.then(resolve, reject).finally(() => timer.cancel());
  });
}

class Run {
  private readonly results: ItemResult[] = [];
  private deadSince: string | undefined;

  constructor(private readonly bench: Bench, private readonly options: ConformanceOptions) {}

  async all(items: readonly Item[]): Promise<readonly ItemResult[]> {
    for (const item of items) {
      const start = this.options.clock.nowMicroseconds();
      const outcome = await this.outcome(item);
      const milliseconds = (this.options.clock.nowMicroseconds() - start) / 1000;
      const result: ItemResult = { name: item.name, group: groupOf(item), section: item.section, title: item.title, milliseconds, ...outcome };
      this.results.push(result);
      this.options.onResult?.(result);
    }
    return this.results;
  }

  private async outcome(item: Item): Promise<Pick<ItemResult, 'outcome' | 'reason' | 'expected' | 'came' | 'trace'>> {
    if (this.options.signal?.aborted) return { outcome: 'not run', reason: 'the suite was interrupted' };
    if (this.deadSince !== undefined) return { outcome: 'not run', reason: `the board has not answered since ${this.deadSince}` };
    const reason = obstacle(item, this.bench);
    if (reason !== undefined) return { outcome: 'not run', reason };
    try {
      await bounded(item.run(this.bench), this.options);
      return { outcome: 'passed' };
    } catch (error) {
      if (error instanceof NotRun) return { outcome: 'not run', reason: error.message };
      const trace = this.bench.host?.lastLines(quotedLines) ?? [];
      await this.recover(item);
      if (error instanceof Deviation) return { outcome: 'failed', expected: error.expected, came: error.came, trace };
      return { outcome: 'failed', expected: 'an item that ends', came: error instanceof Error ? error.message : String(error), trace };
    } finally {
      this.bench.finish();
    }
  }

  /** A board that does not answer HELLO, not even on a fresh line, cannot be asked anything else. */
  private async recover(item: Item): Promise<void> {
    try {
      await this.bench.open();
      return;
    } catch {
      this.bench.close();
    }
    try {
      await this.bench.open();
    } catch {
      this.deadSince = item.name;
    }
  }
}

/**
 * Holds a board to PROTOCOL.md and NUMERICS.md.
 *
 * @throws MacroError DEVICE_UNREACHABLE where nobody answers, BAD_ARGUMENT where `only` names no item
 */
export async function runConformance(options: ConformanceOptions): Promise<Report> {
  const items = chooseItems(options.only);
  const bench = new Bench(options);
  try {
    const problem = await probe(bench, options.name, options.connectTimeoutMilliseconds);
    if (problem !== undefined) return { name: options.name, identity: undefined, results: deadResults(items, problem, options) };
    const results = await new Run(bench, options).all(items);
    return { name: options.name, identity: bench.identity, results };
  } finally {
    bench.close();
  }
}

/** The board makes itself heard and nothing of it is understood: one item says why, the others were not run. */
function deadResults(items: readonly Item[], problem: Deviation, { onResult }: ConformanceOptions): ItemResult[] {
  const wanted = items.includes(checksumItem) ? items : [checksumItem, ...items];
  return wanted.map((item) => {
    const shown = { name: item.name, group: groupOf(item), section: item.section, title: item.title, milliseconds: 0 };
    const result: ItemResult = item === checksumItem
      ? { ...shown, outcome: 'failed', expected: problem.expected, came: problem.came, trace: [] }
      : { ...shown, outcome: 'not run', reason: 'the frames of the board are not understood' };
    onResult?.(result);
    return result;
  });
}
