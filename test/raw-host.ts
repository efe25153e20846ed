// A host that speaks protocol 2 without the driver, and does exactly what a test says: for boards at an address.
import { createHash, randomBytes } from 'node:crypto';
import { connectTo, parseAddress } from '../driver/index.js';
import type { Frame, FrameType } from '../firmware-protocol/frame.js';
import { packNibbles } from '../firmware-protocol/numerics/index.js';
import { Wire } from '../firmware-protocol/wire.js';
import { programCodec, snapshotCodec } from '../proto/codec.js';
import { macro } from '../proto/generated/macro.js';
import type { CompiledNetwork } from '../server/network/compile.js';
import { systemClock } from '../server/system-clock.js';

const { DeviceMessage, Hello, HelloAck, HostMessage, LogRecord } = macro.v1;
type DeviceMessage = macro.v1.DeviceMessage;
type Final = macro.v1.Final;
type HelloAck = macro.v1.HelloAck & { geometry: macro.v1.Geometry; converter: CompileConverter };
type CompileConverter = Parameters<typeof import('../server/network/compile.js').compile>[1]['converter'];

const chunkBytes = 584;
const patienceMilliseconds = 20_000;
const sha256Of = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest());
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const isSame = (left: Uint8Array, right: Uint8Array) => Buffer.compare(left, right) === 0;

export class RawHost {
  readonly frames: Frame[] = [];
  readonly messages: DeviceMessage[] = [];
  readonly logs: string[] = [];
  private wire!: Wire;
  private waiters: (() => void)[] = [];
  private isMute = false;
  private programSha256 = new Uint8Array();

  static async connect(address: string): Promise<RawHost> {
    const host = new RawHost();
    const channel = await connectTo(parseAddress(address));
    const line = {
      attach: channel.attach.bind(channel), close: channel.close.bind(channel),
      get queuedBytes() { return channel.queuedBytes; },
      write: (bytes: Uint8Array) => { if (!host.isMute) channel.write(bytes); },
    };
    host.wire = new Wire(line, systemClock, {
      frame: (frame) => host.takeFrame(frame), message: (payload) => host.takeMessage(payload), room: () => undefined, down: () => undefined,
      discarded: () => undefined,
    });
    return host;
  }

  close(): void {
    this.wire.close();
  }

  /** For so long nothing is written, not even an acknowledgement. */
  mute(milliseconds: number): void {
    this.isMute = true;
    systemClock.after(milliseconds * 1000, () => { this.isMute = false; });
  }

  emergencyStop(session: number): void {
    this.wire.sendFrame('ESTOP', session, new Uint8Array());
  }

  /** The next frame of a type that has not been asked for yet. */
  frame(type: FrameType): Promise<Frame> {
    return this.until(() => {
      const at = this.frames.findIndex((frame) => frame.type === type);
      return at < 0 ? undefined : this.frames.splice(at, 1)[0];
    });
  }

  async hello(session: number, changes: object): Promise<HelloAck> {
    this.offer(session, changes);
    const identity = HelloAck.decode((await this.frame('HELLO_ACK')).payload) as HelloAck;
    this.wire.open({ session, windowFrames: 32, receiveBytes: 60_000, peerCreditBytes: identity.creditBytes });
    return identity;
  }

  /** Opens sessions from a number on until the board is what a test waits for. */
  async helloUntil(session: number, is: (identity: HelloAck) => boolean): Promise<HelloAck> {
    for (let attempt = session * 1000; ; attempt += 1) {
      const identity = await this.hello(attempt, {});
      if (is(identity)) return identity;
    }
  }

  async refused(session: number, changes: object): Promise<string> {
    this.offer(session, changes);
    return text((await this.frame('RESET')).payload);
  }

  private offer(session: number, changes: object): void {
    const offer = { protocolMinimum: 1, protocolMaximum: 2, windowFrames: 32, creditBytes: 60_000, ...changes };
    this.wire.sendFrame('HELLO', session, Hello.encode(offer).finish());
  }

