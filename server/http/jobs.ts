import { Readable } from 'node:stream';
import type { Static } from 'typebox';
import Type from 'typebox';
import { MacroError } from '../../proto/error.js';
import type { Job } from '../job/state.js';
import type { App } from './fastify.js';
import { followedRows, JobWatch } from './job-watch.js';
import type { ServiceParts } from './parts.js';
import { jobIdParameter, jobObjectParameters, jobSchema, jobsQuery, problems, resultsQuery, strict } from './schemas.js';

const octets = 'application/octet-stream';
const ndjson = 'application/x-ndjson';
const timeOf = (milliseconds: number | null) => (milliseconds === null ? null : new Date(milliseconds).toISOString());

/** A job as clients see it. */
export function viewOf(job: Job, { progress }: Pick<ServiceParts, 'progress'>): Static<typeof jobSchema> {
  const { id, kind, device, state, parameters, summary, failure } = job;
  return {
    id,
    kind,
    device,
    state,
    createdAt: timeOf(job.submittedAtMilliseconds) ?? '',
    startedAt: timeOf(job.startedAtMilliseconds),
    endedAt: timeOf(job.endedAtMilliseconds),
    parameters,
    progress: progress.of(id),
    summary,
    failure,
  };
}

function* lines(rows: Iterable<unknown>): Generator<string> {
  for (const row of rows) yield `${JSON.stringify(row)}\n`;
}

/** `/v1/jobs`: what was asked for, what became of it, its rows, and how to stop it. */
export function jobRoutes(app: App, parts: ServiceParts): void {
  const { store, scheduler, bus, objects } = parts;
  const jobsSchema = strict({ jobs: Type.Array(jobSchema) });
  const list = { tags: ['jobs'], summary: 'List jobs, newest first', querystring: jobsQuery, response: { 200: jobsSchema, ...problems } };
  app.get('/v1/jobs', { schema: list }, async ({ query }) => ({ jobs: store.list(query).map((job) => viewOf(job, parts)) }));

  const one = { tags: ['jobs'], summary: 'One job', params: jobIdParameter, response: { 200: jobSchema, ...problems } };
  app.get('/v1/jobs/:id', { schema: one }, async ({ params }) => viewOf(store.get(params.id), parts));

  const stop = { ...one, summary: 'Stop a job at its next safe point' };
  app.post('/v1/jobs/:id/stop', { schema: stop }, async ({ params }) => viewOf(scheduler.stop(params.id), parts));

  const results = {
    tags: ['jobs'],
    summary: 'Rows of a job, one JSON object a line',
    description: 'With follow=true rows come as they are made, until the job has ended; empty lines keep a quiet connection open.',
    params: jobIdParameter,
    querystring: resultsQuery,
    produces: [ndjson],
    response: { 200: Type.Unknown({ description: 'rows' }), ...problems },
  };
  app.get('/v1/jobs/:id/results', { schema: results }, async ({ params: { id }, query: { from = 0, follow = false } }, reply) => {
    store.get(id);
    reply.type(ndjson);
    if (!follow) return reply.send(Readable.from(lines(store.results(id, from))));
    const watch = new JobWatch(bus, id);
    const stream = Readable.from(followedRows(store, watch, id, from));
    stream.once('close', () => watch.close());
    return reply.send(stream);
  });

  const object = {
    tags: ['jobs'],
    summary: 'An object that a job has left, such as its map of outcomes',
    params: jobObjectParameters,
    produces: [octets],
    response: { 200: Type.Unknown({ description: 'bytes, mostly .npy' }), ...problems },
  };
  app.get('/v1/jobs/:id/objects/:name', { schema: object }, async ({ params: { id, name } }, reply) => {
    const { objects: kept = {} } = (store.get(id).summary ?? {}) as { objects?: Record<string, string> };
    const names = Object.keys(kept);
    if (!names.includes(name)) {
      throw new MacroError('JOB_UNKNOWN', `job ${id} has no object "${name}"; it has ${names.join(', ') || 'none'}`, { field: 'name' });
    }
    return reply.type(octets).send(Buffer.from(objects.get(kept[name])));
  });
}
