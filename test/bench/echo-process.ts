// The other end of a bare pseudo-terminal, which the link is compared with: sends back what comes, or with a number as argument one byte for so
// many that have come. Prints {"address":"/dev/pts/N"} first.
import type { ByteChannel } from '../../firmware-protocol/byte-channel.js';
import { listenPty } from '../../sim/process/listen-pty.js';

const swallowed = Number(process.argv[2] ?? 0);
let line: ByteChannel | undefined;
let received = 0;
const { address } = listenPty((channel) => {
  line = channel;
});

function take(bytes: Uint8Array): void {
  if (swallowed === 0) {
    line?.write(bytes);
    return;
  }
  received += bytes.length;
  for (; received >= swallowed; received -= swallowed) line?.write(Uint8Array.of(1));
}

line?.attach({ data: take, drain: () => undefined, close: () => process.exit(0) });
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ address: address.replace('serial:', '') })}\n`);
