import { capturedChannel } from '../../driver/index.js';
import { CaptureFile, type CaptureOptions } from './capture-file.js';

type ByteChannel = Parameters<typeof capturedChannel>[0];

/** The lines of a service that are recorded, each connection under a number of its own. */
export class LineCapture {
  private readonly file: CaptureFile;
  private lines = 0;

  /** @throws MacroError BAD_ARGUMENT where the file cannot be made */
  constructor(private readonly options: CaptureOptions) {
    this.file = new CaptureFile(options);
  }

  /** Puts the tap on a line that was just opened. */
  tap(channel: ByteChannel, name: string, clockOffsetMicroseconds: () => number | undefined): ByteChannel {
    this.lines = (this.lines + 1) % 0x10000;
    const { clock, wallMilliseconds } = this.options;
    return capturedChannel(channel, { number: this.lines, name, clock, wallMilliseconds, clockOffsetMicroseconds }, this.file);
  }

  /** Records that were given up because the disk was too slow. */
  get dropped(): number {
    return this.file.dropped;
  }

  end(): Promise<void> {
    return this.file.end();
  }
}
