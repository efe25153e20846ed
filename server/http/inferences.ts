import type { FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { MacroError } from '../../proto/error.js';
import { labelOf } from '../dataset/nmnist.js';
import { maximumRecordingBytes } from '../dataset/recording.js';
import { type InferenceParameters, inferenceKind } from '../inference/job.js';
import { inferenceOptions } from '../inference/options.js';
import type { InferenceRow } from '../inference/result.js';
import { checkRecordings, maximumRecordings, packRecordings, type SentRecording } from '../dataset/recording-pack.js';
import type { Job } from '../job/state.js';
import type { Bundle } from '../network/bundle.js';
import type { App } from './fastify.js';
import { answerJob } from './job-answer.js';
import type { ServiceParts } from './parts.js';
import { inferenceAccepted, inferenceAnswer, inferenceQuery, problems } from './schemas.js';
import { uploadedFiles } from './uploads.js';

type Query = Static<typeof inferenceQuery>;

const partName = 'recording';
const bodyName = 'recording.bin';
/** All recordings of a request are in memory at once. */
const requestBytes = 512 * 2 ** 20;
const uploadLimits = { files: maximumRecordings, fileBytes: maximumRecordingBytes + 1, totalBytes: requestBytes };

/** One recording as the body, named and labelled by the query; or many as parts of a form, named and labelled by their file names. */
async function receive(request: FastifyRequest, query: Query): Promise<SentRecording[]> {
  if (Buffer.isBuffer(request.body)) {
    const input = query.input ?? bodyName;
    return [{ input, label: query.label ?? labelOf(input), bytes: new Uint8Array(request.body) }];
  }
  for (const field of ['input', 'label'] as const) {
    if (query[field] === undefined) continue;
    throw new MacroError('BAD_REQUEST', `${field} is for a recording that is the body; in a form the file name says it`, { field });
  }
  const files = await uploadedFiles(request, partName, uploadLimits);
  if (files.length === 0) throw new MacroError('BAD_REQUEST', `the form has no part "${partName}"`, { field: partName });
  return files.map(({ name, bytes }) => ({ input: name, label: labelOf(name), bytes }));
}

function submit(parts: ServiceParts, query: Query, bundle: Bundle, recordings: readonly SentRecording[]): Job {
  const { registry, scheduler, store, objects } = parts;
  const { split, execution, ...stop } = inferenceOptions(query, bundle.network);
  checkRecordings(recordings, bundle.network.timestepCount, split);
  const deviceId = registry.choose(query.device);
  const parameters: InferenceParameters = {
    model: bundle.digest,
    split,
    ...stop,
    execution,
    recordings: objects.put(packRecordings(recordings)),
    recordingCount: recordings.length,
    firstInferenceNumber: store.takeInferenceNumbers(recordings.length),
  };
  return scheduler.submit(inferenceKind, deviceId, parameters);
}

/** `POST /v1/inferences`: recordings in, a job or its answer out. */
export function inferenceRoutes(app: App, parts: ServiceParts): void {
  const schema = {
    tags: ['inference'],
    summary: 'Classify recordings',
    description:
      'The body is one recording (ATIS events of 40 bits, application/octet-stream) or a form of many (parts "recording"; the file name ' +
      'Test/7/60001.bin names and labels it). Creates one job: 202 and its Location, or with wait=SECONDS the answer inline.',
    consumes: ['application/octet-stream', 'multipart/form-data'],
    querystring: inferenceQuery,
    response: { 200: inferenceAnswer, 202: inferenceAccepted, ...problems },
  };
  app.post('/v1/inferences', { schema }, async (request, reply) => {
    const { query } = request;
    const bundle = parts.models.read(query.model);
    inferenceOptions(query, bundle.network);
    const recordings = await receive(request, query);
    const job = submit(parts, query, bundle, recordings);
    return answerJob<InferenceRow>(parts, job, query.wait ?? 0, reply);
  });
}
