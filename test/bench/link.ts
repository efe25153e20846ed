// The link over a pseudo-terminal to the simulator process, against a bare serialport over another one: an echo, and a one-way stream of writes.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { SerialPort } from 'serialport';
import { type Device, openDevice, parseAddress } from '../../driver/index.js';
import { parseSimulatorAddress, simulatorArguments, simulatorProgram } from '../../server/device/simulator.js';
import { systemClock } from '../../server/system-clock.js';
import { type Figure, ownChildren, type Subject } from './measure.js';

const roundTrips = 300;
const objectBytes = 4 * 2 ** 20;
const writeBytes = 64 * 1024;
/** A request of no operation and its acknowledgement, as frames. */
const smallBytes = 64;

/** Starts a process that prints an address first. */
async function started(command: string, args: readonly string[]): Promise<{ child: ChildProcess; address: string }> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  ownChildren.push(child.pid ?? 0);
  const lines = createInterface({ input: child.stdout });
  const address = await new Promise<string>((resolve) => {
    lines.once('line', (line) => resolve((JSON.parse(line) as { address: string }).address));
  });
  return { child, address };
}

async function overLink(): Promise<{ device: Device; close(): Promise<void> }> {
  const { child, address } = await started(process.execPath, [simulatorProgram(), ...simulatorArguments(parseSimulatorAddress('sim:ideal?transport=pty'))]);
  const prng = { nextUint32: () => randomBytes(4).readUInt32LE() };
  const device = openDevice({ address: parseAddress(address), clock: systemClock, prng, onEvent: () => undefined });
  await device.whenReady(10_000);
  return {
    device,
    async close() {
      await device.close();
      child.kill();
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

  static async open(swallowed = 0): Promise<Bare> {
    const program = new URL('./echo-process.js', import.meta.url).pathname;
    const { child, address } = await started(process.execPath, [program, String(swallowed)]);
    const port = new SerialPort({ path: address, baudRate: 3_000_000, autoOpen: false, hupcl: false, highWaterMark: writeBytes });
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
  const bare = await Bare.open(objectBytes);
  const chunk = Buffer.alloc(writeBytes, 1);
  const rate = (bytes: number, start: number) => (bytes * 1000) / (performance.now() - start);
  const upload = async () => {
    const object = randomBytes(objectBytes); // a new one each time: what is there already is not sent again
    const start = performance.now();
    await link.device.uploadBulk(object);
    return rate(objectBytes, start);
  };
  const stream = async () => {
    const start = performance.now();
    await bare.stream(objectBytes, chunk);
    return rate(objectBytes, start);
  };
  return {
    subject: { name: 'link', window: upload, close: () => link.close() },
    baseline: { name: 'serialport-one-way', window: stream, close: () => bare.close() },
  };
}

export const linkFigures: readonly Figure[] = [
  { name: 'link-roundtrip', unit: 'ms', better: 'lower', open: roundTrip },
  { name: 'link-throughput', unit: 'bytes/s', better: 'higher', open: throughput },
];
