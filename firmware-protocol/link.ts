import { type Frame, protocolVersion } from './frame.js';
import { maximumPayloadBytes, maximumWindowFrames } from './limits.js';
import { RoundTrip } from './round-trip.js';

/** Lower goes first. ESTOP is not among them: it is a frame of its own and waits for nothing. */
export const priorities = ['control', 'bulk', 'telemetry'] as const;
export type Priority = (typeof priorities)[number];

export interface LinkOptions {
  readonly session: number;
  /** Frames that may be on their way unacknowledged; the smaller of what both ends offer. */
  readonly windowFrames: number;
  /** Bytes that this end can hold. */
  readonly receiveBytes: number;
  /** Bytes that the other end can hold, as its handshake said. */
  readonly peerCreditBytes: number;
  /** Time of the longest frame on the line, where its speed is known. */
  readonly frameTimeMicroseconds?: number;
}

export interface LinkStatistics {
  framesSent: number;
  framesReceived: number;
  retransmissions: number;
  fastRetransmissions: number;
  duplicates: number;
  outOfWindow: number;
  bytesSent: number;
  bytesReceived: number;
  roundTripMicroseconds: number | undefined;
}

interface InFlight {
  readonly sequence: number;
  readonly payload: Uint8Array;
  sentAtMicroseconds: number;
  transmissions: number;
  isAcknowledged: boolean;
  isDue: boolean;
}

const sequenceSpan = 0x10000;
/** How far `later` is ahead of `earlier` on the circle of sequence numbers. */
const ahead = (later: number, earlier: number) => (later - earlier) & (sequenceSpan - 1);

/** Timeouts in a row of one frame after which the line is dead. */
const timeoutLimit = 8;
/** Later frames that must have arrived before a missing one is sent again at once. */
const fastRetransmitAfter = 2;

/**
 * Both directions of one session's reliable messages: selective repeat with cumulative and selective acknowledgement, a window, byte credits,
 * retransmission by timeout and, once a round trip, by evidence. Pure: it is told the time, and asked for the next frame.
 */
export class Link {
  state: 'open' | 'down' = 'open';
  readonly statistics: LinkStatistics = {
    framesSent: 0, framesReceived: 0, retransmissions: 0, fastRetransmissions: 0, duplicates: 0, outOfWindow: 0, bytesSent: 0, bytesReceived: 0,
    roundTripMicroseconds: undefined,
  };

  private readonly queues: Record<Priority, Uint8Array[]> = { control: [], bulk: [], telemetry: [] };
  private queued = 0;
  private readonly inFlight: InFlight[] = [];
  private inFlightBytes = 0;
  private nextSequence = 0;
  private readonly roundTrip: RoundTrip;
  private peerCreditBytes: number;
  private fastRetransmitAllowedAtMicroseconds = 0;
  private timeoutsInARow = 0;

  private expected = 0;
  private readonly held = new Map<number, Uint8Array>();
  private isAcknowledgementDue = false;

  constructor(private readonly options: LinkOptions) {
    if (options.windowFrames < 1 || options.windowFrames > maximumWindowFrames) {
      throw new RangeError(`a window of ${options.windowFrames} frames; the range is 1 to ${maximumWindowFrames}`);
    }
    this.roundTrip = new RoundTrip(options.frameTimeMicroseconds ?? 0);
    this.peerCreditBytes = options.peerCreditBytes;
  }

  /** Bytes that were sent to the link and have not been transmitted yet. */
  get queuedBytes(): number {
    return this.queued;
  }

  /** Whether everything that was sent has been acknowledged. */
  get isIdle(): boolean {
    return this.queued === 0 && this.inFlight.length === 0;
  }

  /** Queues one message. Messages of one priority arrive in the order in which they were sent. */
  send(payload: Uint8Array, priority: Priority): void {
    if (payload.length > maximumPayloadBytes) throw new RangeError(`a message of ${payload.length} bytes; the limit is ${maximumPayloadBytes}`);
    this.queues[priority].push(payload);
    this.queued += payload.length;
  }