  /** Sends a request. @returns its answer */
  request(method: object, requestId: Uint8Array = new Uint8Array(randomBytes(16))): Promise<Final> {
    const before = this.messages.length;
    this.wire.send(HostMessage.encode({ request: { requestId, ...method } }).finish(), 'bulk');
    const isOurs = (final: { requestId?: Uint8Array | null } | null | undefined) => isSame(final?.requestId ?? new Uint8Array(), requestId);
    return this.until(() => this.messages.slice(before).find(({ final }) => isOurs(final))?.final as Final | undefined);
  }

  accepted(): Promise<boolean> {
    return this.until(() => this.messages.some(({ accepted }) => accepted) || undefined);
  }

  async upload(bytes: Uint8Array): Promise<Uint8Array> {
    const sha256 = sha256Of(bytes);
    await this.request({ bulkOffer: { sha256, sizeBytes: bytes.length } });
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      const bulkChunk = { sha256: sha256.slice(0, 8), offsetBytes: at, data: bytes.subarray(at, at + chunkBytes) };
      this.wire.send(HostMessage.encode({ bulkChunk }).finish(), 'bulk');
    }
    const { failure } = await this.request({ bulkCommit: { sha256 } });
    if (failure) throw new Error(`${failure.code}: ${failure.detail}`);
    return sha256;
  }

  get chunks(): macro.v1.BulkChunk[] {
    return this.messages.flatMap(({ bulkChunk }) => (bulkChunk ? [bulkChunk as macro.v1.BulkChunk] : []));
  }

  /** Brings a network's pairs to the chip and its program to the board. */
  async load({ snapshot, program }: CompiledNetwork): Promise<void> {
    if (snapshot !== undefined) await this.request({ loadSnapshot: { sha256: await this.upload(snapshotCodec.encode(snapshot)) } });
    this.programSha256 = new Uint8Array(await this.upload(programCodec.encode(program)));
    await this.request({ loadProgram: { sha256: this.programSha256 } });
  }

  async run(codes: Uint8Array): Promise<Final> {
    return this.request({ runNetwork: { programSha256: this.programSha256, framesSha256: await this.upload(packNibbles(codes)) } });
  }

  get timesteps(): macro.v1.TimestepResult[] {
    return this.messages.flatMap(({ progress }) => (progress?.timestep ? [progress.timestep as macro.v1.TimestepResult] : []));
  }

  /** The first samples of a stream, as soon as there are so many. */
  telemetry(stream: number, count: number): Promise<macro.v1.Telemetry[]> {
    return this.until(() => {
      const samples = this.messages.flatMap(({ telemetry }) => (telemetry?.stream === stream ? [telemetry as macro.v1.Telemetry] : []));
      return samples.length >= count ? samples.slice(0, count) : undefined;
    });
  }

  private takeFrame(frame: Frame): void {
    if (frame.type === 'DATAGRAM') this.takeMessage(frame.payload);
    else if (frame.type === 'LOG') this.logs.push(LogRecord.decode(frame.payload).text);
    else this.frames.push(frame);
    this.wake();
  }

  private takeMessage(payload: Uint8Array): void {
    this.messages.push(DeviceMessage.decode(payload));
    this.wake();
  }

  private wake(): void {
    const { waiters } = this;
    this.waiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Waits for something to be there, a frame or a message at a time. */
  private async until<Value>(find: () => Value | undefined): Promise<Value> {
    let isLate = false;
    const timer = systemClock.after(patienceMilliseconds * 1000, () => {
      isLate = true;
      this.wake();
    });
    try {
      for (let value = find(); ; value = find()) {
        if (value !== undefined) return value;
        if (isLate) throw new Error('the board does not answer');
        await new Promise<void>((resolve) => this.waiters.push(resolve));
      }
    } finally {
      timer.cancel();
    }
  }
}
