import Type, { type TSchema } from 'typebox';
import { splits } from '../dataset/frames.js';
import { policySchema, ruleSchema } from '../early-stop/policy.js';
import { executions } from '../inference/options.js';
import { jobStates } from '../job/state.js';
import { problemSchema } from './problem.js';

/** Schemas of what the API takes and gives. Unknown fields are refused: a typing error must never be read as a default. */
export const strict = <Fields extends Record<string, TSchema>>(fields: Fields) => Type.Object(fields, { additionalProperties: false });
const oneOf = <Choice extends string>(choices: readonly Choice[], description: string) =>
  Type.Union(choices.map((choice) => Type.Literal(choice)), { description });
export const nullable = <Schema extends TSchema>(schema: Schema, description?: string) =>
  Type.Union([schema, Type.Null()], description === undefined ? {} : { description });

export const longestWaitSeconds = 600;

export const jobIdParameter = strict({ id: Type.String({ maxLength: 64 }) });
export const modelIdParameter = strict({ id: Type.String({ maxLength: 128 }) });
export const modelFileParameters = strict({ id: Type.String({ maxLength: 128 }), file: Type.String({ maxLength: 64 }) });
export const deviceIdParameter = strict({ id: Type.String({ maxLength: 64 }) });

export const inferenceQuery = strict({
  model: Type.String({ minLength: 1, maxLength: 128, description: 'id of a model' }),
  device: Type.Optional(Type.String({ maxLength: 64, description: 'id of a device; may be left out where there is one' })),
  split: Type.Optional(oneOf(splits, 'how events are shared out over timesteps (default number)')),
  rule: Type.Optional(ruleSchema),
  threshold: Type.Optional(Type.String({
    maxLength: 2048, description: "confidence to stop at, or one a timestep with commas (default: stored for chip and model, otherwise the model's)",
  })),
  earlyStop: Type.Optional(Type.Boolean({ description: 'false: run all timesteps' })),
  timesteps: Type.Optional(Type.Boolean({ description: 'true: each result tells the outputs of each timestep' })),
  audit: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'part of the recordings to run to the last timestep all the same' })),
  execution: Type.Optional(oneOf(executions, 'who steps the neurons (default auto)')),
  wait: Type.Optional(Type.Number({ minimum: 0, maximum: longestWaitSeconds, description: 'seconds to wait for the answer' })),
  input: Type.Optional(Type.String({ minLength: 1, maxLength: 512, description: 'name of the recording in the body' })),
  label: Type.Optional(Type.Integer({ minimum: 0, maximum: 9999, description: 'label of the recording in the body' })),
});

const failureSchema = strict({ code: Type.String(), detail: Type.String(), outcome: Type.String(), field: Type.Optional(Type.String()) });

const layerSchema = strict({ name: Type.String(), conversions: Type.Integer(), saturations: Type.Integer(), spikes: Type.Integer() });

export const rowSchema = strict({
  input: Type.String(),
  label: nullable(Type.Integer()),
  prediction: Type.Integer(),
  stoppedAtTimestep: Type.Integer({ description: 'counts from 1' }),
  confidence: Type.Number(),
  outputMean: Type.Array(Type.Number(), { description: 'time mean of the output membranes, network units' }),
  clippedEvents: Type.Integer({ description: 'events beyond the largest count of a pixel' }),
  layers: Type.Array(layerSchema),
  operationNanoseconds: Type.Number(),
  energyFemtojoules: Type.Number(),
  warnings: Type.Array(Type.String()),
  timesteps: Type.Optional(Type.Array(strict({ membranes: Type.Array(Type.Integer()), conversions: Type.Integer() }))),
  predictionAtEnd: Type.Optional(Type.Integer({ description: 'of a recording that was audited: the answer after its last timestep' })),
});

export const jobSchema = strict({
  id: Type.String(),
  kind: Type.String(),
  device: Type.String(),
  state: Type.String(),
  createdAt: Type.String(),
  startedAt: nullable(Type.String()),
  endedAt: nullable(Type.String()),
  parameters: Type.Unknown(),
  progress: nullable(strict({ done: Type.Integer(), total: Type.Integer() })),
  summary: Type.Unknown(),
  failure: nullable(failureSchema, 'why it is FAILED; of one that is INTERRUPTED, how its device went away, or null where the service did'),
});

export const inferenceAnswer = strict({ job: jobSchema, results: Type.Array(rowSchema), summary: Type.Unknown() });
export const inferenceAccepted = strict({ job: jobSchema });

const pulsesSchema = strict({ forming: Type.Integer(), set: Type.Integer(), reset: Type.Integer() });
const histogramSchema = Type.Array(strict({ pulses: Type.Integer(), cells: Type.Integer() }));

