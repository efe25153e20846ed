/** What a channel tells its one user. After `close` nothing else is called. */
export interface ByteChannelEvents {
  data(bytes: Uint8Array): void;
  /** Queued bytes fell below the channel's own low mark: there is room to write again. */
  drain(): void;
  /** The channel is gone, by our `close()` or not; `reason` is for people. */
  close(reason: string): void;
}

/** A stream of bytes both ways: serial port, TCP socket, pty or a simulated line. Chunk borders mean nothing. */
export interface ByteChannel {
  /** Names the one user; called once, before the first write. What came earlier is delivered soon after, never from inside this call. */
  attach(events: ByteChannelEvents): void;
  /** Queues bytes. Never blocks, never throws; after a close it does nothing. The bytes may not be changed afterwards. */
  write(bytes: Uint8Array): void;
  /** Bytes accepted by `write` that have not left yet. */
  readonly queuedBytes: number;
  /** Writes that had to be helped on, where the channel knows. */
  readonly writeStalls?: number;
  close(): void;
}
