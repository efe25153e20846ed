// The serial transport without a serial port: what is a stall and what is only slow. And the TCP transport on real sockets.
import { spawnSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeDirect, type PosixPort } from '../driver/direct-port.js';
import { type Port, SerialChannel } from '../driver/transport-serial.js';
import { connectTcp } from '../driver/transport-tcp.js';
import { VirtualClock } from './rig/virtual-clock.js';

/** A port whose writes end when the test says so. */
class SoftPort implements Port {
  isOpen = true;
  polls = 0;
  readonly port = { poller: { poll: () => { this.polls += 1; } } };
  readonly written: Uint8Array[] = [];
  private done: ((error?: Error | null) => void) | undefined;

  constructor(readonly baudRate: number) {}

  write(bytes: Uint8Array, done: (error?: Error | null) => void): void {
    this.written.push(bytes);
    this.done = done;
  }

  /** The write under way has left. */
  finish(error?: Error): void {
    const done = this.done;
    this.done = undefined;
    done?.(error);
  }

  close(done: () => void): void {
    this.isOpen = false;
    done();
  }

  on(): void {
    // Nothing comes in.
  }
}

async function opened(baud: number) {
  const clock = new VirtualClock();
  const port = new SoftPort(baud);
  const channel = new SerialChannel(port, clock);
  const closes: string[] = [];
  let drains = 0;
  channel.attach({ data: () => undefined, drain: () => { drains += 1; }, close: (reason) => closes.push(reason) });
  await Promise.resolve();
  return { clock, port, channel, closes, drains: () => drains };
}

t.test('bytes that wait while others leave are slow, not stalled', async (t) => {
  const { clock, port, channel, closes, drains } = await opened(115_200);
  channel.write(new Uint8Array(20_000));
  const pieces = Math.ceil(20_000 / (port.written[0]?.length ?? 1));
  t.ok(pieces > 10, `a write of 20 000 bytes goes out in ${pieces} pieces`);
  for (let piece = 0; piece < pieces; piece += 1) {
    await clock.advance(250_000); // each takes four times as long as the baud says
    port.finish();
  }
  t.equal(channel.queuedBytes, 0);
  t.equal(port.written.reduce((sum, { length }) => sum + length, 0), 20_000);
  t.equal(channel.writeStalls, 0);
  t.strictSame(closes, []);
  t.equal(drains(), pieces, 'each piece makes room');
  t.equal(clock.pendingTimers, 0);
});

t.test('a write that hangs is helped on three times, then the port is given up', async (t) => {
  const { clock, port, channel, closes } = await opened(921_600);
  channel.write(new Uint8Array(1000));
  await clock.advance(100_000);
  t.equal(port.polls, 1);
  port.finish();
  t.equal(channel.writeStalls, 1);
  channel.write(new Uint8Array(1000));
  await clock.advance(10_000_000);
  t.equal(port.polls, 4);
  t.strictSame(closes, ['a write does not finish (write-stalled)']);
  t.equal(port.isOpen, false);
  t.equal(clock.pendingTimers, 0);
});

t.test('what a port says when it fails is the reason', async (t) => {
  const { port, channel, closes } = await opened(921_600);
  channel.write(new Uint8Array(10));
  port.finish(new Error('no such device'));
  t.strictSame(closes, ['no such device']);
  channel.write(new Uint8Array(10));
  t.equal(port.written.length, 1, 'nothing is written after that');
});

/** A poller that is told by the test what the line is ready for. */
class SoftPoller extends EventEmitter {
  readonly polls: number[] = [];

  poll(events: number): void {
    this.polls.push(events);
  }

  override once(event: string, listener: (error: Error | null) => void): this {
    this.poll(event === 'readable' ? 1 : 2);
    return super.once(event, listener);
  }
}

/** A direct port on one end of a FIFO, whose other end the test holds; neither end blocks. */
function fifo(t: Test, mode: 'reads' | 'writes') {
  const path = join(t.testdir({}), 'line');
  t.equal(spawnSync('mkfifo', [path]).status, 0);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  const open = new Set([reader, writer]);
  const close = (fd: number) => {
    if (open.delete(fd)) closeSync(fd);
  };
  t.teardown(() => [reader, writer].forEach(close));
  const poller = new SoftPoller();
  const [near, far] = mode === 'reads' ? [reader, writer] : [writer, reader];
  const port = { fd: near, poller } as unknown as PosixPort;
  makeDirect(port);
  return { port, poller, far, close };
}

t.test('a direct port has written what the line takes when the call returns, and the rest once there is room, in order', async (t) => {
  const { port, poller, far } = fifo(t, 'writes');
  const pattern = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251);
  const arrived = Buffer.alloc(pattern.length);
  let isDone = false;
  const writing = port.write(pattern).then(() => { isDone = true; });
  let at = readSync(far, arrived, 0, arrived.length, null);
  t.ok(at > 4_000, `${at} bytes were there at once`);
  await Promise.resolve();
  t.equal(isDone, false);
  poller.emit('writable', null);
  await writing;
  at += readSync(far, arrived, at, arrived.length - at, null);
  t.equal(at, pattern.length);
  t.equal(Buffer.compare(arrived, pattern), 0);
});

t.test('a direct port reads when there is something, and says when the other end has hung up or the port is closed', async (t) => {
  const { port, poller, far, close } = fifo(t, 'reads');
  const buffer = new Uint8Array(100);
  const reading = port.read(buffer, 10, 50);
  poller.emit('readable', null); // for nothing, as it happens
  writeSync(far, Uint8Array.of(1, 2, 3));
  await Promise.resolve();
  poller.emit('readable', null);
  t.equal((await reading).bytesRead, 3);
  t.strictSame([...buffer.subarray(10, 14)], [1, 2, 3, 0]);

  const hungUp = port.read(buffer, 0, 50);
  close(far);
  poller.emit('readable', null);
  await t.rejects(hungUp, { message: 'the other end has hung up' });

  const closing = port.read(buffer, 0, 50);
  Object.assign(port, { fd: null });
  poller.emit('readable', null);
  await t.rejects(closing, { message: 'the port is closed' });
  await t.rejects(port.write(buffer), { message: 'the port is closed' });
});

t.test('a direct port that waits to be read is still waited for to be written', async (t) => {
  const { poller } = fifo(t, 'writes');
  poller.once('writable', () => undefined);
  poller.once('readable', () => undefined);
  poller.emit('writable');
  poller.poll(1);
  t.strictSame(poller.polls, [2, 3, 1]);
});

t.test('a port without a poller is left as it is', async (t) => {
  const port = { write: () => undefined };
  const before = { ...port };
  makeDirect(port);
  t.strictSame(port, before);
  makeDirect(undefined);
});

t.test('TCP brings bytes both ways and says when the other end has gone', async (t) => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('data', (bytes) => socket.write(bytes));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const address = server.address();
  const channel = await connectTcp('127.0.0.1', typeof address === 'object' && address ? address.port : 0);
  const came = new Promise<number>((resolve) => {
    channel.attach({ data: ({ length }) => resolve(length), drain: () => undefined, close: (reason) => closed(reason) });
  });
  let closed: (reason: string) => void = () => undefined;
  const gone = new Promise<string>((resolve) => { closed = resolve; });
  channel.write(Uint8Array.of(1, 2, 3));
  t.equal(await came, 3);
  sockets[0]?.destroy();
  t.match(await gone, /closed|reset/i);
  await t.rejects(connectTcp('127.0.0.1', 1), 'nobody listens there');
});
