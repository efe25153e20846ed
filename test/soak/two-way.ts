// Both directions of a pseudo-terminal loaded at once through serialport, which loses a writable event now and then under just this load: every
// transfer must end, whole, without anybody's help.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { connectTo, parseAddress } from '../../driver/index.js';
import { Wire } from '../../firmware-protocol/wire.js';
import { systemClock } from '../../server/system-clock.js';
import { Transfer, twoWayLink } from './transfer.js';

const sizeBytes = 16 * 2 ** 20;
const stallMilliseconds = 10_000;
const lookMilliseconds = 100;

export interface TwoWayReport {
  readonly transfers: number;
  readonly bytesPerSecond: number;
  readonly writeStalls: number;
  readonly retransmissions: number;
}

const rest = (milliseconds: number) => new Promise<void>((resolve) => void setTimeout(resolve, milliseconds));

/** Waits for a transfer; one that does not move is a stall. */
async function ended(transfer: Transfer, number: number): Promise<void> {
  let [seen, still] = [0, 0];
  while (!transfer.isDone) {
    await rest(lookMilliseconds);
    still = transfer.bytes === seen ? still + lookMilliseconds : 0;
    seen = transfer.bytes;
    if (still >= stallMilliseconds) throw new Error(`transfer ${number} has stood still for ${stallMilliseconds} ms at ${seen} bytes`);
  }
  if (!transfer.isIntact) throw new Error(`transfer ${number} came damaged`);
}

/** Runs so many transfers of 16 MiB each way, one after the other. @throws Error where one stalls or comes damaged */
export async function twoWay(transfers: number): Promise<TwoWayReport> {
  const program = new URL('./two-way-peer.js', import.meta.url).pathname;
  const child = spawn(process.execPath, [program, String(sizeBytes)], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    const channel = await connectTo(parseAddress((JSON.parse(line) as { address: string }).address));
    let transfer: Transfer | undefined;
    let whyDown: string | undefined;
    const wire: Wire = new Wire(channel, systemClock, {
      frame: () => undefined,
      message: (payload) => transfer?.take(payload),
      room: () => transfer?.send(),
      down: (reason) => { whyDown = reason; },
      discarded: () => undefined,
    });
    wire.open(twoWayLink);
    const start = performance.now();
    for (let number = 1; number <= transfers; number += 1) {
      transfer = new Transfer(wire, sizeBytes);
      await ended(transfer, number);
      if (whyDown !== undefined) throw new Error(whyDown);
    }
    const seconds = (performance.now() - start) / 1000;
    const { writeStalls, link } = wire.statistics;
    wire.close();
    return { transfers, bytesPerSecond: (transfers * 2 * sizeBytes) / seconds, writeStalls, retransmissions: link?.retransmissions ?? 0 };
  } finally {
    child.kill();
  }
}
