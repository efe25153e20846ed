import Type, { type TObject, type TProperties } from 'typebox';
import { MacroError } from '../../proto/error.js';
import { arrayOperations, planOperation } from '../array/job.js';
import type { Operation } from '../array/operation.js';
import type { App } from './fastify.js';
import { answerJob } from './job-answer.js';
import type { ServiceParts } from './parts.js';
import { inferenceAccepted, longestWaitSeconds, operationAnswer, problems, strict } from './schemas.js';

/** Each operation is a collection that jobs are posted to. */
const collections: Readonly<Record<string, { readonly path: string; readonly summary: string }>> = {
  form: { path: '/v1/formings', summary: 'Form pristine cells' },
  read: { path: '/v1/reads', summary: 'Read cells' },
  program: { path: '/v1/programmings', summary: 'Program cells to target conductances' },
  'apply-mask': { path: '/v1/mask-applications', summary: 'Apply the mask of a bundle that was made on the chip' },
  'self-test': { path: '/v1/self-tests', summary: 'Check line, board and array without a pulse' },
  characterise: { path: '/v1/characterisations', summary: 'Take a curve of some cells: forming, RESET, SET, noise or endurance' },
  calibrate: { path: '/v1/calibrations', summary: 'Gain, offset, full scale and noise of every converter' },
  snapshot: { path: '/v1/snapshot-takings', summary: 'Read every cell under stated conditions and keep the snapshot' },
  'iv-sweep': { path: '/v1/iv-sweeps', summary: 'Step the voltage across one cell up and down and convert its current at each step' },
  train: { path: '/v1/trainings', summary: 'Search which synapses to keep, on the conductances that the chip has' },
  retention: { path: '/v1/retentions', summary: 'Read the same cells again at log-spaced times' },
};

const description =
  'With dryRun=true: 200 and what it would do (pulses, time, energy, wear after it, limits that it would break); the array is only read. Otherwise one ' +
  'job: 202 and its Location, or with wait=SECONDS the answer inline.';

const commonFields = {
  device: Type.Optional(Type.String({ maxLength: 64, description: 'id of a device; may be left out where there is one' })),
  dryRun: Type.Optional(Type.Boolean({ description: 'true: only say what it would do' })),
  wait: Type.Optional(Type.Number({ minimum: 0, maximum: longestWaitSeconds, description: 'seconds to wait for the answer' })),
};

interface CommonFields {
  readonly device?: string;
  readonly dryRun?: boolean;
  readonly wait?: number;
}

function addOperation(app: App, parts: ServiceParts, operation: Operation<unknown>): void {
  const { path, summary } = collections[operation.name];
  const body = strict({ ...(operation.schema as TObject<TProperties>).properties, ...commonFields });
  const schema = { tags: ['array'], summary, description, body, response: { 200: operationAnswer, 202: inferenceAccepted, ...problems } };
  app.post(path, { schema }, async (request, reply) => {
    const { device: wanted, dryRun = false, wait = 0, ...given } = (request.body ?? {}) as CommonFields & Record<string, unknown>;
    const parameters = operation.parametersOf(given);
    const device = parts.registry.choose(wanted);
    if (dryRun) {
      if (wait > 0) throw new MacroError('BAD_REQUEST', 'a dry run has no job to wait for', { field: 'wait' });
      return reply.code(200).send({ plan: await planOperation(operation, parts.registry.device(device), parameters, parts.arraySources) });
    }
    return answerJob(parts, parts.scheduler.submit(operation.name, device, parameters), wait, reply);
  });
}

/** `POST /v1/formings`, `/v1/reads`, …: one route for each of the collections. */
export function arrayRoutes(app: App, parts: ServiceParts): void {
  for (const operation of arrayOperations(parts.arraySources)) addOperation(app, parts, operation);
}
