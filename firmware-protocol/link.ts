import { type Frame, frameOverheadBytes, framingVersion } from './frame.js';
import { maximumPayloadBytes, maximumWindowFrames } from './limits.js';
import { acknowledgementDelayMicroseconds, RoundTrip } from './round-trip.js';

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
  /** Asked for a message of telemetry when nothing else waits. */
  readonly pull?: () => Uint8Array | undefined;
}

export interface QueueDepth {
  readonly messages: number;
  readonly bytes: number;
}

export interface LinkStatistics {
  readonly framesSent: number;
  readonly framesReceived: number;
  readonly retransmissions: number;
  /** Retransmissions by evidence; the rest of `retransmissions` are by timeout. */
  readonly fastRetransmissions: number;
  readonly timeouts: number;
  readonly duplicates: number;
  readonly outOfWindow: number;
  /** Of payloads, repeated ones counted each time. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Smoothed, without the time that frames waited here. */
  readonly roundTripMicroseconds: number | undefined;
  readonly queued: Readonly<Record<Priority, QueueDepth>>;
  readonly inFlightFrames: number;
  readonly inFlightBytes: number;
}

interface InFlight {
  readonly sequence: number;
  readonly payload: Uint8Array;
  /** Counts transmissions of the link; of this frame's first. */
  readonly firstOrder: number;
  order: number;
  transmissions: number;
  handedOverAtMicroseconds: number;
  /** When its last byte leaves, where the line's speed is known: behind what was handed over before. */
  leavesAtMicroseconds: number;
  isAcknowledged: boolean;
  isDue: boolean;
}

const sequenceSpan = 0x10000;
/** How far `later` is ahead of `earlier` on the circle of sequence numbers. */
const ahead = (later: number, earlier: number) => (later - earlier) & (sequenceSpan - 1);
/** Whether a sequence number lies behind another. */
const isBehind = (sequence: number, other: number) => ahead(sequence, other) >= sequenceSpan / 2;

/** Timeouts in a row after which the line is dead, if they took so long: a busy end or a loose plug may keep quiet for a moment. */
const timeoutLimit = 8;
const deathMicroseconds = 5_000_000;
const largestCredit = 0xffff;
/** An acknowledgement waits for a frame to ride on, unless so much of the window stands still for it (PROTOCOL.md §"Link"). */
const promptShare = 0.5;
const noPayload = new Uint8Array(0);

/**
 * Both directions of one session's reliable messages: selective repeat with cumulative and selective acknowledgement, a window, byte credits,
 * retransmission by timeout and by evidence. Pure: it is told the time, and asked for the next frame.
 */
export class Link {
  state: 'open' | 'down' = 'open';

  private readonly counts = {
    framesSent: 0, framesReceived: 0, retransmissions: 0, fastRetransmissions: 0, timeouts: 0, duplicates: 0, outOfWindow: 0, bytesSent: 0,
    bytesReceived: 0,
  };
  private readonly queues: Record<Priority, Uint8Array[]> = { control: [], bulk: [], telemetry: [] };
  private readonly queuedBytesOf: Record<Priority, number> = { control: 0, bulk: 0, telemetry: 0 };
  private readonly inFlight: InFlight[] = [];
  private inFlightBytes = 0;
  private dueFrames = 0;
  private nextSequence = 0;
  private nextOrder = 0;
  private readonly roundTrip: RoundTrip;
  private readonly byteTimeMicroseconds: number;
  private lineFreeAtMicroseconds = 0;
  /** Of the unacknowledged frames in flight; undefined where it is to be found again. */
  private firstLeavesAtMicroseconds: number | undefined = Number.POSITIVE_INFINITY;
  private peerCreditBytes: number;
  /** The newest `acknowledge` of the peer: an older frame that a line delivers late says nothing of its credit. */
  private peerExpects = 0;
  private timeoutsInARow = 0;
  private expiredAtMicroseconds = Number.NEGATIVE_INFINITY;
  private silentSinceMicroseconds = 0;
  /** Orders of the two transmissions last sent of those that are known to have arrived. */
  private newestArrived = -1;
  private secondNewestArrived = -1;

  private expected = 0;
  private readonly held = new Map<number, Uint8Array>();
  private heldBytes = 0;
  /** When an ACK goes out at the latest, unless another frame takes the word along. */
  private acknowledgeAtMicroseconds = Number.POSITIVE_INFINITY;
  private unacknowledgedFrames = 0;
  private unacknowledgedBytes = 0;

