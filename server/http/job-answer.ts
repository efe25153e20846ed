import type { FastifyReply } from 'fastify';
import type { Job } from '../job/state.js';
import { jobEnd } from './job-watch.js';
import { viewOf } from './jobs.js';
import type { ServiceParts } from './parts.js';
import { errorOf, problemMediaType, problemOf } from './problem.js';

/** The answer inline where a job ended in time, otherwise where to look for it. */
export async function answerJob<Row>(parts: ServiceParts, submitted: Job, waitSeconds: number, reply: FastifyReply) {
  const { bus, store } = parts;
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  const job = waitSeconds > 0 ? await jobEnd(bus, store, submitted.id, waitSeconds, gone.signal) : submitted;
  reply.header('location', `/v1/jobs/${job.id}`);
  if (job.failure !== null) {
    const failure = errorOf(job.failure, 500);
    return reply.code(failure.httpStatus).type(problemMediaType).send(problemOf(failure, job.id));
  }
  if (job.state !== 'SUCCEEDED') return reply.code(202).send({ job: viewOf(job, parts) });
  const results = [...store.results(job.id)] as Row[];
  return reply.code(200).send({ job: viewOf(job, parts), results, summary: job.summary });
}
