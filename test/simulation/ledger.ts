import type { Outcome } from '../../proto/outcome.js';
import type { Trace } from './trace.js';
import type { Verdict } from './verdict.js';

/** One effect by its name, such as the pulse on one cell: what was asked for, what was reported, and what the chip shows. */
interface Account {
  applied: number;
  unknown: number;
  /** Asked for and not reported: under way, or its host has died. */
  open: number;
  observed: number;
}

/** Every scratch addition has a digit of its own in the board's counter, so that a sum says which were added how often. */
const digits = 16;
const digitBits = 2;

/** Keeps what hosts were told of effects beside what was seen at the board, and fails at the first difference (DESIGN.md §1.1). */
export class Ledger {
  private readonly accounts = new Map<string, Account>();
  private readonly cells = new Map<number, string>();
  private readonly additions: string[] = Array.from({ length: digits }, () => 'none');
  private made = 0;

  constructor(private readonly trace: Trace, private readonly verdict: Verdict) {}

  /** A number for Scratch that no other addition of its time has. */
  newAddition(): number {
    const digit = this.made % digits;
    this.additions[digit] = `addition ${this.made}`;
    this.made += 1;
    return 2 ** (digit * digitBits);
  }

  /** The effect that an addition is. */
  additionName(add: number): string {
    return this.additions[Math.log2(add) / digitBits];
  }

  cellName(cell: number): string {
    this.cells.set(cell, `cell ${cell}`);
    return `cell ${cell}`;
  }

  get watchedCells(): Iterable<number> {
    return this.cells.keys();
  }

  asked(effects: readonly string[]): void {
    for (const effect of effects) this.account(effect).open += 1;
  }

  /** @param isWhole false where only some of the effects need to be there: the request was ended in the middle */
  reported(effects: readonly string[], outcome: Outcome, isWhole = true): void {
    this.trace.tell('outcome', `${effects.slice(0, 4).join(', ')} ${outcome}`);
    for (const effect of effects) {
      const account = this.account(effect);
      account.open -= 1;
      if (outcome === 'applied' && isWhole) account.applied += 1;
      else if (outcome !== 'not-applied') account.unknown += 1;
      this.check(effect, account);
    }
    const isAnything = effects.some((effect) => this.account(effect).observed > 0);
    this.verdict.expect(outcome !== 'applied' || isAnything, () => `${effects.join(', ')} was reported as applied, and nothing of it is on the chip`);
  }

  /** The board has said what became of effects that were in doubt. @param isReported whether their call had been told that it is unknown */
  settled(effects: readonly string[], outcome: 'applied' | 'not-applied', isReported: boolean): void {
    this.trace.tell('settled', `${effects.slice(0, 4).join(', ')} ${outcome}`);
    for (const effect of effects) {
      const account = this.account(effect);
      account[isReported ? 'unknown' : 'open'] -= 1;
      if (outcome === 'applied') account.applied += 1;
      this.check(effect, account);
    }
  }

  /** How often an effect is on the chip now. */
  observed(effect: string, count: number): void {
    const account = this.account(effect);
    if (account.observed === count) return;
    this.trace.tell('chip', `${effect} is there ${count} times`);
    account.observed = count;
    this.check(effect, account);
  }

  /** What the scratch counter of a board grew by. */
  added(growth: number): void {
    for (let digit = 0, rest = growth >>> 0; rest !== 0; digit += 1, rest >>>= digitBits) {
      const times = rest & (2 ** digitBits - 1);
      if (times === 0) continue;
      const effect = this.additions[digit];
      this.observed(effect, this.account(effect).observed + times);
    }
  }

  observedOf(effect: string): number {
    return this.account(effect).observed;
  }

  private account(effect: string): Account {
    const known = this.accounts.get(effect);
    if (known !== undefined) return known;
    const account = { applied: 0, unknown: 0, open: 0, observed: 0 };
    this.accounts.set(effect, account);
    return account;
  }

  private check(effect: string, { applied, unknown, open, observed }: Account): void {
    const most = applied + unknown + open;
    this.verdict.expect(observed <= most, () => `${effect} was applied ${observed} times, and at most ${most} may have been`);
    this.verdict.expect(observed >= applied, () => `${effect} was reported as applied ${applied} times and is on the chip ${observed} times`);
  }
}
