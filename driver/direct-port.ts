import { readSync, writeSync } from 'node:fs';

const pollReadable = 1;
const pollWritable = 2;
/** Not now: the port is full or empty, or a signal came in between. */
const notNow = new Set(['EAGAIN', 'EWOULDBLOCK', 'EINTR']);

/** Of serialport's POSIX bindings: what waits until a port can be read or written. */
interface Poller {
  poll(events: number): void;
  once(event: 'readable' | 'writable', listener: (error: Error | null) => void): unknown;
  listenerCount(event: 'readable' | 'writable'): number;
}

/** An open port of serialport's POSIX bindings. Its descriptor does not block; null once it is closed. */
export interface PosixPort {
  readonly fd: number | null;
  readonly poller: Poller;
  read(buffer: Uint8Array, offset: number, length: number): Promise<{ bytesRead: number; buffer: Uint8Array }>;
  write(buffer: Uint8Array): Promise<void>;
}

/** To wait for one event is, in the binding, to forget the other, so that under two-way load a write may wait for ever: here both are waited for. */
function waitForBoth(poller: Poller): void {
  const poll = poller.poll.bind(poller);
  poller.poll = (events) => {
    const readable = poller.listenerCount('readable') > 0 ? pollReadable : 0;
    const writable = poller.listenerCount('writable') > 0 ? pollWritable : 0;
    poll(events | readable | writable);
  };
}

/** The number that a call on the descriptor returns, or undefined where the port is not ready for it. */
function attempt(port: PosixPort, call: (fd: number) => number): number | undefined {
  if (port.fd === null) throw Object.assign(new Error('the port is closed'), { canceled: true });
  try {
    return call(port.fd);
  } catch (error) {
    if (notNow.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/**
 * Lets a port read and write by itself, where serialport goes over the thread pool, which takes longer than many a frame: a write that the line has
 * room for has left when the call returns, an ESTOP too. A line that has hung up says so at once.
 * @param port serialport's `port.port`; it is left as it is where the system has no descriptors to wait for
 */
export function makeDirect(port: unknown): void {
  if (typeof port === 'object' && port !== null && 'poller' in port) replaceCalls(port as PosixPort);
}

function replaceCalls(port: PosixPort): void {
  const { poller } = port;
  const ready = (event: 'readable' | 'writable') =>
    new Promise<void>((resolve, reject) => void poller.once(event, (error) => (error ? reject(error) : resolve())));
  waitForBoth(poller);
  port.read = async (buffer, offset, length) => {
    for (;;) {
      await ready('readable');
      const bytesRead = attempt(port, (fd) => readSync(fd, buffer, offset, length, null));
      if (bytesRead === 0) throw new Error('the other end has hung up');
      if (bytesRead !== undefined) return { bytesRead, buffer };
    }
  };
  port.write = async (buffer) => {
    for (let at = 0; at < buffer.length; ) {
      const written = attempt(port, (fd) => writeSync(fd, buffer, at));
      if (written === undefined) await ready('writable');
      else at += written;
    }
  };
}