/** A plan after a dry run; otherwise the job with its rows and its summary. */
export const operationAnswer = strict({
  plan: Type.Optional(Type.Unknown()),
  job: Type.Optional(jobSchema),
  results: Type.Optional(Type.Array(Type.Unknown())),
  summary: Type.Optional(Type.Unknown()),
});

export const wearQuery = strict({
  cells: Type.Optional(Type.Boolean({ description: 'true: one count a cell, and one time a bit line and voltage, as well' })),
});

export const drivenAtSchema = strict({
  fromMillivolts: Type.Integer(),
  toMillivolts: nullable(Type.Integer(), 'not included; null: everything above'),
  drivenMilliseconds: Type.Number({ description: 'all bit lines together' }),
  longest: strict({ bitLine: Type.Integer(), drivenMilliseconds: Type.Number() }),
  bitLines: Type.Optional(Type.Array(Type.Number(), { description: 'milliseconds of each bit line' })),
});

export const wearSchema = strict({
  chipId: Type.String(),
  pulses: pulsesSchema,
  histogram: strict({ forming: histogramSchema, set: histogramSchema, reset: histogramSchema }),
  worstCells: Type.Array(strict({
    bitLine: Type.Integer(), sourceLine: Type.Integer(), forming: Type.Integer(), set: Type.Integer(), reset: Type.Integer(),
  })),
  drivenMilliseconds: Type.Array(Type.Number(), { description: 'how long each bit line was driven, at whatever voltage' }),
  drivenByVoltage: Type.Array(drivenAtSchema, { description: 'only voltages at which some bit line was driven' }),
  jobs: Type.Array(strict({ job: Type.String(), user: nullable(Type.String()), pulses: pulsesSchema, drivenMilliseconds: Type.Number() })),
  users: Type.Array(strict({ user: nullable(Type.String()), pulses: pulsesSchema })),
  unattributed: strict({ pulses: pulsesSchema, drivenMilliseconds: Type.Number() }),
  cells: Type.Optional(strict({ forming: Type.String(), set: Type.String(), reset: Type.String() })),
});

export const snapshotSchema = strict({ id: Type.String({ description: 'SHA-256 of the codes' }) });
export const jobObjectParameters = strict({ id: Type.String({ maxLength: 64 }), name: Type.String({ maxLength: 64 }) });

export const jobsQuery = strict({
  state: Type.Optional(oneOf(jobStates, 'only jobs in this state')),
  device: Type.Optional(Type.String({ maxLength: 64, description: 'only jobs of this device' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'at most so many (default 50)' })),
  before: Type.Optional(Type.String({ maxLength: 64, description: 'id of the last job of the page before' })),
});

export const resultsQuery = strict({
  from: Type.Optional(Type.Integer({ minimum: 0, description: 'number of the first row' })),
  follow: Type.Optional(Type.Boolean({ description: 'true: rows as they come, until the job has ended' })),
});

export const deviceSchema = strict({
  id: Type.String(),
  address: Type.String(),
  state: Type.String(),
  reason: Type.String({ description: 'why it is in this state' }),
  chipId: nullable(Type.String()),
  profile: nullable(Type.String({ description: 'of a simulator' })),
  firmwareVersion: nullable(Type.String()),
  bootId: nullable(Type.String({ description: 'new at each start of the controller' })),
  bootCount: nullable(Type.Integer()),
  temperatureCelsius: nullable(Type.Number({ description: 'of the chip, as its board has last told it; null where it measures none' })),
  capabilities: Type.Array(Type.String()),
});

/** Why a map of a chip, and the bundles on it, are no longer true of the chip. */
export const stalenessSchema = strict({
  job: Type.String({ description: 'the job that gave pairs new conductances' }),
  since: Type.String(),
  changedPairs: Type.Integer(),
});

export const modelSchema = strict({
  id: Type.String({ description: 'SHA-256 of the bundle' }),
  name: Type.String(),
  timestepCount: Type.Integer(),
  layers: Type.Array(strict({ name: Type.String(), weights: Type.Integer(), kept: Type.Integer() })),
  earlyStop: policySchema,
  chipId: nullable(Type.String({ description: 'chip that the bundle was made on' })),
  files: Type.Array(Type.String()),
  stale: nullable(stalenessSchema),
});

export const telemetryQuery = strict({
  topics: Type.Optional(Type.String({ maxLength: 256, description: 'comma-separated; all where left out' })),
  job: Type.Optional(Type.String({ maxLength: 64, description: 'only events of this job' })),
});

const problemContent = { content: { 'application/problem+json': { schema: problemSchema } } };

/** Answers that every route may give. */
export const problems = { '4xx': { description: 'Refused', ...problemContent }, '5xx': { description: 'Failed', ...problemContent } };
