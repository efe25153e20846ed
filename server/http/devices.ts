import type { Static } from 'typebox';
import Type from 'typebox';
import type { DeviceView, Registry } from '../device/registry.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { deviceIdParameter, deviceSchema, problems, strict } from './schemas.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function viewOf({ id, address, state, reason, identity, temperatureCelsius }: DeviceView): Static<typeof deviceSchema> {
  return {
    id,
    address,
    state,
    reason,
    chipId: identity?.chipId ?? null,
    profile: identity?.profile ?? null,
    firmwareVersion: identity?.firmwareVersion ?? null,
    bootId: identity ? hex(identity.bootId) : null,
    bootCount: identity?.bootCount ?? null,
    temperatureCelsius: temperatureCelsius ?? null,
    capabilities: identity ? [...identity.capabilities] : [],
  };
}

/** All devices as clients see them. */
export const deviceViews = (registry: Registry): Static<typeof deviceSchema>[] => registry.views().map(viewOf);

/** `/v1/devices`: what the service owns, and whether it answers. */
export function deviceRoutes(app: App, { registry }: ServiceParts): void {
  const devicesSchema = strict({ devices: Type.Array(deviceSchema) });
  const list = { tags: ['devices'], summary: 'List devices', response: { 200: devicesSchema, ...problems } };
  app.get('/v1/devices', { schema: list }, async () => ({ devices: deviceViews(registry) }));

  const one = { tags: ['devices'], summary: 'One device', params: deviceIdParameter, response: { 200: deviceSchema, ...problems } };
  app.get('/v1/devices/:id', { schema: one }, async ({ params }) => viewOf(registry.view(params.id)));
}
