import { encodeFrame, type Frame } from '../../firmware-protocol/frame.js';
import { deviceMessageCodec, hostMessageCodec } from '../../proto/codec.js';
import type { DeviceMessage, Final, HelloAck, HostMessage, MethodName, MethodRequests, Progress } from '../../proto/message.js';
import { sha256 } from '../bulk.js';
import { describeMessage } from '../describe.js';
import { Deviation, expect } from './deviation.js';
import { frameOf, type RawHost, type Received } from './raw-host.js';

const sequenceSpan = 0x10000;
const ahead = (later: number, earlier: number) => (later - earlier) & (sequenceSpan - 1);
const receiveFrames = 32;
/** Data of one chunk, and of a digest what names an object in its chunks (PROTOCOL.md §"Bulk"). */
const chunkBytes = 584;
const chunkNameBytes = 8;
const repeatMilliseconds = 400;
const repeatLimit = 5;
/** How long the board may take to answer. */
export const patienceMilliseconds = 5_000;
const keepAliveMilliseconds = 300;

export interface RequestFields {
  readonly id?: Uint8Array;
  readonly leaseEpoch?: number;
  readonly deadlineMicroseconds?: number;
  readonly patience?: number;
}

/** What the board has last said of what it has received. */
export interface Acknowledged {
  readonly acknowledge: number;
  readonly selective: number;
  readonly credit: number;
}

/** One session of the suite: reliable enough for a line with noise, and under the hand of an item in everything that it sends. */
export class Conversation {
  /** Messages of the board, in order, each once. */
  readonly messages: DeviceMessage[] = [];
  /** DATA frames of the board as they came, repeated ones too. */
  readonly dataFrames: Received[] = [];
  /** While false nothing of what comes is acknowledged, and the frames that go out acknowledge what was before. */
  acknowledges = true;
  /** While true not even what was lost is sent again. */
  isSilent = false;
  creditBytes: number;
  nextSequence = 0;
  acknowledged: Acknowledged;
  private expected = 0;
  private readonly held = new Map<number, Uint8Array>();
  private statement = { acknowledge: 0, selective: 0 };
  private readonly unacknowledged = new Map<number, Uint8Array>();
  private isOver = false;
  private repeats = 0;

  constructor(
    readonly host: RawHost, readonly session: number, readonly identity: HelloAck, private readonly newId: () => Uint8Array,
    { creditBytes, windowFrames }: { creditBytes: number; windowFrames: number },
  ) {
    this.creditBytes = creditBytes;
    this.windowFrames = Math.min(receiveFrames, windowFrames, identity.windowFrames);
    this.acknowledged = { acknowledge: 0, selective: 0, credit: identity.creditBytes };
    host.onFrame = (received) => this.take(received);
  }

  readonly windowFrames: number;

  /** Nothing is repeated or acknowledged from here on. */
  end(): void {
    this.isOver = true;
    this.unacknowledged.clear();
  }

  /** Sends a DATA frame with any sequence number, once. */
  sendData(sequence: number, payload: Uint8Array): void {
    this.host.send('DATA', { session: this.session, sequence: sequence & (sequenceSpan - 1), ...this.state(), payload });
  }

  /** Sends a frame of this session that carries no message. */
  sendAcknowledgement(changes: { acknowledge?: number; selective?: number; credit?: number } = {}): void {
    this.host.send('ACK', { session: this.session, ...this.state(), ...changes });
  }

  /** Sends a message under the window of the board, and again until it is acknowledged. */
  async send(message: HostMessage): Promise<void> {
    await this.sendPayload(hostMessageCodec.encode(message));
  }

  async sendPayload(payload: Uint8Array): Promise<void> {
    const hasRoom = () => (this.hasRoomFor(payload.length) ? true : undefined);
    if ((await this.host.until(hasRoom, patienceMilliseconds)) === undefined) {
      throw new Deviation('an acknowledgement that opens the window', this.describeLine());
    }
    this.sendNow(payload);
  }

  /** Sends a message as the next one, whatever the window says. */
  sendNow(payload: Uint8Array): void {
    this.unacknowledged.set(this.nextSequence, payload);
    this.sendData(this.nextSequence, payload);
    this.nextSequence = (this.nextSequence + 1) % sequenceSpan;
    if (this.unacknowledged.size === 1) void this.repeat();
  }

