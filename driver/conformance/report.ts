import type { HelloAck } from '../../proto/message.js';

/** What became of one item. */
export interface ItemResult {
  readonly name: string;
  readonly group: string;
  readonly section: string;
  readonly title: string;
  readonly milliseconds: number;
  readonly outcome: 'passed' | 'failed' | 'not run';
  /** Why it was not run. */
  readonly reason?: string;
  readonly expected?: string;
  readonly came?: string;
  /** The last lines of the conversation before it failed. */
  readonly trace?: readonly string[];
}

export interface Report {
  readonly name: string;
  readonly identity: HelloAck | undefined;
  readonly results: readonly ItemResult[];
}

const marks = { passed: '✓', failed: '✗', 'not run': '–' } as const;
const nameColumns = 26;

/** How many items ended how. */
export function totalsOf(results: readonly ItemResult[]): { passed: number; failed: number; notRun: number } {
  const count = (outcome: ItemResult['outcome']) => results.filter((result) => result.outcome === outcome).length;
  return { passed: count('passed'), failed: count('failed'), notRun: count('not run') };
}

/** The last line of a report: other programs read it. */
export function describeTotals(results: readonly ItemResult[]): string {
  const { passed, failed, notRun } = totalsOf(results);
  return `${passed} passed, ${failed} failed, ${notRun} not run`;
}

/** One item for people; one that failed takes several lines. */
export function describeResult({ name, title, outcome, section, reason, expected, came, trace = [], milliseconds }: ItemResult): string {
  const line = `  ${marks[outcome]} ${name.padEnd(nameColumns)} ${title}`;
  if (outcome === 'passed') return milliseconds < 1000 ? line : `${line} (${(milliseconds / 1000).toFixed(1)} s)`;
  if (outcome === 'not run') return `${line}\n      not run: ${reason}`;
  const quoted = trace.map((text) => `        ${text}`);
  return [line, `      ${section}`, `      expected: ${expected}`, `      came:     ${came}`, ...quoted].join('\n');
}

/** What board was asked. */
export function describeBoard(name: string, identity: HelloAck | undefined): string {
  if (identity === undefined) return name;
  const { chipId, firmwareVersion, protocol, bootCount, profile } = identity;
  return `${name}: chip ${chipId}, firmware ${firmwareVersion}, protocol ${protocol}, boot ${bootCount}${profile === '' ? '' : `, profile ${profile}`}`;
}