  constructor(private readonly options: LinkOptions) {
    if (options.windowFrames < 1 || options.windowFrames > maximumWindowFrames) {
      throw new RangeError(`a window of ${options.windowFrames} frames; the range is 1 to ${maximumWindowFrames}`);
    }
    this.roundTrip = new RoundTrip(options.frameTimeMicroseconds ?? 0);
    this.byteTimeMicroseconds = (options.frameTimeMicroseconds ?? 0) / (frameOverheadBytes + maximumPayloadBytes);
    this.peerCreditBytes = options.peerCreditBytes;
  }

  get statistics(): LinkStatistics {
    const depth = (priority: Priority) => ({ messages: this.queues[priority].length, bytes: this.queuedBytesOf[priority] });
    return {
      ...this.counts,
      roundTripMicroseconds: this.roundTrip.smoothedMicroseconds,
      queued: { control: depth('control'), bulk: depth('bulk'), telemetry: depth('telemetry') },
      inFlightFrames: this.inFlight.reduce((count, { isAcknowledged }) => count + (isAcknowledged ? 0 : 1), 0),
      inFlightBytes: this.inFlightBytes,
    };
  }

  /** Bytes that were sent to the link and have not been transmitted yet. */
  get queuedBytes(): number {
    return this.queuedBytesOf.control + this.queuedBytesOf.bulk + this.queuedBytesOf.telemetry;
  }

  /** Whether everything that was sent has been acknowledged. */
  get isIdle(): boolean {
    return this.queuedBytes === 0 && this.inFlight.length === 0;
  }

  /** Queues one message. Messages of one priority arrive in the order in which they were sent. */
  send(payload: Uint8Array, priority: Priority): void {
    if (payload.length > maximumPayloadBytes) throw new RangeError(`a message of ${payload.length} bytes; the limit is ${maximumPayloadBytes}`);
    this.queues[priority].push(payload);
    this.queuedBytesOf[priority] += payload.length;
  }

  /** Takes in a DATA or ACK frame of this session. @returns the messages that are complete now, in order */
  receive(frame: Frame, nowMicroseconds: number): Uint8Array[] {
    this.counts.framesReceived += 1;
    this.counts.bytesReceived += frame.payload.length;
    this.takeAcknowledgement(frame, nowMicroseconds);
    return frame.type === 'DATA' ? this.takeData(frame, nowMicroseconds) : [];
  }

  /** The next frame to put on the line now, or undefined where there is none. */
  transmit(nowMicroseconds: number): Frame | undefined {
    this.expire(nowMicroseconds);
    if (this.state === 'down') return undefined;
    const again = this.dueFrames === 0 ? undefined : this.inFlight.find(({ isDue }) => isDue);
    if (again !== undefined) return this.retransmit(again, nowMicroseconds);
    const payload = this.nextPayload();
    if (payload !== undefined) return this.transmitNew(payload, nowMicroseconds);
    return nowMicroseconds >= this.acknowledgeAtMicroseconds ? this.frame('ACK', 0, noPayload, nowMicroseconds) : undefined;
  }

  /** When `transmit` must be called again at the latest, even if nothing arrives. An ACK that is due now waits for room on the line, not for time. */
  nextTimeoutMicroseconds(nowMicroseconds: number): number | undefined {
    if (this.state === 'down') return undefined;
    const acknowledgeAt = this.acknowledgeAtMicroseconds > nowMicroseconds ? this.acknowledgeAtMicroseconds : Number.POSITIVE_INFINITY;
    const at = Math.min(this.retransmitAtMicroseconds(), acknowledgeAt);
    return at === Number.POSITIVE_INFINITY ? undefined : at;
  }

  private retransmitAtMicroseconds(): number {
    this.firstLeavesAtMicroseconds ??= this.firstUnacknowledgedLeaves();
    return Math.max(this.firstLeavesAtMicroseconds, this.expiredAtMicroseconds) + this.roundTrip.timeoutMicroseconds;
  }

