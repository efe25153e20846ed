import { createHash } from 'node:crypto';

const remembered = 40;

/** Everything that happens in a run, as one digest, and the last of it in words. */
export class Trace {
  private readonly hash = createHash('sha256');
  private readonly last: (() => string)[] = [];
  private count = 0;
  private isSealed = false;

  constructor(private readonly nowMicroseconds: () => number) {}

  /** @param describe called only if the line is wanted, so that a long run need not write what nobody reads */
  note(kind: string, content: Uint8Array | string, describe: () => string): void {
    if (this.isSealed) return;
    const at = this.nowMicroseconds();
    this.hash.update(`${at} ${kind} `).update(content).update('\n');
    this.last[this.count % remembered] = () => `${(at / 1e6).toFixed(6).padStart(14)} s  ${kind.padEnd(14)} ${describe()}`;
    this.count += 1;
  }

  tell(kind: string, text: string): void {
    this.note(kind, text, () => text);
  }

  get length(): number {
    return this.count;
  }

  /** The last events, oldest first. */
  lines(): string[] {
    const first = Math.max(0, this.count - remembered);
    return Array.from({ length: this.count - first }, (_, index) => this.last[(first + index) % remembered]());
  }

  /** SHA-256 of all events. What happens later is not part of the run. */
  digest(): string {
    this.isSealed = true;
    return this.hash.digest('hex');
  }
}
