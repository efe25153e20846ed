// Chunks of objects have an encoder of their own: its bytes are those of the generated one.
import fc from 'fast-check';
import t from 'tap';
import { maximumBulkBytes } from '../firmware-protocol/limits.js';
import { deviceMessageCodec, hostMessageCodec } from '../proto/codec.js';
import { macro } from '../proto/generated/macro.js';

t.test('a chunk is encoded as the generated code does it', async () => {
  const chunk = fc.record({
    sha256: fc.uint8Array({ maxLength: 32 }),
    offsetBytes: fc.oneof(fc.constantFrom(0, 127, 128, 16_383, 16_384, 2 ** 21 - 1, 2 ** 21), fc.integer({ min: 0, max: maximumBulkBytes })),
    data: fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ minLength: 500, maxLength: 560 })),
  });
  fc.assert(
    fc.property(chunk, (bulkChunk) => {
      const host = Buffer.from(macro.v1.HostMessage.encode({ bulkChunk }).finish());
      const device = Buffer.from(macro.v1.DeviceMessage.encode({ bulkChunk }).finish());
      return host.equals(hostMessageCodec.encode({ bulkChunk })) && device.equals(deviceMessageCodec.encode({ bulkChunk }));
    }),
  );
});

t.test('a chunk that is too long for a message is refused', async (t) => {
  const bulkChunk = { sha256: new Uint8Array(8), offsetBytes: 1, data: new Uint8Array(620) };
  t.throws(() => hostMessageCodec.encode({ bulkChunk }), RangeError);
});