  /** Takes in a DATA or ACK frame of this session. @returns the messages that are complete now, in order */
  receive(frame: Frame, nowMicroseconds: number): Uint8Array[] {
    this.statistics.framesReceived += 1;
    this.statistics.bytesReceived += frame.payload.length;
    this.takeAcknowledgement(frame, nowMicroseconds);
    return frame.type === 'DATA' ? this.takeData(frame) : [];
  }

  /** The next frame to put on the line now, or undefined where there is none. */
  transmit(nowMicroseconds: number): Frame | undefined {
    this.expire(nowMicroseconds);
    if (this.state === 'down') return undefined;
    const again = this.inFlight.find(({ isDue }) => isDue);
    if (again !== undefined) return this.retransmit(again, nowMicroseconds);
    const payload = this.nextPayload();
    if (payload !== undefined) return this.transmitNew(payload, nowMicroseconds);
    return this.isAcknowledgementDue ? this.frame('ACK', 0, new Uint8Array(0)) : undefined;
  }

  /** When `transmit` must be called again at the latest, even if nothing arrives. */
  get nextTimeoutMicroseconds(): number | undefined {
    const oldest = this.inFlight.find(({ isAcknowledged }) => !isAcknowledged);
    return oldest === undefined || this.state === 'down' ? undefined : oldest.sentAtMicroseconds + this.roundTrip.timeoutMicroseconds;
  }

  private frame(type: 'DATA' | 'ACK', sequence: number, payload: Uint8Array): Frame {
    this.isAcknowledgementDue = false;
    this.statistics.framesSent += 1;
    this.statistics.bytesSent += payload.length;
    const { session, receiveBytes } = this.options;
    let heldBytes = 0;
    for (const held of this.held.values()) heldBytes += held.length;
    const credit = Math.min(0xffff, receiveBytes - heldBytes);
    return { version: protocolVersion, type, flags: 0, session, sequence, acknowledge: this.expected, selective: this.selective(), credit, payload };
  }

  private selective(): number {
    let bits = 0;
    for (const sequence of this.held.keys()) {
      const distance = ahead(sequence, this.expected) - 1;
      if (distance < 32) bits |= 1 << distance;
    }
    return bits >>> 0;
  }

  private nextPayload(): Uint8Array | undefined {
    const used = this.inFlight.length === 0 ? 0 : ahead(this.nextSequence, this.inFlight[0].sequence);
    if (used >= this.options.windowFrames) return undefined;
    const queue = priorities.map((priority) => this.queues[priority]).find(({ length }) => length > 0);
    if (queue === undefined) return undefined;
    // With nothing in flight one frame may always go: it is also the probe that learns of new credit.
    if (this.inFlight.length > 0 && this.inFlightBytes + queue[0].length > this.peerCreditBytes) return undefined;
    const payload = queue.shift();
    this.queued -= payload?.length ?? 0;
    return payload;
  }

  private transmitNew(payload: Uint8Array, nowMicroseconds: number): Frame {
    const sequence = this.nextSequence;
    this.nextSequence = (sequence + 1) % sequenceSpan;
    this.inFlight.push({ sequence, payload, sentAtMicroseconds: nowMicroseconds, transmissions: 1, isAcknowledged: false, isDue: false });
    this.inFlightBytes += payload.length;
    return this.frame('DATA', sequence, payload);
  }

  private retransmit(entry: InFlight, nowMicroseconds: number): Frame {
    entry.isDue = false;
    entry.transmissions += 1;
    entry.sentAtMicroseconds = nowMicroseconds;
    this.statistics.retransmissions += 1;
    return this.frame('DATA', entry.sequence, entry.payload);
  }

