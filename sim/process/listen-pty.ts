import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import * as pty from '@lydell/node-pty';
import type { ByteChannel, ByteChannelEvents } from '../../firmware-protocol/byte-channel.js';

/** The part of the library's pseudo-terminal that is used here; its types leave the two ends out. */
interface Terminal {
  readonly master: Socket;
  readonly slave: Socket;
  readonly ptsName: string;
}

/** `open` makes a terminal without a child process; it is there, and missing in the types. */
interface Library {
  open(options: { encoding: null }): Terminal;
}

/** Bytes go through as they are: no echo, no line editing, no special characters. */
function makeRaw(path: string): void {
  const { status } = spawnSync('stty', ['-F', path, 'raw', '-echo', '-echoe', '-echok', '-ixon', '-ixoff', 'min', '1', 'time', '0']);
  if (status !== 0) throw new Error(`stty could not make ${path} raw`);
}

/**
 * Opens a pseudo-terminal and serves a board on its master. The slave stays open here, so that the line outlives hosts that come and go, as a
 * cable outlives programs.
 */
export function listenPty(accept: (channel: ByteChannel) => void): { address: string; close(): void } {
  const terminal = (pty as unknown as Library).open({ encoding: null });
  // The library reads the slave, and what comes out of it is the host's: hold it open by a descriptor that nobody reads.
  const slave = openSync(terminal.ptsName, constants.O_RDWR | constants.O_NOCTTY);
  terminal.slave.destroy();
  makeRaw(terminal.ptsName);
  let events: ByteChannelEvents | undefined;
  terminal.master.on('error', () => events?.close('the pseudo-terminal failed'));
  terminal.master.on('data', (bytes) => events?.data(bytes));
  terminal.master.on('drain', () => events?.drain());
  accept({
    attach(user) {
      events = user;
    },
    write(bytes) {
      terminal.master.write(bytes);
    },
    get queuedBytes() {
      return terminal.master.writableLength;
    },
    close() {
      events = undefined;
    },
  });
  // The library's own destroy() would signal a child, which this terminal does not have, and with it every process there is.
  const close = () => {
    terminal.master.destroy();
    closeSync(slave);
  };
  return { address: `serial:${terminal.ptsName}`, close };
}
