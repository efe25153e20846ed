// Sends back what comes from a pseudo-terminal: the bare line that the link is compared with. Prints {"address":"/dev/pts/N"} first.
import { listenPty } from '../../sim/process/listen-pty.js';
import type { ByteChannel } from '../../firmware-protocol/byte-channel.js';

let line: ByteChannel | undefined;
const { address } = listenPty((channel) => {
  line = channel;
});
line?.attach({ data: (bytes) => line?.write(bytes), drain: () => undefined, close: () => process.exit(0) });
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ address: address.replace('serial:', '') })}\n`);
