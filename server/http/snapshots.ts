import Type, { type Static } from 'typebox';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { readNpy } from '../network/npy.js';
import { snapshotDigest } from '../network/snapshot.js';
import { conductanceUnits, parseUnit } from '../snapshot/conductance-unit.js';
import { snapshotFormats, type SnapshotFormatName } from '../snapshot/format.js';
import { chipIdSchema } from '../snapshot/header.js';
import { importSnapshot, type ImportOptions } from '../snapshot/import.js';
import { asSnapshot } from '../snapshot/refusal.js';
import { snapshotEntrySchema } from './chips.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { problems, snapshotSchema, strict } from './schemas.js';

const bodyLimitBytes = 64 * 2 ** 20;

const importQuery = strict({
  name: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: 'name of the file; its ending says what it is: npz, h5, csv, npy, xlsx' })),
  chip: Type.Optional(chipIdSchema),
  unit: Type.Optional(Type.String({ description: `what the numbers of a bare map are in: ${conductanceUnits.join(', ')}` })),
  cellUnitNanosiemens: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1000, description: 'one step of a cell code (default 4)' })),
  formedMicrosiemens: Type.Optional(Type.Number({ minimum: 0, maximum: 262, description: 'a cell below it was never formed (default: only 0)' })),
  transposed: Type.Optional(Type.Boolean({ description: 'true: columns are reads or bit lines' })),
});

function optionsOf({ chip, unit, cellUnitNanosiemens, formedMicrosiemens, transposed }: Static<typeof importQuery>): ImportOptions {
  return {
    unit: parseUnit(unit),
    isTransposed: transposed ?? false,
    ...(chip !== undefined && { chip: { chipId: chip } }),
    ...(cellUnitNanosiemens !== undefined && { cellUnitNanosiemens }),
    ...(formedMicrosiemens !== undefined && { formedMicrosiemens }),
  };
}

/** `/v1/snapshots`: maps of chips, in every format that docs/snapshot.md describes. */
export function snapshotRoutes(app: App, { objects, chips, staleSnapshots }: ServiceParts): void {
  const upload = {
    tags: ['chips'],
    summary: 'Store a snapshot, or import a map of conductances',
    description: `${bitLineCount} bit lines by ${sourceLineCount} source lines; the same codes have the same id. Without name and chip: bare codes as .npy.`,
    consumes: ['application/octet-stream'],
    querystring: importQuery,
    response: { 201: snapshotSchema, ...problems },
  };
  app.post('/v1/snapshots', { schema: upload, bodyLimit: bodyLimitBytes }, async ({ body, query }, reply) => {
    if (!Buffer.isBuffer(body)) throw new MacroError('MEDIA_UNSUPPORTED', 'a snapshot is sent as application/octet-stream');
    const bytes = new Uint8Array(body);
    if (query.name === undefined && query.chip === undefined) {
      // Of nobody's chip: codes that only bundles ask for.
      const codes = asSnapshot(() => readNpy(bytes, 'the snapshot', 'u2', [bitLineCount, sourceLineCount]));
      objects.put(new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength));
      return reply.code(201).send({ id: snapshotDigest(codes) });
    }
    const snapshot = await importSnapshot(bytes, query.name ?? 'snapshot.npy', optionsOf(query));
    chips.add(snapshot);
    const { digest } = snapshot.provenance;
    return reply.code(201).header('location', `/v1/snapshots/${digest}`).send({ id: digest });
  });

  const entry = {
    tags: ['chips'], summary: 'What is known of a snapshot',
    description: 'With .npz, .h5 or .csv behind the digest: the snapshot itself.',
    params: strict({ digest: Type.String({ pattern: '^[0-9a-f]{64}$' }) }), response: { 200: snapshotEntrySchema, ...problems },
  };
  app.get('/v1/snapshots/:digest', { schema: entry }, async ({ params: { digest } }) => ({ ...chips.entry(digest), stale: staleSnapshots.of(digest) }));

  for (const [name, { mediaType, write }] of Object.entries(snapshotFormats) as [SnapshotFormatName, (typeof snapshotFormats)[SnapshotFormatName]][]) {
    const file = { tags: ['chips'], summary: `A snapshot as .${name}`, params: strict({ digest: Type.String({ pattern: '^[0-9a-f]{64}$' }) }) };
    app.get(`/v1/snapshots/:digest.${name}`, { schema: file }, async ({ params }, reply) => {
      const bytes = await write(chips.read((params as { digest: string }).digest));
      const { length } = bytes;
      return reply.type(mediaType).header('content-disposition', `attachment; filename="${(params as { digest: string }).digest.slice(0, 12)}.${name}"`)
        .header('content-length', length).send(Buffer.from(bytes.buffer, bytes.byteOffset, length));
    });
  }
}
