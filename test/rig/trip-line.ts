import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { FrameDecoder } from '../../firmware-protocol/frame.js';
import { deviceMessageCodec } from '../../proto/codec.js';

/** What has passed since the line was armed. */
export interface Passed {
  /** Both ways. */
  readonly bytes: number;
  /** As the board has told last. */
  readonly pulses: number;
}

interface Trip {
  readonly isReached: (passed: Passed) => boolean;
  readonly action: () => void;
}

/**
 * A TCP line between a host and a board that come and go: it stays plugged in on both sides, as a serial cable does. At a point of their conversation
 * it does something and falls silent; what was on its way then is lost.
 */
export class TripLine {
  private bytes = 0;
  private pulses = 0;
  private trip: Trip | undefined;
  private port: number | undefined;
  private readonly hosts = new Set<Socket>();
  private readonly sockets = new Set<Socket>();

  private constructor(private readonly server: Server) {
    server.on('connection', (host) => this.take(host));
  }

  static async open(): Promise<TripLine> {
    const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TripLine(server);
  }

  get address(): string {
    return `tcp://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get passed(): Passed {
    return { bytes: this.bytes, pulses: this.pulses };
  }

  /** The board listens here from now on; hosts that have waited for one are put through. */
  plug(address: string): void {
    this.port = Number(new URL(address).port);
    for (const host of this.hosts) this.join(host, this.port);
    this.hosts.clear();
  }

  /** The board is gone. */
  unplug(): void {
    this.port = undefined;
    this.cut();
  }

  /** Begins to count, and does something once, where the point is reached. */
  arm(trip?: Trip): void {
    [this.bytes, this.pulses, this.trip] = [0, 0, trip];
  }

  close(): void {
    this.unplug();
    for (const host of this.hosts) host.destroy();
    this.server.close();
  }

  private cut(): void {
    for (const socket of this.sockets) socket.destroy();
    this.sockets.clear();
  }

  private take(host: Socket): void {
    host.setNoDelay(true).on('error', () => undefined);
    if (this.port === undefined) this.hosts.add(host);
    else this.join(host, this.port);
  }

  private join(host: Socket, port: number): void {
    const board = connect(port, '127.0.0.1').setNoDelay(true).on('error', () => undefined);
    for (const [one, other] of [[host, board], [board, host]]) {
      this.sockets.add(one);
      one.on('close', () => {
        this.sockets.delete(one);
        other.destroy();
      });
    }
    const decoder = new FrameDecoder();
    host.on('data', (bytes) => this.pass(bytes, board));
    board.on('data', (bytes) => {
      // Many frames may come at once: the point is reached at one of them, and those behind it are on their way still.
      for (const { frame } of decoder.push(bytes)) if (frame?.type === 'DATA' && this.hear(frame.payload)) return;
      this.pass(bytes, host);
    });
    host.resume();
  }

  /** @returns whether the point was reached */
  private hear(payload: Uint8Array): boolean {
    const message = deviceMessageCodec.decode(payload);
    const pulses = message.ok ? message.value.progress?.cells?.pulses : undefined;
    if (pulses === undefined) return false;
    this.pulses = Math.max(this.pulses, pulses);
    return this.hasTripped();
  }

  private pass(bytes: Uint8Array, to: Socket): void {
    this.bytes += bytes.length;
    if (!this.hasTripped() && !to.destroyed) to.write(bytes);
  }

  private hasTripped(): boolean {
    const { trip } = this;
    if (!trip?.isReached(this.passed)) return false;
    this.trip = undefined;
    trip.action();
    this.cut();
    return true;
  }
}