  private expire(nowMicroseconds: number): void {
    const timeout = this.nextTimeoutMicroseconds;
    if (timeout === undefined || nowMicroseconds < timeout) return;
    this.timeoutsInARow += 1;
    if (this.timeoutsInARow > timeoutLimit) {
      this.state = 'down';
      return;
    }
    const before = this.roundTrip.timeoutMicroseconds;
    for (const entry of this.inFlight) if (!entry.isAcknowledged && nowMicroseconds - entry.sentAtMicroseconds >= before) entry.isDue = true;
    this.roundTrip.backOff();
  }

  private takeAcknowledgement(frame: Frame, nowMicroseconds: number): void {
    this.peerCreditBytes = frame.credit;
    const first = this.inFlight[0];
    if (first === undefined) return;
    const cumulative = ahead(frame.acknowledge, first.sequence);
    if (cumulative > ahead(this.nextSequence, first.sequence)) return; // acknowledges what was never sent: an old frame of a wrapped count
    let sample: InFlight | undefined;
    for (const entry of this.inFlight) {
      const behind = ahead(entry.sequence, first.sequence) < cumulative;
      const distance = ahead(entry.sequence, frame.acknowledge) - 1;
      const selected = !behind && distance >= 0 && distance < 32 && ((frame.selective >>> distance) & 1) === 1;
      if ((!behind && !selected) || entry.isAcknowledged) continue;
      entry.isAcknowledged = true;
      entry.isDue = false;
      this.inFlightBytes -= entry.payload.length;
      this.timeoutsInARow = 0;
      if (entry.transmissions === 1) sample = entry;
    }
    if (sample !== undefined) {
      this.roundTrip.sample(nowMicroseconds - sample.sentAtMicroseconds);
      this.statistics.roundTripMicroseconds = this.roundTrip.smoothedMicroseconds;
    }
    while (this.inFlight.length > 0 && this.inFlight[0].isAcknowledged) this.inFlight.shift();
    this.repairGaps(nowMicroseconds);
  }

  /** A frame that later ones have overtaken is lost: send it again now, but not more than once a round trip. */
  private repairGaps(nowMicroseconds: number): void {
    let later = 0;
    for (let index = this.inFlight.length - 1; index >= 0; index -= 1) {
      const entry = this.inFlight[index];
      if (entry.isAcknowledged) {
        later += 1;
        continue;
      }
      if (later < fastRetransmitAfter || entry.isDue || nowMicroseconds < this.fastRetransmitAllowedAtMicroseconds) continue;
      if (entry.transmissions > 1 && nowMicroseconds - entry.sentAtMicroseconds < (this.roundTrip.smoothedMicroseconds ?? 0)) continue;
      entry.isDue = true;
      this.statistics.fastRetransmissions += 1;
    }
    if (this.inFlight.some(({ isDue }) => isDue)) {
      this.fastRetransmitAllowedAtMicroseconds = nowMicroseconds + (this.roundTrip.smoothedMicroseconds ?? 0);
    }
  }

  private takeData(frame: Frame): Uint8Array[] {
    this.isAcknowledgementDue = true;
    const distance = ahead(frame.sequence, this.expected);
    if (distance >= maximumWindowFrames) {
      if (ahead(this.expected, frame.sequence) <= maximumWindowFrames) this.statistics.duplicates += 1;
      else this.statistics.outOfWindow += 1;
      return [];
    }
    if (this.held.has(frame.sequence)) {
      this.statistics.duplicates += 1;
      return [];
    }
    this.held.set(frame.sequence, frame.payload);
    return this.deliver();
  }

  private deliver(): Uint8Array[] {
    const messages: Uint8Array[] = [];
    for (let payload = this.held.get(this.expected); payload !== undefined; payload = this.held.get(this.expected)) {
      messages.push(payload);
      this.held.delete(this.expected);
      this.expected = (this.expected + 1) % sequenceSpan;
    }
    return messages;
  }
}
