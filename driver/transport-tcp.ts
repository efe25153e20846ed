import { connect } from 'node:net';
import type { ByteChannel, ByteChannelEvents } from '../firmware-protocol/byte-channel.js';

/** A host that does not answer at all is given up after this; the system itself would take minutes. */
const connectMilliseconds = 5_000;
/** An idle line is probed by the system after this, so that one end that vanished without a word is noticed. */
const probeMilliseconds = 10_000;

/** Opens a TCP connection as a byte channel. Rejects with the system's error where nobody listens. */
export function connectTcp(host: string, port: number): Promise<ByteChannel> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: probeMilliseconds });
    socket.setTimeout(connectMilliseconds, () => socket.destroy(new Error(`no answer within ${connectMilliseconds} ms`)));
    let events: ByteChannelEvents | undefined;
    let early: Uint8Array[] = [];
    /** Closed from this end: nothing else is told. */
    let isOurs = false;
    let reason = 'the other end closed the connection';
    socket.once('error', reject);
    socket.on('error', (error) => {
      reason = error.message;
    });
    socket.on('data', (bytes) => (events === undefined ? early.push(bytes) : events.data(bytes)));
    socket.on('drain', () => events?.drain());
    socket.on('close', () => {
      const user = events;
      events = undefined;
      user?.close(reason);
    });
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', reject);
      resolve({
        attach(user) {
          queueMicrotask(() => {
            if (isOurs) return;
            events = user;
            for (const bytes of early) user.data(bytes);
            early = [];
            if (socket.destroyed) user.close(reason);
          });
        },
        write(bytes) {
          if (!socket.destroyed) socket.write(bytes);
        },
        get queuedBytes() {
          return socket.writableLength;
        },
        close() {
          isOurs = true;
          events = undefined;
          socket.destroy();
        },
      });
    });
  });
}
