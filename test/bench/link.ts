// The link over a pseudo-terminal to the C firmware, against a bare serialport to a C process over another one: an echo, and a one-way stream of writes.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { SerialPort } from 'serialport';
import { type Device, openDevice, parseAddress } from '../../driver/index.js';
import { systemClock } from '../../server/system-clock.js';
import { packageFolder } from '../../server/version.js';
import { FirmwareBoard, firmwareSkip, make } from '../rig/firmware-board.js';
import { type Figure, ownChildren, type Subject } from './measure.js';

const roundTrips = 300;
const objectBytes = 4 * 2 ** 20;
const objectsPerWindow = 4;
const writeBytes = 64 * 1024;
/** A request of no operation and its acknowledgement, as frames. */
const smallBytes = 64;

/** Compiles the far end of the bare line and starts it. */
async function startPeer(swallowedBytes: number): Promise<{ child: ChildProcess; path: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'prime-line-peer-'));
  try {
    const program = join(folder, 'line-peer');
    const { status, stderr } = spawnSync('gcc', ['-O2', '-o', program, join(packageFolder(), 'test', 'bench', 'line-peer.c')], { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    const child = spawn(program, [String(swallowedBytes)], { stdio: ['pipe', 'pipe', 'inherit'] });
    ownChildren.push(child.pid ?? 0);
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    return { child, path: (JSON.parse(line) as { address: string }).address };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function overLink(): Promise<{ device: Device; close(): Promise<void> }> {
  if (firmwareSkip !== false) throw new Error(`the C firmware ${firmwareSkip}`);
  const { status, output } = make('all');
  if (status !== 0) throw new Error(output);
  const board = await FirmwareBoard.start('native', '--pty');
  ownChildren.push(board.pid);
  const prng = { nextUint32: () => randomBytes(4).readUInt32LE() };
  const device = openDevice({ address: parseAddress(board.address), clock: systemClock, prng, onEvent: () => undefined });
  await device.whenReady(10_000);
  return {
    device,
    async close() {
      await device.close();
      await board.close();
    },
  };
}

/** A serial port whose other end sends back what it reads, or one byte for so many. */
class Bare {
  private received = 0;
  private wanted = 0;
  private resolve: (() => void) | undefined;

  private constructor(private readonly port: SerialPort, private readonly child: ChildProcess) {
    port.on('data', (bytes: Buffer) => {
      this.received += bytes.length;
      if (this.received >= this.wanted) this.resolve?.();
    });
  }

  static async open(swallowedBytes = 0): Promise<Bare> {
    const { child, path } = await startPeer(swallowedBytes);
    const port = new SerialPort({ path, baudRate: 3_000_000, autoOpen: false, hupcl: false, highWaterMark: writeBytes });
    await new Promise<void>((resolve, reject) => port.open((error) => (error ? reject(error) : resolve())));
    return new Bare(port, child);
  }

  /** Writes bytes and waits until as many have come back. */
  async exchange(bytes: Buffer): Promise<void> {
    const back = this.comesBack(bytes.length);
    this.port.write(bytes);
    await back;
  }

  /** Writes bytes one way, a chunk behind the other, and waits for the word that they are there. */
  async stream(totalBytes: number, chunk: Buffer): Promise<void> {
    const back = this.comesBack(1);
    for (let sent = 0; sent < totalBytes; sent += chunk.length) {
      await new Promise<void>((resolve, reject) => this.port.write(chunk, (error) => (error ? reject(error) : resolve())));
    }
    await back;
  }

  private comesBack(bytes: number): Promise<void> {
    this.received = 0;
    this.wanted = bytes;
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.port.close(() => resolve()));
    this.child.kill();
  }
}

async function roundTrip(): Promise<{ subject: Subject; baseline: Subject }> {
  const link = await overLink();
  const echo = await Bare.open();
  const small = Buffer.alloc(smallBytes, 1);
  const timed = (action: () => Promise<unknown>) => async () => {
    const start = performance.now();
    for (let index = 0; index < roundTrips; index += 1) await action();
    return (performance.now() - start) / roundTrips;
  };
  return {
    subject: { name: 'link', window: timed(() => link.device.noOperation()), close: () => link.close() },
    baseline: { name: 'serialport-echo', window: timed(() => echo.exchange(small)), close: () => echo.close() },
  };
}

async function throughput(): Promise<{ subject: Subject; baseline: Subject }> {
  const link = await overLink();
  const windowBytes = objectsPerWindow * objectBytes;
  const bare = await Bare.open(windowBytes);
  const chunk = Buffer.alloc(writeBytes, 1);
  const rate = async (action: () => Promise<void>) => {
    const start = performance.now();
    await action();
    return (windowBytes * 1000) / (performance.now() - start);
  };
  const object = randomBytes(objectBytes);
  const upload = () =>
    rate(async () => {
      for (let count = 0; count < objectsPerWindow; count += 1) {
        // Another one each time: what is there already is not sent again.
        object.writeUInt32LE((object.readUInt32LE() + 1) >>> 0);
        await link.device.uploadBulk(object);
      }
    });
  const stream = () => rate(() => bare.stream(windowBytes, chunk));
  return {
    subject: { name: 'link', window: upload, close: () => link.close() },
    baseline: { name: 'serialport-one-way', window: stream, close: () => bare.close() },
  };
}

export const linkFigures: readonly Figure[] = [
  { name: 'link-roundtrip', unit: 'ms', better: 'lower', open: roundTrip },
  { name: 'link-throughput', unit: 'bytes/s', better: 'higher', open: throughput },
];
