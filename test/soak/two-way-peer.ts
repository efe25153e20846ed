// The far end of the two-way transfers: on a pseudo-terminal it takes messages in and sends as many of its own at the same time. Prints its address
// first. A session is opened without a handshake: both ends know its number.
import type { ByteChannel } from '../../firmware-protocol/byte-channel.js';
import { Wire } from '../../firmware-protocol/wire.js';
import { systemClock } from '../../server/system-clock.js';
import { listenPty } from '../../sim/process/listen-pty.js';
import { Transfer, twoWayLink } from './transfer.js';

let channel: ByteChannel | undefined;
const { address } = listenPty((line) => {
  channel = line;
});
const sizeBytes = Number(process.argv[2]);
if (channel === undefined) throw new Error('there is no line');

let transfer: Transfer | undefined;
const wire: Wire = new Wire(channel, systemClock, {
  frame: () => undefined,
  message: (payload) => {
    // The first message of a transfer asks for one back.
    transfer = transfer === undefined || transfer.isDone ? new Transfer(wire, sizeBytes) : transfer;
    transfer.take(payload);
  },
  room: () => transfer?.send(),
  down: (reason) => {
    process.stderr.write(`${reason}\n`);
    process.exit(1);
  },
  discarded: () => undefined,
});
wire.open(twoWayLink);
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ address })}\n`);
