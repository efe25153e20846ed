import { createServer, type Socket } from 'node:net';
import type { ByteChannel, ByteChannelEvents } from '../../firmware-protocol/byte-channel.js';

function socketChannel(socket: Socket): ByteChannel {
  let events: ByteChannelEvents | undefined;
  socket.setNoDelay(true);
  socket.on('data', (bytes) => events?.data(bytes));
  socket.on('drain', () => events?.drain());
  socket.on('error', () => undefined); // 'close' follows and says it
  socket.on('close', () => events?.close('the host closed the connection'));
  return {
    attach(user) {
      events = user;
    },
    write(bytes) {
      if (!socket.destroyed) socket.write(bytes);
    },
    get queuedBytes() {
      return socket.writableLength;
    },
    close() {
      events = undefined;
      socket.destroy();
    },
  };
}

/** Listens for hosts; each new one takes the board over. Resolves with the address that was bound. */
export function listenTcp(host: string, port: number, accept: (channel: ByteChannel) => void): Promise<{ address: string; close(): void }> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => accept(socketChannel(socket)));
    server.once('error', reject);
    server.listen(port, host, () => {
      const bound = server.address();
      const number = typeof bound === 'object' && bound !== null ? bound.port : port;
      const name = host.includes(':') ? `[${host}]` : host;
      resolve({ address: `tcp://${name}:${number}`, close: () => server.close() });
    });
  });
}
