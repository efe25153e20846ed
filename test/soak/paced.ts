// A bulk transfer to the C firmware over a pseudo-terminal that the firmware paces like a UART, clean and with a hundredth of all frames damaged.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openDevice, parseAddress } from '../../driver/index.js';
import { systemClock } from '../../server/system-clock.js';
import { packageFolder } from '../../server/version.js';

const bitsPerByte = 10;
const transferSeconds = 4;

export const firmwareProgram = join(packageFolder(), 'firmware-protocol', 'firmware', 'build', 'native', 'prime-firmware');

export interface PacedReport {
  readonly baud: number;
  readonly corruptFraction: number;
  /** Application bytes a second over what the line could carry. */
  readonly efficiency: number;
  readonly retransmissions: number;
}

/** Brings objects to the firmware for some seconds. @param corruptFraction of the frames each way */
export async function paced(baud: number, corruptFraction: number): Promise<PacedReport> {
  const argv = ['--pty', '--baud', String(baud), '--corrupt', String(corruptFraction), '--seed', '1', '--exit-with-parent'];
  const child = spawn(firmwareProgram, argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    const { address } = JSON.parse(line) as { address: string };
    const prng = { nextUint32: () => randomBytes(4).readUInt32LE() };
    const device = openDevice({ address: parseAddress(`${address}?baud=${baud}`), clock: systemClock, prng, onEvent: () => undefined });
    try {
      await device.whenReady(10_000);
      const bytes = Math.round((baud / bitsPerByte) * transferSeconds);
      const objects = Math.ceil(bytes / objectBytes);
      const start = performance.now();
      for (let object = 0; object < objects; object += 1) await device.uploadBulk(randomBytes(objectBytes));
      const seconds = (performance.now() - start) / 1000;
      const efficiency = (objects * objectBytes) / seconds / (baud / bitsPerByte);
      return { baud, corruptFraction, efficiency, retransmissions: device.statistics.link?.retransmissions ?? 0 };
    } finally {
      await device.close();
    }
  } finally {
    child.kill();
  }
}

/** The firmware keeps this much at once. */
const objectBytes = 512 * 1024;
