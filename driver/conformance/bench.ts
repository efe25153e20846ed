import type { ByteChannel } from '../../firmware-protocol/byte-channel.js';
import type { Clock } from '../../firmware-protocol/clock.js';
import type { Frame } from '../../firmware-protocol/frame.js';
import { maximumWindowFrames } from '../../firmware-protocol/limits.js';
import type { Prng } from '../../firmware-protocol/prng.js';
import { helloAckCodec, helloCodec } from '../../proto/codec.js';
import type { Hello, HelloAck, MethodName, Region } from '../../proto/message.js';
import { newRequestId } from '../request.js';
import { Conversation, describeFinal } from './conversation.js';
import { Deviation, NotRun } from './deviation.js';
import { RawHost } from './raw-host.js';
import type { Vectors } from './vectors.js';

export interface BenchOptions {
  /** Opens the line; called again where the board or an item has closed it. */
  readonly connect: () => Promise<ByteChannel>;
  readonly clock: Clock;
  readonly prng: Prng;
  readonly vectors: Vectors;
  /** Time of the longest frame on the line. */
  readonly frameTimeMicroseconds: number;
  readonly allowedPulses: Region | undefined;
  readonly allowsRestart: boolean;
  /** Nothing of this board outlasts the suite, as with a simulator that was started for it: leases may rise and snapshots be loaded. */
  readonly isThrowAway: boolean;
}

const helloMilliseconds = 250;
const helloAttempts = 8;
/** A board restarts about 10 ms after it has said so. */
const restartMilliseconds = 50;
const restartAttempts = 8;
const hostCreditBytes = 60_000;

/** What an item works with: a line to the board, sessions on it, and what is known of the board. */
export class Bench {
  /** What HELLO_ACK last said. */
  identity: HelloAck | undefined;
  /** What was agreed on in each session. */
  private readonly protocols = new Map<number, number>();
  private pastLogs: readonly Frame[] = [];
  private current: RawHost | undefined;
  private conversation: Conversation | undefined;

  constructor(readonly options: BenchOptions) {}

  /** The line, opened if need be. */
  async line(): Promise<RawHost> {
    if (this.current === undefined || this.current.closedBecause !== undefined) {
      if (this.current !== undefined) this.pastLogs = this.logs;
      this.current = new RawHost(await this.options.connect(), this.options.clock);
    }
    return this.current;
  }

  /** LOG frames of sessions of protocol 2, also of lines that are gone. */
  get logs(): readonly Frame[] {
    const frames = this.current?.frames.map(({ frame }) => frame) ?? [];
    return [...this.pastLogs, ...frames.filter(({ type, session }) => type === 'LOG' && (this.protocols.get(session) ?? 1) >= 2)];
  }

  /** The line as it is, for those who report. */
  get host(): RawHost | undefined {
    return this.current;
  }

  newSession(): number {
    return this.options.prng.nextUint32();
  }

  readonly newId = (): Uint8Array => newRequestId(this.options.prng);

  randomBytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.options.prng.nextUint32() & 0xff);
  }

  hello(changes: Partial<Hello> = {}): Uint8Array {
    const offer = { protocolMinimum: 1, protocolMaximum: 3, hostVersion: 'conformance', windowFrames: maximumWindowFrames, creditBytes: hostCreditBytes };
    return helloCodec.encode({ ...offer, leaseEpoch: 0, capabilities: [], deadManMilliseconds: 0, ...changes });
  }

  /** Says HELLO until HELLO_ACK comes. @throws Deviation where it does not */
  async handshake(session: number, changes: Partial<Hello> = {}, attempts = helloAttempts): Promise<HelloAck> {
    const host = await this.line();
    const from = host.frames.length;
    const find = () => host.frames.slice(from).find(({ frame }) => frame.session === session && (frame.type === 'HELLO_ACK' || frame.type === 'RESET'))?.frame;
    for (let attempt = 0; attempt < attempts && host.closedBecause === undefined; attempt += 1) {
      host.send('HELLO', { session, payload: this.hello(changes) });
      const answer = await host.until(find, helloMilliseconds);
      if (answer === undefined) continue;
      if (answer.type === 'RESET') throw new Deviation('HELLO_ACK', `RESET "${new TextDecoder().decode(answer.payload)}"`);
      const identity = helloAckCodec.decode(answer.payload);
      if (!identity.ok) throw new Deviation('HELLO_ACK with a payload that is a HelloAck', identity.reason);
      this.identity = identity.value;
      this.protocols.set(session, identity.value.protocol);
      return identity.value;
    }
    throw new Deviation('HELLO_ACK', host.closedBecause === undefined ? 'nothing' : `the end of the line (${host.closedBecause})`);
  }

  /** Opens a session of its own for an item. */
  async open(changes: Partial<Hello> = {}): Promise<Conversation> {
    this.conversation?.end();
    const session = this.newSession();
    const identity = await this.handshake(session, changes);
    const { creditBytes = hostCreditBytes, windowFrames = maximumWindowFrames } = changes;
    const host = await this.line();
    this.conversation = new Conversation(host, session, identity, this.newId, { creditBytes, windowFrames });
    return this.conversation;
  }

  /** Ends what an item has left behind. */
  finish(): void {
    this.conversation?.end();
    this.conversation = undefined;
  }

  /** Closes the line; the next user opens another. */
  close(): void {
    this.finish();
    this.pastLogs = this.logs;
    this.current?.close();
    this.current = undefined;
  }

  /** Restarts the controller and waits until it answers again. @returns what the new boot says */
  async restart(): Promise<HelloAck> {
    const conversation = await this.open();
    const before = conversation.identity.bootId;
    const final = await conversation.request('restart', {});
    if (!final.restart) throw new Deviation('an answer to Restart', describeFinal(final));
    await conversation.host.rest(restartMilliseconds);
    conversation.end();
    for (let attempt = 0; attempt < restartAttempts; attempt += 1) {
      const identity = await this.handshake(this.newSession()).catch(() => undefined);
      if (identity !== undefined && Buffer.compare(identity.bootId, before) !== 0) return identity;
      await (await this.line()).rest(helloMilliseconds);
    }
    throw new Deviation('a new boot id within some seconds after Restart', 'none');
  }

  declares(method: string): boolean {
    return this.identity?.capabilities.includes(method) ?? false;
  }

  /** @throws NotRun where the board has not that method */
  need(...methods: string[]): void {
    const missing = methods.filter((method) => !this.declares(method));
    if (missing.length > 0) throw new NotRun(`the board does not declare ${missing.join(', ')}`);
  }

  /** A method of the board as it stands in HELLO_ACK. */
  static capability(method: MethodName): string {
    return method[0].toUpperCase() + method.slice(1);
  }
}
