import Type from 'typebox';
import { MacroError } from '../../proto/error.js';
import { chipIdSchema, headerSchema, passportSchema } from '../snapshot/header.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { nullable, problems, stalenessSchema, strict } from './schemas.js';

export const snapshotEntrySchema = strict({
  ...headerSchema.properties,
  keptReads: Type.Integer({ description: 'single reads that are kept' }),
  stale: nullable(stalenessSchema),
});
const chipIdParameter = strict({ id: chipIdSchema });

/** `/v1/chips`: what is known of each chip, and its snapshots. */
export function chipRoutes(app: App, { chips, staleSnapshots }: ServiceParts): void {
  const list = { tags: ['chips'], summary: 'List chips', response: { 200: strict({ chips: Type.Array(passportSchema) }), ...problems } };
  app.get('/v1/chips', { schema: list }, async () => ({ chips: chips.list() }));

  const one = { tags: ['chips'], summary: 'The passport of a chip', params: chipIdParameter, response: { 200: passportSchema, ...problems } };
  app.get('/v1/chips/:id', { schema: one }, async ({ params }) => chips.passport(params.id));

  const put = {
    tags: ['chips'], summary: 'Write the passport of a chip', description: 'Replaces all of it.',
    params: chipIdParameter, body: passportSchema, response: { 200: passportSchema, ...problems },
  };
  app.put('/v1/chips/:id', { schema: put }, async ({ params, body }) => {
    if (body.chipId !== params.id) throw new MacroError('BAD_REQUEST', `chipId is ${body.chipId}, the address says ${params.id}`, { field: 'chipId' });
    chips.setPassport(body);
    return chips.passport(params.id);
  });

  const snapshots = {
    tags: ['chips'], summary: 'Snapshots of a chip, the newest first',
    params: chipIdParameter, response: { 200: strict({ snapshots: Type.Array(snapshotEntrySchema) }), ...problems },
  };
  app.get('/v1/chips/:id/snapshots', { schema: snapshots }, async ({ params }) => ({
    snapshots: chips.snapshots(params.id).map((entry) => ({ ...entry, stale: staleSnapshots.of(entry.provenance.digest) })),
  }));
}
