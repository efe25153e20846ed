/** First timeout before any round trip was measured. */
export const firstTimeoutMicroseconds = 200_000;
const timeoutFloorMicroseconds = 5_000;
const timeoutCeilingMicroseconds = 1_000_000;
const granularityMicroseconds = 1_000;
/** A receiver may keep an acknowledgement so long (PROTOCOL.md §"Link"); no sample promises that the next one will not wait (as RFC 9002 §6.2.1). */
export const acknowledgementDelayMicroseconds = 1_000;

/** The retransmission timeout of RFC 6298 §2, from samples that the caller takes by Karn's rule (§3: never from a frame sent twice). */
export class RoundTrip {
  smoothedMicroseconds: number | undefined;
  private variationMicroseconds = 0;
  private backoff = 1;

  /** @param frameTimeMicroseconds time of the longest frame on the line; four of them are the least that a timeout may be */
  constructor(private readonly frameTimeMicroseconds: number) {}

  sample(microseconds: number): void {
    this.backoff = 1;
    if (this.smoothedMicroseconds === undefined) {
      this.smoothedMicroseconds = microseconds;
      this.variationMicroseconds = microseconds / 2;
      return;
    }
    this.variationMicroseconds += (Math.abs(this.smoothedMicroseconds - microseconds) - this.variationMicroseconds) / 4;
    this.smoothedMicroseconds += (microseconds - this.smoothedMicroseconds) / 8;
  }

  /** A timeout has expired: the next one is twice as long (§5.5), until a new sample comes. */
  backOff(): void {
    this.backoff *= 2;
  }

  get timeoutMicroseconds(): number {
    const floor = Math.max(timeoutFloorMicroseconds, 4 * this.frameTimeMicroseconds);
    const ceiling = Math.max(timeoutCeilingMicroseconds, 2 * floor);
    const estimate = this.smoothedMicroseconds === undefined
      ? firstTimeoutMicroseconds
      : this.smoothedMicroseconds + Math.max(granularityMicroseconds, 4 * this.variationMicroseconds) + acknowledgementDelayMicroseconds;
    return Math.min(ceiling, Math.max(floor, estimate) * this.backoff);
  }
}
