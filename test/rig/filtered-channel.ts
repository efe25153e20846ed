import type { ByteChannel, ByteChannelEvents } from '../../firmware-protocol/byte-channel.js';
import { type Decoded, type Frame, FrameDecoder } from '../../firmware-protocol/frame.js';

/** What becomes of the bytes between two 00: bytes that go on in their place, or nothing. */
export type Filter = (segment: Uint8Array) => Uint8Array | undefined;

export const passAll: Filter = (segment) => Uint8Array.of(0, ...segment, 0);

/** What a sound receiver makes of the bytes between two 00. */
export function decodedOf(segment: Uint8Array): Decoded {
  const [decoded] = new FrameDecoder().push(Uint8Array.of(...segment, 0));
  return decoded as Decoded;
}

/** Lets frames go on as `change` says, and what is no frame as it is. */
export const changeFrames = (change: (frame: Frame) => Uint8Array | undefined): Filter => (segment) => {
  const { frame } = decodedOf(segment);
  return frame === undefined ? passAll(segment) : change(frame);
};

class Cutter {
  private held: number[] = [];

  push(bytes: Uint8Array): Uint8Array[] {
    const segments: Uint8Array[] = [];
    for (const byte of bytes) {
      if (byte !== 0) this.held.push(byte);
      else if (this.held.length > 0) segments.push(Uint8Array.from(this.held.splice(0)));
    }
    return segments;
  }
}

/** The board's end of a line with a fault of the board in front of it. */
export class FilteredChannel implements ByteChannel {
  private readonly arriving = new Cutter();
  private readonly leaving = new Cutter();

  constructor(private readonly channel: ByteChannel, private readonly toBoard: Filter, private readonly toHost: Filter) {}

  attach(events: ByteChannelEvents): void {
    this.channel.attach({
      data: (bytes) => {
        for (const segment of this.arriving.push(bytes)) {
          const passed = this.toBoard(segment);
          if (passed !== undefined) events.data(passed);
        }
      },
      drain: () => events.drain(),
      close: (reason) => events.close(reason),
    });
  }

  write(bytes: Uint8Array): void {
    for (const segment of this.leaving.push(bytes)) {
      const passed = this.toHost(segment);
      if (passed !== undefined) this.channel.write(passed);
    }
  }

  get queuedBytes(): number {
    return this.channel.queuedBytes;
  }

  close(): void {
    this.channel.close();
  }
}
