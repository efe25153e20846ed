import type { Device, HelloAck, RunResult } from '../../driver/index.js';
import { type EarlyStopRule, packNibbles, philox, type StopRule } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import { stopRulesCapability } from '../../proto/method.js';
import { binEvents, type Frames, type Split } from '../dataset/frames.js';
import { parseRecording } from '../dataset/recording.js';
import { type SentRecording, unpackRecordings } from '../dataset/recording-pack.js';
import type { CalibrationSources } from '../array/calibrate.js';
import { ownerOf } from '../array/job.js';
import type { WearMeter } from '../array/wear-meter.js';
import { whenReady } from '../job/ready.js';
import type { JobContext, JobKind } from '../job/scheduler.js';
import type { Bundle } from '../network/bundle.js';
import type { Threshold } from '../early-stop/policy.js';
import { earlyStopAt } from '../network/compile.js';
import { runHostStepped, type TimestepResult } from '../network/host-stepped.js';
import type { StoredThreshold } from '../store/thresholds.js';
import { type AppliedBundle, BundleApplier } from './apply.js';
import { HostGate } from './gate.js';
import type { Staleness } from '../store/stale-snapshots.js';
import type { Execution } from './options.js';
import { auditOfRows, type InferenceRow, type LayerTally, type RunSummary, saturationWarnings, summarise } from './result.js';
import { chooseThreshold, type ThresholdChoice } from './threshold.js';

export const inferenceKind = 'inference';

const auditKey = 0xa0d17;
const philoxRounds = 10;

/** What a job of this kind is asked to do; kept with it, so that the run can be repeated to the bit. */
export interface InferenceParameters {
  /** Id of the model. */
  readonly model: string;
  readonly split: Split;
  /** null: no early stop; left out: as it was stored for chip and bundle, otherwise the bundle's. */
  readonly threshold?: Threshold | null;
  /** Left out: the bundle's. */
  readonly rule?: StopRule;
  readonly timesteps?: boolean;
  readonly audit?: number;
  readonly execution: Execution;
  /** SHA-256 of the object that holds the recordings. */
  readonly recordings: string;
  readonly recordingCount: number;
  /** Of the first recording; the others follow. Noise is keyed by it. */
  readonly firstInferenceNumber: number;
}

/** Where a job finds what its parameters name. */
export interface InferenceSources extends CalibrationSources {
  readonly connectTimeoutMilliseconds: number;
  readonly meter: WearMeter;
  /** Codes of a map of the whole array by its digest, where the service holds it. */
  snapshot(digest: string): Uint16Array | undefined;
  model(id: string): Bundle;
  object(sha256: string): Uint8Array;
  /** Keeps bytes for good. @returns their digest */
  keep(bytes: Uint8Array): string;
  /** Whether the map with this digest is still true of its chip. */
  staleness(digest: string): Staleness | null;
  /** Thresholds that were stored for a chip and a bundle, the newest first; a bench of tests may have none. */
  storedThresholds?(chipId: string, model: string): readonly StoredThreshold[];
  /** Rows that the job has already, from an earlier start. */
  rows(jobId: string): Iterable<InferenceRow>;
  /** Called once for each recording that was answered. */
  answered(deviceId: string, row: InferenceRow): void;
}

interface Prepared {
  readonly recording: SentRecording;
  readonly frames: Frames;
  /** Resolves when the frames are on the device. */
  readonly uploaded: Promise<unknown>;
}

/** Boards that know the published rule alone leave others to the host. */
function chooseExecution(
  asked: Execution, { capabilities, chipId }: HelloAck, { rule, threshold }: Pick<ThresholdChoice, 'rule' | 'threshold'>,
): 'device' | 'host' {
  const knowsRule = threshold === null || (rule === 'softmax' && typeof threshold === 'number') || capabilities.includes(stopRulesCapability);
  const runs = capabilities.includes('RunNetwork');
  const can = { device: runs && knowsRule, host: capabilities.includes('Multiply') };
  const chosen = asked === 'auto' ? (can.device ? 'device' : 'host') : asked;
  if (can[chosen]) return chosen;
  const needed = chosen === 'host' ? 'Multiply' : runs ? `${stopRulesCapability} for the rule ${rule}` : 'RunNetwork';
  throw new MacroError('METHOD_UNSUPPORTED', `execution on the ${chosen} needs ${needed}, which ${chipId} does not declare`);
}

