import Type from 'typebox';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { problems, strict } from './schemas.js';

const readyDevice = strict({ id: Type.String(), ready: Type.Boolean(), detail: Type.Union([Type.String(), Type.Null()]) });
const readiness = strict({ ready: Type.Boolean(), devices: Type.Array(readyDevice) });

/** `/health/live`: the process answers. `/health/ready`: a no-op request has just reached every device. `/metrics`: for Prometheus. */
export function healthRoutes(app: App, { registry, metrics }: ServiceParts): void {
  app.get(
    '/health/live',
    { schema: { tags: ['operation'], summary: 'The process answers', response: { 200: strict({ live: Type.Boolean() }) } } },
    async () => ({ live: true }),
  );

  const schema = { tags: ['operation'], summary: 'A no-op request reached every device', response: { 200: readiness, 503: readiness } };
  app.get('/health/ready', { schema }, async (_request, reply) => {
    const devices = await registry.readiness();
    const ready = devices.length > 0 && devices.every((device) => device.ready);
    return reply.code(ready ? 200 : 503).send({ ready, devices });
  });

  const text = Type.String({ description: 'text format 0.0.4' });
  const figures = { tags: ['operation'], summary: 'Figures for Prometheus', response: { 200: text, ...problems } };
  app.get('/metrics', { schema: figures }, async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()));
}
