import Type from 'typebox';
import { labelOf } from '../dataset/nmnist.js';
import { maximumRecordingBytes, parseRecording } from '../dataset/recording.js';
import { maximumRecordings } from '../dataset/recording-pack.js';
import { MacroError } from '../../proto/error.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { problems, strict } from './schemas.js';
import { uploadedFiles } from './uploads.js';

const partName = 'recording';
const uploadLimits = { files: maximumRecordings, fileBytes: maximumRecordingBytes + 1, totalBytes: 512 * 2 ** 20 };

const datasetSchema = strict({
  id: Type.String({ description: 'SHA-256 of the recordings with their names and labels' }),
  recordings: Type.Integer(),
  labelled: Type.Integer({ description: 'recordings whose class is known' }),
});
const idParameter = strict({ id: Type.String({ pattern: '^[0-9a-f]{64}$' }) });

/** `/v1/datasets`: recordings that jobs name as a whole. */
export function datasetRoutes(app: App, { datasets }: ServiceParts): void {
  const upload = {
    tags: ['datasets'],
    summary: 'Store recordings as a dataset',
    description: 'A form of parts "recording"; the file name Test/7/60001.bin names and labels each. The same recordings have the same id.',
    consumes: ['multipart/form-data'],
    response: { 201: datasetSchema, ...problems },
  };
  app.post('/v1/datasets', { schema: upload }, async (request, reply) => {
    const files = await uploadedFiles(request, partName, uploadLimits);
    if (files.length === 0) throw new MacroError('BAD_REQUEST', `the form has no part "${partName}"`, { field: partName });
    const recordings = files.map(({ name, bytes }) => ({ input: name, label: labelOf(name), bytes }));
    for (const { input, label, bytes } of recordings) parseRecording(bytes, input, label);
    const entry = datasets.add(recordings);
    return reply.code(201).header('location', `/v1/datasets/${entry.id}`).send(entry);
  });

  const list = {
    tags: ['datasets'], summary: 'List datasets, the newest first', response: { 200: strict({ datasets: Type.Array(datasetSchema) }), ...problems },
  };
  app.get('/v1/datasets', { schema: list }, async () => ({ datasets: datasets.list() }));

  const one = { tags: ['datasets'], summary: 'One dataset', params: idParameter, response: { 200: datasetSchema, ...problems } };
  app.get('/v1/datasets/:id', { schema: one }, async ({ params }) => datasets.entry(params.id));
}