function staleWarnings({ chip }: Bundle, sources: InferenceSources): string[] {
  const stale = chip === undefined ? null : sources.staleness(chip.snapshotDigest);
  if (stale === null) return [];
  return [`the bundle is stale: job ${stale.job} gave ${stale.changedPairs} pairs of its chip new conductances on ${stale.since.slice(0, 10)}`];
}

function calibrationWarnings({ calibration }: AppliedBundle): string[] {
  if (calibration?.state !== 'failed') return [];
  return [`the mask was applied, and the calibration behind it failed: ${calibration.code}: ${calibration.detail}`];
}

/** Adds up what each layer did, timestep by timestep. */
function addCounts(tally: LayerTally[], result: TimestepResult): LayerTally[] {
  return tally.map((layer, index) => {
    const counts = result.layers[index];
    return {
      name: layer.name,
      conversions: layer.conversions + counts.conversions,
      saturations: layer.saturations + counts.saturations,
      spikes: layer.spikes + counts.spikes,
    };
  });
}

/** The recordings of one job on one device, one after the other. */
class InferenceRun {
  readonly #earlyStop: EarlyStopRule | undefined;

  constructor(
    private readonly context: JobContext,
    private readonly device: Device,
    private readonly parameters: InferenceParameters,
    private readonly applied: AppliedBundle,
    private readonly execution: 'device' | 'host',
    { rule, threshold }: ThresholdChoice,
  ) {
    this.#earlyStop = threshold === null ? undefined : earlyStopAt(applied.compiled, threshold, rule);
  }

  /** Bins a recording and, for execution on the device, begins to send it while the one before still runs: the line is never idle. */
  prepare(recording: SentRecording | undefined): Prepared | undefined {
    if (recording === undefined) return undefined;
    const { timestepCount } = this.applied.compiled.program;
    const frames = binEvents(parseRecording(recording.bytes, recording.input, recording.label), timestepCount, this.parameters.split);
    const uploaded = this.execution === 'device' ? this.device.uploadBulk(packNibbles(frames.codes)) : Promise.resolve();
    // Awaited when its turn comes; until then a failure is not unhandled.
    uploaded.catch(() => undefined);
    return { recording, frames, uploaded };
  }

