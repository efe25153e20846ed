import { createHash, timingSafeEqual } from 'node:crypto';
import multipart from '@fastify/multipart';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import websocket from '@fastify/websocket';
import { MacroError } from '../proto/error.js';
import { arrayRoutes } from './http/array-operations.js';
import { calibrationRoutes } from './http/calibrations.js';
import { chipRoutes } from './http/chips.js';
import { datasetRoutes } from './http/datasets.js';
import { deviceRoutes } from './http/devices.js';
import { type App, createFastify } from './http/fastify.js';
import { healthRoutes } from './http/health.js';
import { inferenceRoutes } from './http/inferences.js';
import { jobRoutes } from './http/jobs.js';
import { modelRoutes } from './http/models.js';
import type { ServiceParts } from './http/parts.js';
import { asMacroError, problemMediaType, problemOf } from './http/problem.js';
import { snapshotRoutes } from './http/snapshots.js';
import { thresholdRoutes } from './http/thresholds.js';
import { wearRoutes } from './http/wear.js';
import { telemetryRoutes } from './telemetry/socket.js';
import { version } from './version.js';

const largestTelemetryMessageBytes = 4096;

export interface AppOptions {
  /** A level of pino, or `silent`. Logs go to stderr. */
  readonly logLevel: string;
}

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Every route but /health asks for the secret; compared by digest, so that neither length nor content shows in the time it takes. */
function guard(app: App, token: string): void {
  const expected = digest(`Bearer ${token}`);
  app.addHook('onRequest', async (request, reply) => {
    if (request.url.startsWith('/health/')) return;
    if (timingSafeEqual(digest(request.headers.authorization ?? ''), expected)) return;
    reply.header('www-authenticate', 'Bearer');
    throw new MacroError('TOKEN_REQUIRED', 'the request carries no valid token', { field: 'authorization' });
  });
}

/** A page from elsewhere that runs in a browser on this machine may not send commands to the bench. */
function refuseForeignPages(app: App): void {
  app.addHook('onRequest', async ({ headers }) => {
    const { origin, host } = headers;
    if (origin === undefined || origin === `http://${host}` || origin === `https://${host}`) return;
    throw new MacroError('BAD_REQUEST', 'a page of another origin may not use this service', { field: 'origin' });
  });
}

function answerErrors(app: App, { metrics }: ServiceParts): void {
  app.setErrorHandler((error, request, reply) => {
    const known = asMacroError(error);
    metrics.countErrorCode(known.code);
    if (known.httpStatus >= 500) request.log.error(known);
    return reply.code(known.httpStatus).type(problemMediaType).send(problemOf(known));
  });
  app.setNotFoundHandler((request) => {
    throw new MacroError('ROUTE_UNKNOWN', `there is no ${request.method} ${request.url.split('?')[0]}`);
  });
}

function measure(app: App, { metrics }: ServiceParts): void {
  app.addHook('onResponse', async (request, reply) => {
    metrics.observeRequest(request.method, request.routeOptions.url ?? 'unknown', reply.statusCode, reply.elapsedTime / 1000);
  });
}

async function describe(app: App): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'prime-hil', version: version(), description: 'Control service of a memristor bench' },
      tags: ['inference', 'array', 'chips', 'datasets', 'jobs', 'devices', 'models', 'operation'].map((name) => ({ name })),
    },
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
}

/** The HTTP interface of a service, ready to listen or to be called in process. */
export async function buildApp(parts: ServiceParts, options: AppOptions): Promise<App> {
  const app = createFastify(options.logLevel);
  answerErrors(app, parts);
  measure(app, parts);
  refuseForeignPages(app);
  const { token } = parts.configuration;
  if (token !== undefined) guard(app, token);
  await app.register(multipart);
  await app.register(websocket, { options: { maxPayload: largestTelemetryMessageBytes } });
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  await describe(app);
  await app.register(async (routes) => {
    const typed = routes as unknown as App;
    inferenceRoutes(typed, parts);
    jobRoutes(typed, parts);
    deviceRoutes(typed, parts);
    modelRoutes(typed, parts);
    arrayRoutes(typed, parts);
    wearRoutes(typed, parts);
    chipRoutes(typed, parts);
    datasetRoutes(typed, parts);
    calibrationRoutes(typed, parts);
    thresholdRoutes(typed, parts);
    snapshotRoutes(typed, parts);
    healthRoutes(typed, parts);
    telemetryRoutes(typed, parts);
  });
  await app.ready();
  return app;
}
