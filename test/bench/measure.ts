import { readFileSync } from 'node:fs';

/** Something that can be measured for one window: returns the figure of that window in the row's unit. */
export interface Subject {
  readonly name: string;
  window(): Promise<number>;
  close(): Promise<void>;
}

export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  /** More and shorter windows than usual find the undisturbed ones where a ratio has to be known to a few percent. */
  readonly windowCount?: number;
  open(): Promise<{ subject: Subject; baseline?: Subject }>;
}

/** One row of `npm run bench -- --json`. */
export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly baseline: { name: string; value: number } | null;
  readonly ratio: number | null;
  readonly best: number;
  readonly median: number;
  readonly otherCpuFraction: number;
  readonly loaded: boolean;
}

const usualWindowCount = 8;
const loadedAbove = 0.1;
const ticksPerSecond = 100;

/** Busy ticks of all processors, from /proc/stat; undefined where there is none. */
function busyTicks(): { busy: number; total: number } | undefined {
  try {
    const fields = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/).slice(1, 9).map(Number);
    const total = fields.reduce((sum, ticks) => sum + ticks, 0);
    return { busy: total - (fields[3] ?? 0) - (fields[4] ?? 0), total };
  } catch {
    return undefined;
  }
}

/** Processor time of this process and of children that it has waited for; running children are read one by one. */
function ownTicks(children: readonly number[]): number {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  const ofChildren = children.map((pid) => {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
      return Number(fields[11]) + Number(fields[12]);
    } catch {
      return 0;
    }
  });
  return ((userCPUTime + systemCPUTime) / 1e6) * ticksPerSecond + ofChildren.reduce((sum, ticks) => sum + ticks, 0);
}

/** Process ids that the figures under way have started, so that their work does not count as somebody else's. */
export const ownChildren: number[] = [];

async function windowOf(subject: Subject): Promise<{ value: number; otherCpuFraction: number }> {
  const before = busyTicks();
  const ownBefore = ownTicks(ownChildren);
  const value = await subject.window();
  const after = busyTicks();
  if (before === undefined || after === undefined) return { value, otherCpuFraction: 0 };
  const others = after.busy - before.busy - (ownTicks(ownChildren) - ownBefore);
  return { value, otherCpuFraction: Math.max(0, others) / Math.max(1, after.total - before.total) };
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const round = (value: number, digits = 4) => Number(value.toPrecision(digits));

/** Interleaves windows of the subject with windows of its baseline, so that both meet the same noise, and reports the best of each. */
export async function measure(figure: Figure): Promise<Row> {
  const { subject, baseline } = await figure.open();
  const best = (values: readonly number[]) => (figure.better === 'higher' ? Math.max(...values) : Math.min(...values));
  try {
    await subject.window(); // warms up caches and the compiler; not counted
    await baseline?.window();
    const values: number[] = [];
    const baselineValues: number[] = [];
    const otherCpuFractions: number[] = [];
    for (let index = 0; index < (figure.windowCount ?? usualWindowCount); index += 1) {
      const { value, otherCpuFraction } = await windowOf(subject);
      values.push(value);
      otherCpuFractions.push(otherCpuFraction);
      if (baseline !== undefined) baselineValues.push(await baseline.window());
    }
    const value = best(values);
    const reference = baseline === undefined ? null : { name: baseline.name, value: round(best(baselineValues)) };
    return {
      name: figure.name,
      value: round(value),
      unit: figure.unit,
      baseline: reference,
      ratio: reference === null ? null : round(value / reference.value),
      best: round(value),
      median: round(median(values)),
      otherCpuFraction: round(Math.min(...otherCpuFractions), 2),
      loaded: Math.min(...otherCpuFractions) > loadedAbove,
    };
  } finally {
    await subject.close();
    await baseline?.close();
  }
}