  /** Sends messages in one write, as many as the window holds. */
  sendTogether(payloads: readonly Uint8Array[]): void {
    const frames = payloads.map((payload, index) => {
      const sequence = (this.nextSequence + index) % sequenceSpan;
      this.unacknowledged.set(sequence, payload);
      return encodeFrame(frameOf('DATA', { session: this.session, sequence, ...this.state(), payload }));
    });
    this.nextSequence = (this.nextSequence + payloads.length) % sequenceSpan;
    this.host.write(Uint8Array.from(Buffer.concat(frames)));
    if (this.unacknowledged.size === payloads.length) void this.repeat();
  }

  private hasRoomFor(bytes: number): boolean {
    if (this.unacknowledged.size === 0) return true;
    let waiting = bytes;
    for (const payload of this.unacknowledged.values()) waiting += payload.length;
    return ahead(this.nextSequence, this.acknowledged.acknowledge) < this.windowFrames && waiting <= this.acknowledged.credit;
  }

  private async repeat(): Promise<void> {
    this.repeats = 0;
    while (!this.isOver && this.unacknowledged.size > 0 && this.repeats < repeatLimit && this.host.closedBecause === undefined) {
      const before = this.unacknowledged.size;
      await this.host.rest(repeatMilliseconds);
      if (this.unacknowledged.size !== before || this.isOver || this.isSilent) continue;
      this.repeats += 1;
      for (const [sequence, payload] of this.unacknowledged) this.sendData(sequence, payload);
    }
  }

  /** Bytes of a request, for frames that an item sends by hand. */
  encodeRequest<Name extends MethodName>(method: Name, body: MethodRequests[Name], fields: RequestFields = {}): Uint8Array {
    const { id: requestId = this.newId(), leaseEpoch = this.identity.leaseEpoch, deadlineMicroseconds = 0 } = fields;
    return hostMessageCodec.encode({ request: { requestId, deadlineMicroseconds, leaseEpoch, [method]: body } });
  }

  /** Sends a request. @returns its id */
  async begin<Name extends MethodName>(method: Name, body: MethodRequests[Name], fields: RequestFields = {}): Promise<Uint8Array> {
    const id = fields.id ?? this.newId();
    await this.sendPayload(this.encodeRequest(method, body, { ...fields, id }));
    return id;
  }

  /** Sends a request and waits for its answer. @throws Deviation where none comes */
  async request<Name extends MethodName>(method: Name, body: MethodRequests[Name], fields: RequestFields = {}): Promise<Final> {
    const id = fields.id ?? this.newId();
    const before = this.finals(id).length;
    await this.begin(method, body, { ...fields, id });
    return this.answer(id, before, method, fields.patience);
  }

  /** The answer behind the `before` that have come already. */
  async answer(id: Uint8Array, before = 0, what = 'the request', patience = patienceMilliseconds): Promise<Final> {
    for (let waited = 0; waited < patience; waited += keepAliveMilliseconds) {
      const final = await this.host.until(() => this.finals(id)[before], Math.min(keepAliveMilliseconds, patience - waited));
      if (final !== undefined) return final;
      if (this.host.closedBecause !== undefined) break;
      if (this.acknowledges) this.sendAcknowledgement();
    }
    throw new Deviation(`a Final that answers ${what}`, this.describeLine());
  }

  finals(id: Uint8Array): Final[] {
    return this.messages.flatMap(({ final }) => (final && isSame(final.requestId, id) ? [final] : []));
  }

  progressOf(id: Uint8Array): Progress[] {
    return this.messages.flatMap(({ progress }) => (progress && isSame(progress.requestId, id) ? [progress] : []));
  }

  /** Waits until the board has acknowledged everything up to here. */
  async settled(): Promise<void> {
    const isDone = () => (this.unacknowledged.size === 0 ? true : undefined);
    if ((await this.host.until(isDone, patienceMilliseconds)) === undefined) {
      throw new Deviation(`acknowledge ${this.nextSequence}`, this.describeLine());
    }
  }

  /** Sends the chunks of an object from an offset on. */
  async sendChunks(bytes: Uint8Array, digest: Uint8Array, fromBytes = 0, toBytes = bytes.length): Promise<void> {
    const name = digest.slice(0, chunkNameBytes);
    for (let at = fromBytes; at < toBytes; at += chunkBytes) {
      await this.send({ bulkChunk: { sha256: name, offsetBytes: at, data: bytes.subarray(at, Math.min(toBytes, at + chunkBytes)) } });
    }
  }

  /** Brings an object to the board. @returns its digest */
  async upload(bytes: Uint8Array): Promise<Uint8Array> {
    const digest = sha256(bytes);
    const offer = await this.request('bulkOffer', { sha256: digest, sizeBytes: bytes.length });
    expect(Boolean(offer.bulkOffer), 'BulkState for the offer of an object', describeFinal(offer));
    if (offer.bulkOffer?.committed) return digest;
    await this.sendChunks(bytes, digest, offer.bulkOffer?.offsetBytes ?? 0);
    const commit = await this.request('bulkCommit', { sha256: digest });
    expect(commit.bulkCommit?.committed === true, 'a commit of the whole object', describeFinal(commit));
    return digest;
  }