  async run(index: number, { recording, frames, uploaded }: Prepared): Promise<InferenceRow> {
    const { compiled } = this.applied;
    const isAudited = this.isAudited(index);
    const gate = new HostGate(compiled, isAudited ? undefined : this.#earlyStop);
    const early = isAudited ? new HostGate(compiled, this.#earlyStop) : gate;
    const timesteps: { membranes: readonly number[]; conversions: number }[] = [];
    let layers: LayerTally[] = compiled.program.layers.map(({ name }) => ({ name, conversions: 0, saturations: 0, spikes: 0 }));
    await uploaded;
    const result = await this.execute(frames, this.parameters.firstInferenceNumber + index, isAudited ? undefined : this.#earlyStop, (step) => {
      gate.add(step.timestep, step.membranes);
      if (isAudited && !early.isConfident) early.add(step.timestep, step.membranes);
      timesteps.push({ membranes: Array.from(step.membranes), conversions: step.layers.reduce((sum, { conversions }) => sum + conversions, 0) });
      layers = addCounts(layers, step);
      this.report(index, recording, step, gate);
    });
    const decision = gate.decide(result);
    return {
      input: recording.input,
      label: recording.label,
      ...early.decision,
      clippedEvents: frames.clippedEvents,
      layers,
      operationNanoseconds: result.operationNanoseconds,
      energyFemtojoules: result.energyFemtojoules,
      warnings: saturationWarnings(layers),
      ...(this.parameters.timesteps && { timesteps }),
      ...(isAudited && { predictionAtEnd: decision.prediction }),
    };
  }

  /** Drawn by the number of the inference, so that a run that is repeated audits the same recordings. */
  private isAudited(index: number): boolean {
    const { audit = 0, firstInferenceNumber } = this.parameters;
    if (this.#earlyStop === undefined || audit === 0) return false;
    const block = Uint32Array.of(firstInferenceNumber + index, 0, 0, 0);
    philox(block, auditKey, 0, philoxRounds);
    return block[0] / 2 ** 32 < audit;
  }

  private execute(
    frames: Frames, inferenceNumber: number, earlyStop: EarlyStopRule | undefined, onTimestep: (result: TimestepResult) => void,
  ): Promise<RunResult> {
    const { compiled, programSha256 } = this.applied;
    const { signal } = this.context;
    if (this.execution === 'host') {
      return runHostStepped(this.device, compiled, frames.codes, inferenceNumber, earlyStop, onTimestep, signal);
    }
    const run = { programSha256, frames: frames.codes, inferenceNumber, ...(earlyStop && { earlyStop }) };
    return this.device.runNetwork(run, onTimestep, signal);
  }

  private report(index: number, recording: SentRecording, step: TimestepResult, gate: HostGate): void {
    this.context.event('timestep', {
      index,
      input: recording.input,
      timestep: step.timestep,
      prediction: gate.prediction,
      confidence: gate.confidence,
      membranes: Array.from(step.membranes),
      // Decoded messages hold what the sender left out in their prototype, where JSON does not look.
      layers: step.layers.map(({ conversions, saturations, spikes }) => ({ conversions, saturations, spikes })),
    });
  }
}

/** Asked once the mask is applied, which is the state that thresholds are stored for. */
async function thresholdOf(
  { threshold, rule, model }: InferenceParameters, device: Device, { chipId }: HelloAck, { network }: Bundle, { storedThresholds }: InferenceSources,
): Promise<ThresholdChoice> {
  const { earlyStop } = network;
  if (threshold !== undefined) return { rule: rule ?? earlyStop.rule, threshold, warnings: [] };
  const arrayState = Buffer.from((await device.status()).arrayState).toString('hex');
  return chooseThreshold(earlyStop, storedThresholds?.(chipId, model) ?? [], arrayState);
}

/**
 * The job kind `inference`: brings the bundle to the chip, then runs recording after recording. A row is stored for each as it is answered:
 * the rows are the checkpoint, and a job that is started again goes on behind them.
 */
export function inferenceJob(sources: InferenceSources): JobKind {
  const applier = new BundleApplier(sources);
  return {
    name: inferenceKind,
    async run(context: JobContext, given: unknown): Promise<RunSummary> {
      const parameters = given as InferenceParameters;
      const { device } = context;
      const bundle = sources.model(parameters.model);
      const recordings = unpackRecordings(sources.object(parameters.recordings));
      const identity = await whenReady(device, sources.connectTimeoutMilliseconds, context.signal);
      const asked = { rule: parameters.rule ?? bundle.network.earlyStop.rule, threshold: parameters.threshold ?? bundle.network.earlyStop.threshold };
      const planned = chooseExecution(parameters.execution, identity, parameters.threshold === null ? { ...asked, threshold: null } : asked);
      const applied = await applier.apply(device, identity, bundle, planned === 'device', { owner: ownerOf(context.job), signal: context.signal });
      const choice = await thresholdOf(parameters, device, identity, bundle, sources);
      const execution = chooseExecution(planned === 'host' ? 'host' : parameters.execution, identity, choice);
      const run = new InferenceRun(context, device, parameters, applied, execution, choice);
      const rows = [...sources.rows(context.job.id)];
      context.progress(rows.length, recordings.length);
      let next = run.prepare(recordings[rows.length]);
      for (let index = rows.length; next !== undefined; index += 1) {
        if (context.signal.aborted) throw new MacroError('CANCELLED', `stopped after ${index} of ${recordings.length} recordings`);
        const running = run.run(index, next);
        next = run.prepare(recordings[index + 1]);
        const row = await running;
        rows.push(row);
        context.result(index, row);
        context.event('result', { index, ...row });
        context.progress(index + 1, recordings.length);
        sources.answered(context.job.device, row);
      }
      const { calibration, objects } = applied;
      const warnings = [...staleWarnings(bundle, sources), ...calibrationWarnings(applied), ...choice.warnings];
      const { program: { timestepCount }, membraneUnitsPerNetworkUnit } = applied.compiled;
      const audit = auditOfRows(rows, timestepCount, parameters.audit ?? 0);
      return { ...summarise(rows, timestepCount), ...choice, audit, membraneUnitsPerNetworkUnit, warnings, calibration, objects };
    },
  };
}
