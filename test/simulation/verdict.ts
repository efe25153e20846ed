/** What a run can show: something broke, a promise was broken, or nothing moves any more. */
export type FailureKind = 'crash' | 'safety' | 'liveness';

export interface RunFailure {
  readonly kind: FailureKind;
  readonly text: string;
}

/** Ends the script of a run that has failed. */
export class Halt extends Error {}

/**
 * The first thing that went wrong in a run. It is kept instead of thrown, because code under test may catch what passes through it; the run
 * ends after the turn in which it happened.
 */
export class Verdict {
  failure: RunFailure | undefined;

  fail(kind: FailureKind, text: string): void {
    this.failure ??= { kind, text };
  }

  /** A promise of the design that must hold now. */
  expect(holds: boolean, text: () => string): void {
    if (!holds) this.fail('safety', text());
  }
}
