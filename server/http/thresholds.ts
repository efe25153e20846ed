import Type from 'typebox';
import { maximumTimestepCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { checkThreshold, ruleSchema } from '../early-stop/policy.js';
import { textUpTo } from '../network/network.js';
import { chipIdSchema } from '../snapshot/header.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { problems, strict } from './schemas.js';

const one = Type.Number({ exclusiveMinimum: 0 });
const threshold = Type.Union([one, Type.Array(one, { minItems: 1, maxItems: maximumTimestepCount })], {
  description: 'confidence to stop at, or one for each timestep; above 0 and below 1, of a margin below 255',
});
const bodySchema = strict({
  model: Type.String({ minLength: 1, maxLength: 128, description: 'id of the model whose mask it is for' }),
  rule: Type.Optional(ruleSchema),
  threshold,
  source: Type.Optional(textUpTo(256)),
});
const thresholdSchema = strict({
  chipId: Type.String(), model: Type.String(), arrayState: Type.String({ description: 'that it was stored for' }), rule: ruleSchema, threshold,
  storedAt: Type.String(), source: Type.Union([Type.String(), Type.Null()]),
  isCurrent: Type.Boolean({ description: 'the array is still in that state: runs without a threshold of their own use it' }),
});
export type ThresholdEntry = Type.Static<typeof thresholdSchema>;

/** `/v1/chips/:id/thresholds`: confidences to stop at, each for one mask on one chip as it was then. */
export function thresholdRoutes(app: App, { chips, thresholds, models, registry }: ServiceParts): void {
  const params = strict({ id: chipIdSchema });
  const put = {
    tags: ['chips'], summary: 'Store an early-stop threshold for a chip and a bundle',
    description: 'It belongs to the array as it is now, so that a device that holds the chip must answer. Earlier ones are kept.',
    params, body: bodySchema, response: { 200: thresholdSchema, ...problems },
  };
  app.put('/v1/chips/:id/thresholds', { schema: put }, async ({ params: { id: chipId }, body }) => {
    const { chip, network } = models.read(body.model);
    const { rule: stopRule = network.earlyStop.rule } = body;
    checkThreshold(stopRule, body.threshold, network.timestepCount);
    if (chip !== undefined && chip.chipId !== chipId) {
      throw new MacroError('BUNDLE_CHIP_MISMATCH', `the bundle was made on ${chip.chipId}, the threshold is for ${chipId}`, { field: 'model' });
    }
    const arrayState = (await registry.statusOf(chipId))?.arrayState;
    if (arrayState === undefined) throw new MacroError('DEVICE_UNREACHABLE', `no device that holds chip ${chipId} answers`, { field: 'id' });
    chips.meet(chipId);
    const { model, threshold: kept, source = null } = body;
    const stored = { chipId, model, arrayState, rule: stopRule, threshold: kept, storedAt: new Date().toISOString(), source };
    thresholds.add(stored);
    return { ...stored, isCurrent: true };
  });

  const list = {
    tags: ['chips'], summary: 'Early-stop thresholds of a chip, the newest first', params,
    response: { 200: strict({ thresholds: Type.Array(thresholdSchema) }), ...problems },
  };
  app.get('/v1/chips/:id/thresholds', { schema: list }, async ({ params: { id: chipId } }) => {
    chips.passport(chipId);
    const now = (await registry.statusOf(chipId))?.arrayState;
    const stored = thresholds.list(chipId);
    // Of two for the same mask and array state only the newer one is used.
    const inForce = new Map(stored.filter(({ arrayState }) => arrayState === now).reverse().map((entry) => [entry.model, entry]));
    return { thresholds: stored.map((entry) => ({ ...entry, isCurrent: inForce.get(entry.model) === entry })) };
  });
}
