/** Operations that can be made to fail by their number. */
export const operations = ['write', 'persist', 'transaction', 'connect'] as const;
export type Operation = (typeof operations)[number];

export const isOperation = (text: string): text is Operation => operations.some((operation) => operation === text);

/** Which operation fails: the k-th of its kind, and all after it where the failure lasts. */
export interface SabotagePlan {
  readonly operation: Operation;
  readonly number: number;
  readonly isLasting: boolean;
}

/** Counts operations, and says which shall fail. */
export class Sabotage {
  private count = 0;
  private isOver = false;
  /** Whether it has struck; a script that ends before it does has no such operation any more. */
  hasStruck = false;

  constructor(private readonly plan: SabotagePlan | undefined) {}

  strikes(operation: Operation): boolean {
    if (this.plan?.operation !== operation) return false;
    this.count += 1;
    const { number, isLasting } = this.plan;
    const isHit = !this.isOver && (this.count === number || (isLasting && this.count > number));
    this.hasStruck ||= isHit;
    return isHit;
  }

  /** What fails is mended. */
  end(): void {
    this.isOver = true;
  }
}
