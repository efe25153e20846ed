// A bulk transfer to the C firmware over a pseudo-terminal that the firmware paces like a UART, clean and with a hundredth of all frames damaged.
import { randomBytes } from 'node:crypto';
import { openDevice, parseAddress } from '../../driver/index.js';
import { systemClock } from '../../server/system-clock.js';
import { FirmwareBoard } from '../rig/firmware-board.js';

const bitsPerByte = 10;
const transferSeconds = 4;
/** The firmware keeps this much at once. */
const objectBytes = 512 * 1024;

export interface PacedReport {
  readonly baud: number;
  readonly corruptFraction: number;
  /** Application bytes a second over what the line could carry. */
  readonly efficiency: number;
  readonly retransmissions: number;
}

/** Brings objects to the firmware for some seconds. @param corruptFraction of the frames each way */
export async function paced(baud: number, corruptFraction: number): Promise<PacedReport> {
  const board = await FirmwareBoard.start('native', '--pty', '--baud', String(baud), '--corrupt', String(corruptFraction), '--seed', '1');
  try {
    const prng = { nextUint32: () => randomBytes(4).readUInt32LE() };
    const device = openDevice({ address: parseAddress(`${board.address}?baud=${baud}`), clock: systemClock, prng, onEvent: () => undefined });
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
    await board.close();
  }
}
