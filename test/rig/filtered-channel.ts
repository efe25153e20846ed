import type { ByteChannel, ByteChannelEvents } from '../../firmware-protocol/byte-channel.js';
import { type Decoded, FrameDecoder } from '../../firmware-protocol/frame.js';

/** What becomes of what was decoded: bytes that go on in its place, or nothing. */
export type Filter = (decoded: Decoded) => Uint8Array | undefined;

/** The board's end of a line with a fault of the board in front of it: frames are taken apart, and go on as a filter says. */
export class FilteredChannel implements ByteChannel {
  private readonly arriving = new FrameDecoder();
  private readonly leaving = new FrameDecoder();

  constructor(private readonly channel: ByteChannel, private readonly toBoard: Filter, private readonly toHost: Filter) {}

  attach(events: ByteChannelEvents): void {
    this.channel.attach({
      data: (bytes) => {
        for (const passed of this.pass(this.arriving, this.toBoard, bytes)) events.data(passed);
      },
      drain: () => events.drain(),
      close: (reason) => events.close(reason),
    });
  }

  write(bytes: Uint8Array): void {
    for (const passed of this.pass(this.leaving, this.toHost, bytes)) this.channel.write(passed);
  }

  get queuedBytes(): number {
    return this.channel.queuedBytes;
  }

  close(): void {
    this.channel.close();
  }

  private pass(decoder: FrameDecoder, filter: Filter, bytes: Uint8Array): Uint8Array[] {
    return decoder.push(bytes).flatMap((decoded) => filter(decoded) ?? []);
  }
}
