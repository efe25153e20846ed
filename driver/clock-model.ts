/** What is known of the board's link time. */
export interface ClockEstimate {
  /** Board link time minus host time. */
  readonly offsetMicroseconds: number;
  /** The true offset lies within so much of it. */
  readonly uncertaintyMicroseconds: number;
}

interface ClockSample {
  readonly atMicroseconds: number;
  readonly offsetMicroseconds: number;
  readonly halfRoundTripMicroseconds: number;
}

const sampleLifeMicroseconds = 60_000_000;
/** How far two quartz clocks drift apart at worst. */
const driftPerMicrosecond = 100e-6;
const sampleLimit = 256;

/**
 * Where the board's clock stands against ours, from questions that the board answered with its link time. The board read its clock somewhere between
 * our sending and our receiving; half a round trip is all that can be wrong, whichever way was the slow one.
 */
export class ClockModel {
  private samples: ClockSample[] = [];

  /** Takes in one answer. Times in host microseconds; `boardMicroseconds` is the link time that the answer states. */
  add(sentAtMicroseconds: number, boardMicroseconds: number, receivedAtMicroseconds: number): void {
    const sample = {
      atMicroseconds: receivedAtMicroseconds,
      offsetMicroseconds: boardMicroseconds - (sentAtMicroseconds + receivedAtMicroseconds) / 2,
      halfRoundTripMicroseconds: (receivedAtMicroseconds - sentAtMicroseconds) / 2,
    };
    const fresh = this.samples.filter(({ atMicroseconds }) => receivedAtMicroseconds - atMicroseconds <= sampleLifeMicroseconds);
    this.samples = [...fresh.slice(1 - sampleLimit), sample];
  }

  /** The board has started anew, and its clock with it. */
  forget(): void {
    this.samples = [];
  }

  /** The sample that says most at this time; an old one says less. */
  estimate(nowMicroseconds: number): ClockEstimate | undefined {
    let best: ClockEstimate | undefined;
    for (const { atMicroseconds, offsetMicroseconds, halfRoundTripMicroseconds } of this.samples) {
      const age = Math.max(0, nowMicroseconds - atMicroseconds);
      const uncertaintyMicroseconds = halfRoundTripMicroseconds + age * driftPerMicrosecond;
      const isStale = age > sampleLifeMicroseconds && this.samples.length > 1;
      if (!isStale && (best === undefined || uncertaintyMicroseconds < best.uncertaintyMicroseconds)) best = { offsetMicroseconds, uncertaintyMicroseconds };
    }
    return best ?? this.last(nowMicroseconds);
  }

  /** Where every sample is older than a minute, the newest is better than none. */
  private last(nowMicroseconds: number): ClockEstimate | undefined {
    const newest = this.samples.at(-1);
    if (newest === undefined) return undefined;
    const uncertaintyMicroseconds = newest.halfRoundTripMicroseconds + (nowMicroseconds - newest.atMicroseconds) * driftPerMicrosecond;
    return { offsetMicroseconds: newest.offsetMicroseconds, uncertaintyMicroseconds };
  }

  /** Link time of the board at a host time, or undefined before the first sample. */
  linkTime(hostMicroseconds: number): number | undefined {
    const estimate = this.estimate(hostMicroseconds);
    return estimate && hostMicroseconds + estimate.offsetMicroseconds;
  }
}
