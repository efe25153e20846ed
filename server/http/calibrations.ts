import Type from 'typebox';
import { calibrationSchema, dueOf, dueReasonSchema } from '../calibration/record.js';
import { chipIdSchema, conditionsSchema } from '../snapshot/header.js';
import type { App } from './fastify.js';
import type { ServiceParts } from './parts.js';
import { problems, strict } from './schemas.js';

const due = Type.Array(dueReasonSchema, {
  description: 'why it has to be repeated: the array has changed, the temperature by 5 degC, or the gain of a channel by 2 % since the one before',
});
const entrySchema = strict({ ...calibrationSchema.properties, due });
export type CalibrationEntry = Type.Static<typeof entrySchema>;

const answerSchema = strict({
  arrayState: Type.Union([Type.String(), Type.Null()], { description: 'of the chip now; null where no device that holds it answers' }),
  temperatureCelsius: Type.Union([Type.Number(), Type.Null()], { description: 'as asked about, as the board tells it now, or else as it was last stated' }),
  calibrations: Type.Array(entrySchema),
});
export type CalibrationList = Type.Static<typeof answerSchema>;

/** `GET /v1/chips/:id/calibrations`: every calibration of a chip, and which ones still hold. */
export function calibrationRoutes(app: App, { chips, calibrations, registry }: ServiceParts): void {
  const schema = {
    tags: ['chips'], summary: 'Calibrations of a chip, the newest first, each with the reasons why it has to be repeated',
    params: strict({ id: chipIdSchema }), querystring: strict({ temperatureCelsius: conditionsSchema.properties.temperatureCelsius }),
    response: { 200: answerSchema, ...problems },
  };
  app.get('/v1/chips/:id/calibrations', { schema }, async ({ params: { id }, query }) => {
    chips.passport(id);
    const records = calibrations.list(id);
    const lastStated = records.find(({ temperatureCelsius }) => temperatureCelsius !== null)?.temperatureCelsius ?? null;
    const { arrayState = null, temperatureCelsius: told = null } = (await registry.statusOf(id)) ?? {};
    const now = { arrayState, temperatureCelsius: query.temperatureCelsius ?? told ?? lastStated };
    return { ...now, calibrations: records.map((record, index) => ({ ...record, due: dueOf(record, records[index + 1], now) })) };
  });
}
