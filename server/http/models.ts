import type { Static } from 'typebox';
import Type from 'typebox';
import { MacroError } from '../../proto/error.js';
import { type Bundle, bundleFromFiles } from '../network/bundle.js';
import type { Staleness } from '../store/stale-snapshots.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { modelFileParameters, modelIdParameter, modelSchema, problems, strict } from './schemas.js';
import { uploadedFiles } from './uploads.js';

const partName = 'file';
const octets = 'application/octet-stream';
/** network.json, chip.json, and three arrays for each of eight layers. */
const uploadLimits = { files: 26, fileBytes: 4 * 2 ** 20 + 1, totalBytes: 64 * 2 ** 20 };

function viewOf({ digest, network, layers, chip }: Bundle, files: string[], stale: Staleness | null): Static<typeof modelSchema> {
  return {
    id: digest,
    name: network.name,
    timestepCount: network.timestepCount,
    layers: layers.map(({ name, mask }) => ({ name, weights: mask.length, kept: mask.reduce((sum, kept) => sum + kept, 0) })),
    earlyStop: network.earlyStop,
    chipId: chip?.chipId ?? null,
    files,
    stale,
  };
}

/** `/v1/models`: bundles, each under the digest of its files. */
export function modelRoutes(app: App, { models, staleSnapshots }: ServiceParts): void {
  const view = (bundle: Bundle) => {
    const stale = bundle.chip === undefined ? null : staleSnapshots.of(bundle.chip.snapshotDigest);
    return viewOf(bundle, [...models.files(bundle.digest).keys()], stale);
  };
  const upload = {
    tags: ['models'],
    summary: 'Store a bundle',
    description: 'A form with the files of a bundle in parts "file". The same files have the same id.',
    consumes: ['multipart/form-data'],
    response: { 201: modelSchema, ...problems },
  };
  app.post('/v1/models', { schema: upload }, async (request, reply) => {
    const files = await uploadedFiles(request, partName, uploadLimits);
    const byName = new Map(files.map(({ name, bytes }) => [name, bytes]));
    const bundle = bundleFromFiles(byName);
    models.add(bundle.digest, byName);
    return reply.code(201).header('location', `/v1/models/${bundle.digest}`).send(view(bundle));
  });

  const list = { tags: ['models'], summary: 'List bundles', response: { 200: strict({ models: Type.Array(modelSchema) }), ...problems } };
  app.get('/v1/models', { schema: list }, async () => ({ models: models.list().map((id) => view(models.read(id))) }));

  const one = { tags: ['models'], summary: 'One bundle', params: modelIdParameter, response: { 200: modelSchema, ...problems } };
  app.get('/v1/models/:id', { schema: one }, async (request) => view(models.read(request.params.id)));

  const fileContent = Type.Unknown({ description: 'bytes: JSON or .npy' });
  const file = {
    tags: ['models'], summary: 'One file of a bundle', params: modelFileParameters, produces: [octets], response: { 200: fileContent, ...problems },
  };
  app.get('/v1/models/:id/files/:file', { schema: file }, async ({ params: { id, file: name } }, reply) => {
    const bytes = models.files(id).get(name);
    if (bytes === undefined) throw new MacroError('MODEL_UNKNOWN', `bundle ${id} has no file "${name}"`, { field: 'file' });
    return reply.type(octets).send(Buffer.from(bytes));
  });
}