  /** Takes an object from the board. */
  async fetch(digest: Uint8Array, sizeBytes: number, offsetBytes = 0): Promise<Uint8Array> {
    const from = this.messages.length;
    const final = await this.request('bulkFetch', { sha256: digest, offsetBytes });
    expect(Boolean(final.bulkFetch), 'an answer to BulkFetch', describeFinal(final));
    const bytes = new Uint8Array(sizeBytes);
    for (const { bulkChunk } of this.messages.slice(from)) {
      if (bulkChunk && isSame(bulkChunk.sha256, digest.subarray(0, chunkNameBytes))) bytes.set(bulkChunk.data, bulkChunk.offsetBytes);
    }
    return bytes;
  }

  private state(): { acknowledge: number; selective: number; credit: number } {
    if (this.acknowledges) this.statement = { acknowledge: this.expected, selective: this.selective() };
    return { ...this.statement, credit: this.creditBytes };
  }

  private take(received: Received): void {
    const { frame } = received;
    if (this.isOver || frame.session !== this.session || (frame.type !== 'DATA' && frame.type !== 'ACK')) return;
    this.takeAcknowledgement(frame);
    if (frame.type !== 'DATA') return;
    this.dataFrames.push(received);
    if (ahead(frame.sequence, this.expected) < receiveFrames) this.held.set(frame.sequence, frame.payload);
    this.deliver();
    if (this.acknowledges) this.sendAcknowledgement();
  }

  private takeAcknowledgement({ acknowledge, selective, credit }: Frame): void {
    if (ahead(acknowledge, this.acknowledged.acknowledge) >= sequenceSpan / 2) return; // older than what is known
    this.acknowledged = { acknowledge, selective, credit };
    for (const sequence of [...this.unacknowledged.keys()]) {
      const distance = ahead(sequence, acknowledge);
      const isSelected = distance >= 1 && distance <= 32 && ((selective >>> (distance - 1)) & 1) === 1;
      if (distance >= sequenceSpan / 2 || isSelected) this.unacknowledged.delete(sequence);
    }
  }

  private selective(): number {
    let bits = 0;
    for (const sequence of this.held.keys()) bits |= 1 << (ahead(sequence, this.expected) - 1);
    return bits >>> 0;
  }

  private deliver(): void {
    for (let payload = this.held.get(this.expected); payload !== undefined; payload = this.held.get(this.expected)) {
      this.held.delete(this.expected);
      this.expected = (this.expected + 1) % sequenceSpan;
      const message = deviceMessageCodec.decode(payload);
      if (message.ok) this.messages.push(message.value);
    }
  }

  private describeLine(): string {
    if (this.host.closedBecause !== undefined) return `the end of the line (${this.host.closedBecause})`;
    const { acknowledge, selective, credit } = this.acknowledged;
    const last = this.messages.at(-1);
    const what = last === undefined ? 'no message at all' : `last ${describeMessage(last)}`;
    return `nothing in time; the board says ack ${acknowledge}+${selective.toString(16).padStart(8, '0')} credit ${credit}, ${what}`;
  }
}

export const isSame = (left: Uint8Array, right: Uint8Array): boolean => Buffer.compare(left, right) === 0;

export const describeFinal = (final: Final): string => describeMessage({ final });

/** @throws Deviation where the answer is not the refusal that is expected; a refusal has changed nothing */
export function expectFailure(final: Final, code: string, outcome: 'NOT_APPLIED' | 'APPLIED' = 'NOT_APPLIED', detail?: RegExp): void {
  const { failure } = final;
  const isRight = failure?.code === code && failure.outcome === (outcome === 'APPLIED' ? 1 : 0) && (detail === undefined || detail.test(failure.detail));
  const about = detail === undefined ? '' : `, its detail matching ${detail}`;
  expect(isRight, `Failure ${code}, outcome ${outcome}${about}`, describeFinal(final));
  expect((failure?.detail.length ?? 0) <= 300, 'a detail of at most 300 characters', `${failure?.detail.length} characters`);
}

/** The result of a method. @throws Deviation where the answer is another */
export function expectResult<Name extends MethodName>(final: Final, method: Name): NonNullable<Final[Name]> {
  const result = final[method];
  if (result === undefined || result === null) throw new Deviation(`the result of ${method}`, describeFinal(final));
  return result;
}
