import Type, { type Static } from 'typebox';
import { strict } from '../network/network.js';
import { type ChannelCalibration, channelSchema } from './channel.js';
import { measuredReferenceSchema } from './reference.js';

const nullable = <Schema extends Type.TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);

export const calibrationSchema = strict({
  chipId: Type.String(),
  job: Type.String(),
  /** ISO 8601. */
  takenAt: nullable(Type.String()),
  /** Why it was taken: a person asked for it, or a mask had been applied. */
  reason: Type.Union([Type.Literal('asked'), Type.Literal('mask')]),
  /** The array state that it holds for, hexadecimal. */
  arrayState: Type.String(),
  /** As people stated it, or else the board told it; null where nobody did. */
  temperatureCelsius: nullable(Type.Number()),
  /** absolute: read / true, by references; relative: against the median of all channels. */
  gain: Type.Union([Type.Literal('absolute'), Type.Literal('relative')]),
  references: Type.Array(measuredReferenceSchema),
  averages: Type.Integer(),
  user: nullable(Type.String()),
  channels: Type.Array(channelSchema),
});
/** A calibration as it is kept. */
export type CalibrationRecord = Static<typeof calibrationSchema>;

/** Why a calibration has to be repeated: another array state, another temperature, or gains that moved since the one before it. */
export const dueReasonSchema = Type.Union([Type.Literal('mask'), Type.Literal('temperature'), Type.Literal('gain')]);
export type DueReason = Static<typeof dueReasonSchema>;

/** From here on a difference counts (PRIME.md §7: gain moves the early stop before it moves accuracy). */
export const temperatureLimitCelsius = 5;
export const gainLimitFraction = 0.02;

/**
 * The largest relative change of a channel's gain from one calibration to the next. Where either is relative, relative gains are compared: of their common
 * scale nothing is known. null where no channel has both.
 */
export function gainChangeFraction(before: CalibrationRecord, now: CalibrationRecord): number | null {
  const kind = before.gain === 'absolute' && now.gain === 'absolute' ? 'gain' : 'relativeGain';
  const earlier = new Map<number, ChannelCalibration>(before.channels.map((channel) => [channel.channel, channel]));
  const changes = now.channels.flatMap((channel) => {
    const [then, value] = [earlier.get(channel.channel)?.[kind], channel[kind]];
    return typeof then !== 'number' || value === null ? [] : Math.abs(value / then - 1);
  });
  return changes.length === 0 ? null : Math.max(...changes);
}

/** What is the case now; null where it is not known. */
export interface PresentConditions {
  readonly arrayState: string | null;
  readonly temperatureCelsius: number | null;
}

/** Why a calibration has to be repeated. @param before the one before it, where there is one */
export function dueOf(record: CalibrationRecord, before: CalibrationRecord | undefined, now: PresentConditions): DueReason[] {
  const degrees = now.temperatureCelsius === null || record.temperatureCelsius === null ? 0 : Math.abs(now.temperatureCelsius - record.temperatureCelsius);
  const change = before === undefined ? null : gainChangeFraction(before, record);
  return [
    ...(now.arrayState !== null && now.arrayState !== record.arrayState ? (['mask'] as const) : []),
    ...(degrees >= temperatureLimitCelsius ? (['temperature'] as const) : []),
    ...(change !== null && change >= gainLimitFraction ? (['gain'] as const) : []),
  ];
}
