import type { FastifyError } from 'fastify';
import Type, { type Static } from 'typebox';
import { type ErrorCode, isErrorCode, MacroError } from '../../proto/error.js';
import type { Outcome } from '../../proto/outcome.js';

export const problemMediaType = 'application/problem+json';

/** Problem details of RFC 9457, with what this service always adds. */
export const problemSchema = Type.Object(
  {
    type: Type.String({ description: 'urn:prime-hil:error: and the code' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'a code of docs/errors.md' }),
    detail: Type.String(),
    outcome: Type.Union([Type.Literal('not-applied'), Type.Literal('applied'), Type.Literal('unknown')]),
    remedy: Type.String(),
    field: Type.Optional(Type.String({ description: 'the field of the input that is wrong' })),
    job: Type.Optional(Type.String({ description: 'the job that was not done' })),
  },
  { additionalProperties: false },
);
export type Problem = Static<typeof problemSchema>;

/** The code in words: BAD_THRESHOLD is "Bad threshold". */
const titleOf = (code: ErrorCode) => code.charAt(0) + code.slice(1).toLowerCase().replaceAll('_', ' ');

export function problemOf(error: MacroError, job?: string): Problem {
  return {
    type: `urn:prime-hil:error:${error.code}`,
    title: titleOf(error.code),
    status: error.httpStatus,
    code: error.code,
    detail: error.detail,
    outcome: error.outcome,
    remedy: error.remedy,
    ...(error.field !== undefined && { field: error.field }),
    ...(job !== undefined && { job }),
  };
}

/** The error that a problem tells of; an answer of something else than this service is INTERNAL_ERROR. */
export function errorOf(problem: unknown, status: number): MacroError {
  const { code, detail, outcome, field } = (typeof problem === 'object' && problem !== null ? problem : {}) as Partial<Problem>;
  if (typeof code !== 'string' || !isErrorCode(code)) return new MacroError('INTERNAL_ERROR', `the service answered with status ${status}`);
  return new MacroError(code, detail ?? '', { ...(outcome && { outcome: outcome as Outcome }), ...(field !== undefined && { field }) });
}

interface SchemaError {
  readonly instancePath?: string;
  readonly keyword?: string;
  readonly message?: string;
  readonly params?: { readonly requiredProperties?: readonly string[]; readonly allowedValue?: unknown };
}

/** What a schema says that a field must be: its choices, or its type and range. */
function demandOf(errors: readonly SchemaError[]): string {
  const choices = errors.flatMap(({ keyword, params }) => (keyword === 'const' ? [String(params?.allowedValue)] : []));
  return choices.length > 0 ? `must be one of ${choices.join(', ')}` : (errors[0]?.message ?? 'is wrong');
}

/** Names the field that a schema refused and the range that it has. */
function fromValidation(errors: readonly SchemaError[], context: string): MacroError {
  const [error = {}] = errors;
  const at = (error.instancePath ?? '').slice(1).replaceAll('/', '.');
  const missing = error.keyword === 'required' ? error.params?.requiredProperties?.[0] : undefined;
  if (missing !== undefined) return new MacroError('BAD_REQUEST', `${context}: ${missing} is missing`, { field: missing });
  // Fields that no schema knows are refused by a schema that is false.
  if (error.keyword === 'boolean') return new MacroError('BAD_REQUEST', `${context}: there is no field "${at}"`, { field: at });
  const demand = demandOf(errors.filter(({ instancePath }) => instancePath === error.instancePath));
  return new MacroError(at === 'threshold' ? 'BAD_THRESHOLD' : 'BAD_REQUEST', `${context}: ${at} ${demand}`, { field: at });
}

/** What Fastify and its plugins throw by themselves, as codes of ours. */
const frameworkCodes: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'REQUEST_TOO_LARGE',
  FST_REQ_FILE_TOO_LARGE: 'REQUEST_TOO_LARGE',
  FST_PARTS_LIMIT: 'REQUEST_TOO_LARGE',
  FST_FILES_LIMIT: 'REQUEST_TOO_LARGE',
  FST_FIELDS_LIMIT: 'REQUEST_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'MEDIA_UNSUPPORTED',
  FST_INVALID_MULTIPART_CONTENT_TYPE: 'MEDIA_UNSUPPORTED',
};

/** Anything that a route or the framework throws, as an error of the table. */
export function asMacroError(error: unknown): MacroError {
  if (error instanceof MacroError) return error;
  const { validation, validationContext, code, statusCode, message } = error as Partial<FastifyError>;
  if (validation) return fromValidation(validation as readonly SchemaError[], validationContext ?? 'request');
  const known = code === undefined ? undefined : frameworkCodes[code];
  if (known !== undefined) return new MacroError(known, message ?? known);
  const isClients = statusCode !== undefined && statusCode >= 400 && statusCode < 500;
  if (isClients) return new MacroError('BAD_REQUEST', message ?? 'the request is malformed');
  return MacroError.from(error);
}
