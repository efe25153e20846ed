import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { readNpy } from '../network/npy.js';
import { snapshotDigest } from '../network/snapshot.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { problems, snapshotSchema } from './schemas.js';

/** `POST /v1/snapshots`: the map of codes that a bundle was made on, so that a mask can go back to what it recorded. */
export function snapshotRoutes(app: App, { objects }: ServiceParts): void {
  const schema = {
    tags: ['array'],
    summary: 'Store a map of cell codes',
    description: `A .npy file of unsigned 16-bit codes, ${bitLineCount} bit lines by ${sourceLineCount} source lines. The same map has the same id.`,
    consumes: ['application/octet-stream'],
    response: { 201: snapshotSchema, ...problems },
  };
  app.post('/v1/snapshots', { schema }, async (request, reply) => {
    if (!Buffer.isBuffer(request.body)) throw new MacroError('MEDIA_UNSUPPORTED', 'a snapshot is sent as application/octet-stream');
    const codes = readNpy(new Uint8Array(request.body), 'the snapshot', 'u2', [bitLineCount, sourceLineCount]);
    objects.put(new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength));
    return reply.code(201).send({ id: snapshotDigest(codes) });
  });
}