  private firstUnacknowledgedLeaves(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const { isAcknowledged, leavesAtMicroseconds } of this.inFlight) {
      if (!isAcknowledged && leavesAtMicroseconds < first) first = leavesAtMicroseconds;
    }
    return first;
  }

  private frame(type: 'DATA' | 'ACK', sequence: number, payload: Uint8Array, nowMicroseconds: number): Frame {
    this.acknowledgeAtMicroseconds = Number.POSITIVE_INFINITY;
    this.unacknowledgedFrames = 0;
    this.unacknowledgedBytes = 0;
    this.counts.framesSent += 1;
    this.counts.bytesSent += payload.length;
    const lineBytes = frameOverheadBytes + payload.length;
    this.lineFreeAtMicroseconds = Math.max(nowMicroseconds, this.lineFreeAtMicroseconds) + lineBytes * this.byteTimeMicroseconds;
    const { session, receiveBytes } = this.options;
    const credit = Math.max(0, Math.min(largestCredit, receiveBytes - this.heldBytes));
    return { version: framingVersion, type, flags: 0, session, sequence, acknowledge: this.expected, selective: this.selective(), credit, payload };
  }

  private selective(): number {
    let bits = 0;
    for (const sequence of this.held.keys()) bits |= 1 << (ahead(sequence, this.expected) - 1);
    return bits >>> 0;
  }

  private nextPayload(): Uint8Array | undefined {
    const used = this.inFlight.length === 0 ? 0 : ahead(this.nextSequence, this.inFlight[0].sequence);
    if (used >= this.options.windowFrames) return undefined;
    const priority = priorities.find((name) => this.queues[name].length > 0) ?? this.pulled();
    if (priority === undefined) return undefined;
    const queue = this.queues[priority];
    // With nothing in flight one frame may always go: it is also the probe that learns of new credit.
    if (this.inFlight.length > 0 && this.inFlightBytes + queue[0].length > this.peerCreditBytes) return undefined;
    const payload = queue.shift() as Uint8Array;
    this.queuedBytesOf[priority] -= payload.length;
    return payload;
  }

  private pulled(): Priority | undefined {
    const payload = this.options.pull?.();
    if (payload === undefined) return undefined;
    this.send(payload, 'telemetry');
    return 'telemetry';
  }

  private transmitNew(payload: Uint8Array, nowMicroseconds: number): Frame {
    const sequence = this.nextSequence;
    this.nextSequence = (sequence + 1) % sequenceSpan;
    const frame = this.frame('DATA', sequence, payload, nowMicroseconds);
    this.inFlight.push({
      sequence, payload, firstOrder: this.nextOrder, order: this.nextOrder, transmissions: 1, handedOverAtMicroseconds: nowMicroseconds,
      leavesAtMicroseconds: this.lineFreeAtMicroseconds, isAcknowledged: false, isDue: false,
    });
    this.nextOrder += 1;
    this.inFlightBytes += payload.length;
    if (this.firstLeavesAtMicroseconds !== undefined) {
      this.firstLeavesAtMicroseconds = Math.min(this.firstLeavesAtMicroseconds, this.lineFreeAtMicroseconds);
    }
    return frame;
  }

  private retransmit(entry: InFlight, nowMicroseconds: number): Frame {
    const frame = this.frame('DATA', entry.sequence, entry.payload, nowMicroseconds);
    this.setDue(entry, false);
    entry.transmissions += 1;
    entry.order = this.nextOrder;
    entry.handedOverAtMicroseconds = nowMicroseconds;
    entry.leavesAtMicroseconds = this.lineFreeAtMicroseconds;
    this.firstLeavesAtMicroseconds = undefined;
    this.nextOrder += 1;
    this.counts.retransmissions += 1;
    return frame;
  }

  private setDue(entry: InFlight, isDue: boolean): void {
    if (entry.isDue !== isDue) this.dueFrames += isDue ? 1 : -1;
    entry.isDue = isDue;
  }

  /** Takes note of a timeout that has passed: called where nothing can be transmitted, so that a port that takes no more bytes is found out too. */
  expire(nowMicroseconds: number): void {
    const timeout = this.retransmitAtMicroseconds();
    if (this.state === 'down' || nowMicroseconds < timeout) return;
    this.expiredAtMicroseconds = nowMicroseconds;
    const patience = this.roundTrip.timeoutMicroseconds;
    if (this.timeoutsInARow === 0) this.silentSinceMicroseconds = timeout - patience;
    this.timeoutsInARow += 1;
    this.counts.timeouts += 1;
    if (this.timeoutsInARow > timeoutLimit && nowMicroseconds - this.silentSinceMicroseconds >= deathMicroseconds) {
      this.state = 'down';
      return;
    }
    for (const entry of this.inFlight) {
      if (!entry.isAcknowledged && nowMicroseconds - entry.leavesAtMicroseconds >= patience) this.setDue(entry, true);
    }
    this.roundTrip.backOff();
  }

  private takeAcknowledgement(frame: Frame, nowMicroseconds: number): void {
    if (isBehind(frame.acknowledge, this.peerExpects) || ahead(frame.acknowledge, this.peerExpects) > ahead(this.nextSequence, this.peerExpects)) return;
    this.peerExpects = frame.acknowledge;
    this.peerCreditBytes = frame.credit;
    const first = this.inFlight[0];
    if (first === undefined) return;
    const cumulative = ahead(frame.acknowledge, first.sequence);
    let newest: InFlight | undefined;
    for (const entry of this.inFlight) {
      if (entry.isAcknowledged) continue;
      const distance = ahead(entry.sequence, first.sequence) - cumulative - 1;
      if (distance === -1 || (distance >= 0 && (distance > 31 || ((frame.selective >>> distance) & 1) === 0))) continue;
      this.acknowledged(entry);
      if (entry.transmissions === 1) newest = entry;
    }
    if (newest !== undefined) this.sample(newest, nowMicroseconds);
    while (this.inFlight.length > 0 && this.inFlight[0].isAcknowledged) this.inFlight.shift();
    this.repairGaps();
  }

  private acknowledged(entry: InFlight): void {
    entry.isAcknowledged = true;
    this.firstLeavesAtMicroseconds = undefined;
    this.setDue(entry, false);
    this.inFlightBytes -= entry.payload.length;
    this.timeoutsInARow = 0;
    // Which of several transmissions has arrived cannot be told: the first is the cautious guess.
    const order = entry.firstOrder;
    if (order > this.newestArrived) {
      this.secondNewestArrived = this.newestArrived;
      this.newestArrived = order;
    } else if (order > this.secondNewestArrived) this.secondNewestArrived = order;
  }

  /**
   * The round trip of a frame runs from when it left: time that it spent behind others is our own. An answer to a frame that should not have left
   * yet shows that the line is faster than it is said to be, as pseudo-terminals and USB are.
   */
  private sample(entry: InFlight, nowMicroseconds: number): void {
    const early = entry.leavesAtMicroseconds - nowMicroseconds;
    if (early > 0) {
      this.lineFreeAtMicroseconds -= early;
      this.firstLeavesAtMicroseconds = undefined;
      for (const other of this.inFlight) other.leavesAtMicroseconds -= early;
    }
    const start = early > 0 ? entry.handedOverAtMicroseconds : entry.leavesAtMicroseconds;
    this.roundTrip.sample(nowMicroseconds - start);
  }

  /** A frame is lost when two that were sent after it have arrived: it is sent again now. */
  private repairGaps(): void {
    if (this.inFlight.length === 0) return;
    for (const entry of this.inFlight) {
      if (entry.isAcknowledged || entry.isDue || entry.order >= this.secondNewestArrived) continue;
      this.setDue(entry, true);
      this.counts.fastRetransmissions += 1;
    }
  }

  private takeData(frame: Frame, nowMicroseconds: number): Uint8Array[] {
    const distance = ahead(frame.sequence, this.expected);
    const isInOrder = distance === 0 && this.held.size === 0;
    this.scheduleAcknowledgement(isInOrder, frame.payload.length, nowMicroseconds);
    if (isInOrder) {
      this.expected = (this.expected + 1) % sequenceSpan;
      return [frame.payload];
    }
    if (distance > maximumWindowFrames) {
      if (ahead(this.expected, frame.sequence) <= maximumWindowFrames) this.counts.duplicates += 1;
      else this.counts.outOfWindow += 1;
      return [];
    }
    if (this.held.has(frame.sequence)) {
      this.counts.duplicates += 1;
      return [];
    }
    this.held.set(frame.sequence, frame.payload);
    this.heldBytes += frame.payload.length;
    return this.deliver();
  }

  private scheduleAcknowledgement(isInOrder: boolean, bytes: number, nowMicroseconds: number): void {
    const { windowFrames, receiveBytes } = this.options;
    this.unacknowledgedFrames += 1;
    this.unacknowledgedBytes += bytes;
    const isMuch = this.unacknowledgedFrames >= promptShare * windowFrames || this.unacknowledgedBytes >= promptShare * receiveBytes;
    const delay = isInOrder && !isMuch ? acknowledgementDelayMicroseconds : 0;
    this.acknowledgeAtMicroseconds = Math.min(this.acknowledgeAtMicroseconds, nowMicroseconds + delay);
  }

  private deliver(): Uint8Array[] {
    const messages: Uint8Array[] = [];
    for (let payload = this.held.get(this.expected); payload !== undefined; payload = this.held.get(this.expected)) {
      messages.push(payload);
      this.held.delete(this.expected);
      this.heldBytes -= payload.length;
      this.expected = (this.expected + 1) % sequenceSpan;
    }
    return messages;
  }
}
