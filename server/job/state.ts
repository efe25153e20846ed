import { MacroError } from '../../proto/error.js';
import type { Outcome } from '../../proto/outcome.js';

export const jobStates = ['QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'STOPPED', 'INTERRUPTED'] as const;
export type JobState = (typeof jobStates)[number];

export interface JobFailure {
  readonly code: string;
  readonly detail: string;
  /** What the job has done to the array by then: the gravest outcome of all its effectful requests, not that of the last one. */
  readonly outcome: Outcome;
  readonly field?: string;
}

/** What can happen to a job. The events of a job are its history; its state is what they add up to. */
export type JobEvent =
  | { readonly kind: 'submitted'; readonly jobKind: string; readonly device: string; readonly parameters: unknown }
  | { readonly kind: 'started' }
  | { readonly kind: 'succeeded'; readonly summary: unknown }
  | { readonly kind: 'failed'; readonly failure: JobFailure }
  | { readonly kind: 'stopped' }
  /** Without a failure it was the service that went away, otherwise the device. */
  | { readonly kind: 'interrupted'; readonly failure?: JobFailure };

export type TimedJobEvent = JobEvent & { readonly atMilliseconds: number };

export interface Job {
  readonly id: string;
  readonly kind: string;
  readonly device: string;
  readonly parameters: unknown;
  readonly state: JobState;
  readonly submittedAtMilliseconds: number;
  readonly startedAtMilliseconds: number | null;
  readonly endedAtMilliseconds: number | null;
  readonly summary: unknown;
  readonly failure: JobFailure | null;
}

type LaterKind = Exclude<JobEvent['kind'], 'submitted'>;

/** Where an event leads, by the state that it meets. What is not here is not legal. */
const transitions: Readonly<Record<JobState, Partial<Readonly<Record<LaterKind, JobState>>>>> = {
  QUEUED: { started: 'RUNNING', stopped: 'STOPPED' },
  RUNNING: { succeeded: 'SUCCEEDED', failed: 'FAILED', stopped: 'STOPPED', interrupted: 'INTERRUPTED' },
  SUCCEEDED: {},
  FAILED: {},
  STOPPED: {},
  INTERRUPTED: {},
};

export const isEnded = (state: JobState): boolean => Object.keys(transitions[state]).length === 0;

/** The state after an event; undefined where the event is not legal. */
export const nextState = (state: JobState, kind: LaterKind): JobState | undefined => transitions[state][kind];

function submitted(id: string, event: TimedJobEvent & { kind: 'submitted' }): Job {
  const { jobKind, device, parameters, atMilliseconds } = event;
  return {
    id, kind: jobKind, device, parameters, state: 'QUEUED', submittedAtMilliseconds: atMilliseconds, startedAtMilliseconds: null,
    endedAtMilliseconds: null, summary: null, failure: null,
  };
}

/**
 * A job after one more event. Pure.
 * @param job undefined before the first event, which must be `submitted`
 * @throws MacroError JOB_STATE_CONFLICT where the event is not legal in the job's state
 */
export function applyEvent(id: string, job: Job | undefined, event: TimedJobEvent): Job {
  if (event.kind === 'submitted') {
    if (job !== undefined) throw new MacroError('JOB_STATE_CONFLICT', `job ${id} was submitted before`);
    return submitted(id, event);
  }
  if (job === undefined) throw new MacroError('JOB_STATE_CONFLICT', `job ${id} was never submitted`);
  const state = nextState(job.state, event.kind);
  if (state === undefined) throw new MacroError('JOB_STATE_CONFLICT', `job ${id} is ${job.state} and cannot be ${event.kind}`);
  return {
    ...job,
    state,
    startedAtMilliseconds: event.kind === 'started' ? event.atMilliseconds : job.startedAtMilliseconds,
    endedAtMilliseconds: isEnded(state) ? event.atMilliseconds : null,
    summary: event.kind === 'succeeded' ? event.summary : null,
    failure: (event.kind === 'failed' || event.kind === 'interrupted' ? event.failure : undefined) ?? null,
  };
}
