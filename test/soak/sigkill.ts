// The service and a simulator as processes, one of them killed by SIGKILL at a seeded point while a mask is applied, then started again. Whatever the
// point: jobs end with the truth, the ledger is what the chip has had, and no cell gets a pulse that it did not need.
import { usualMaskChoice } from '../../server/array/mask-application.js';
import type { JobView } from '../../server/cli/client.js';
import { readNpy } from '../../server/network/npy.js';
import { filesOfBundle } from '../../server/network/bundle.js';
import { cellOutcomes } from '../../proto/message.js';
import type { Chip } from '../../sim/chip.js';
import { countsOf } from '../rig/array.js';
import { type Mask, maskOn } from '../rig/mask.js';
import { SeededPrng } from '../rig/seeded-prng.js';
import { type Ledger, type Process, processes, SigkillBench, until } from '../rig/sigkill-bench.js';
import type { Passed } from '../rig/trip-line.js';

export interface SigkillReport {
  readonly kills: Readonly<Record<Process, number>>;
  /** Kills when the host had heard of some pulses and not of all. */
  readonly amidProgress: number;
  /** Kills when the chip had had some of the pulses and not all: a board is ahead of what is heard of it. */
  readonly amidPulses: number;
  /** How the jobs ended that were killed. */
  readonly ends: Readonly<Record<string, number>>;
  /** Cells whose counts and outcomes were compared with the chip. */
  readonly cells: number;
  readonly problems: readonly string[];
}

/** Where in the first application of the mask who is killed. */
interface Point {
  readonly victim: Process;
  readonly isReached: (passed: Passed) => boolean;
  readonly name: string;
}

const ended: readonly string[] = ['SUCCEEDED', 'FAILED', 'STOPPED', 'INTERRUPTED'];
const inside = cellOutcomes.indexOf('inside');
const path = '/v1/mask-applications';

/** Half of the points lie between the pulses, by how many the board has told of; the others anywhere in the conversation, by its bytes. */
function pointAt(number: number, prng: SeededPrng, bytes: number, pulses: number): Point {
  const victim = processes[number % processes.length];
  const fraction = prng.nextUint32() / 2 ** 32;
  if (Math.floor(number / processes.length) % 2 === 0) {
    const least = 1 + Math.floor(fraction * (pulses - 1));
    return { victim, isReached: (passed) => passed.pulses >= least, name: `the ${victim} was killed at pulse ${least} of ${pulses}` };
  }
  const least = Math.floor(fraction * bytes);
  return { victim, isReached: (passed) => passed.bytes >= least, name: `the ${victim} was killed at byte ${least} of ${bytes}` };
}

/** One chip, one mask, one kill. */
class Kill {
  readonly problems: string[] = [];
  end = 'UNHEARD';
  told = 0;
  given = 0;

  constructor(private readonly bench: SigkillBench, private readonly mask: Mask, private readonly point: Point) {}

  async run(): Promise<void> {
    const model = await this.bench.client.uploadModel(filesOfBundle(this.mask.bundle));
    const first = await this.killed(model);
    this.end = first?.state ?? this.end;
    const before = await this.judge(first);
    const second = await this.ended((await this.bench.client.submitOperation(path, { model })).id);
    this.expect(second.state === 'SUCCEEDED', `the second job is ${second.state}: ${JSON.stringify(second.failure)}`);
    const after = await this.judge(second);
    this.count(after.chip);
    const { unattributed, byJob } = after.ledger;
    const booked = [byJob.get(first?.id ?? '') ?? 0, byJob.get(second.id) ?? 0];
    const given = [before.chip.pulses, after.chip.pulses - before.chip.pulses];
    this.expect(`${booked}` === `${given}` && unattributed === 0, `the jobs gave ${given} pulses, ${booked} are booked as theirs, ${unattributed} as nobody's`);
  }

  private expect(isTrue: boolean, problem: string): void {
    if (!isTrue) this.problems.push(`${this.point.name}: ${problem}`);
  }

  private ended(id: string): Promise<JobView> {
    return until(`job ${id} has ended`, async () => {
      const job = await this.bench.client.job(id);
      return ended.includes(job.state) ? job : undefined;
    });
  }

  /** Applies the mask and kills the victim on the way, at the latest when the job has ended. @returns the job, where the service has taken it */
  private async killed(model: string): Promise<JobView | undefined> {
    const { bench, point: { victim, isReached } } = this;
    let gone: Promise<void> | undefined;
    const action = () => { gone = bench.kill(victim); };
    bench.line.arm({ isReached, action });
    // A service that is killed gives no answer to either question.
    const submitted = await bench.client.submitOperation(path, { model }).catch(() => undefined);
    await until('the victim was killed, or the job has ended', async () => {
      if (gone !== undefined) return true;
      const job = submitted && (await bench.client.job(submitted.id).catch(() => undefined));
      return job && ended.includes(job.state) ? true : undefined;
    });
    if (gone === undefined) action();
    this.told = bench.line.passed.pulses;
    bench.line.arm();
    await gone;
    this.given = bench.chip('killed').pulses;
    this.expect(this.given >= this.told, `the board had told of ${this.told} pulses, the file of the chip holds ${this.given}`);
    await bench.start(victim);
    const jobs = await bench.client.jobs();
    const first = jobs.find(({ parameters }) => (parameters as { model?: string }).model === model);
    return first && this.ended(first.id);
  }

  /** Whether what a job says is so. The ledger is asked first: it waits for what the board is still doing. */
  private async judge(job: JobView | undefined): Promise<{ chip: Chip; ledger: Ledger }> {
    const { victim } = this.point;
    const ledger = await this.bench.ledger();
    const chip = this.bench.chip();
    const apart = countsOf(chip).reset.filter((count, cell) => count !== ledger.reset[cell]).length;
    this.expect(apart === 0, `the ledger is apart from the chip at ${apart} cells when a job is ${job?.state}`);
    if (job === undefined) this.expect(chip.pulses === 0, `no job was taken, ${chip.pulses} pulses were given`);
    const isEnd = job === undefined || job.state === 'SUCCEEDED' || job.state === 'INTERRUPTED';
    this.expect(isEnd, `a job is ${job?.state}: ${JSON.stringify(job?.failure)}`);
    if (job?.state === 'INTERRUPTED') {
      this.expect(victim === (job.failure ? 'simulator' : 'service'), `the job of a killed ${victim} says ${JSON.stringify(job.failure)}`);
    }
    if (job?.failure) {
      const { outcome } = job.failure;
      this.expect(outcome === 'unknown' || (outcome === 'applied') === chip.pulses > 0, `a job says ${outcome}, and ${chip.pulses} pulses were given`);
    }
    if (job?.state === 'SUCCEEDED') await this.judgeOutcomes(job, chip);
    return { chip, ledger };
  }

  private async judgeOutcomes({ id }: JobView, chip: Chip): Promise<void> {
    const outcomes = readNpy(await this.bench.client.jobObject(id, 'outcomes'), 'outcomes', 'u1', [512, 512]);
    const isLow = (cell: number) => chip.microsiemens(cell) < usualMaskChoice.residualLimitMicrosiemens;
    const wrong = this.mask.pruned.filter((cell) => (outcomes[cell] === inside) !== isLow(cell)).length;
    this.expect(wrong === 0, `a job says of ${wrong} cells what is not so`);
  }

  private count(chip: Chip): void {
    const { conducting } = this.mask;
    const { reset } = countsOf(chip);
    const many = reset.filter((count, cell) => count > (conducting.has(cell) ? 1 : 0)).length;
    const missed = [...conducting].filter((cell) => reset[cell] === 0).length;
    this.expect(many === 0, `${many} cells were pulsed that were low, or twice`);
    this.expect(missed === 0, `${missed} cells were not pulsed`);
  }
}

/** One application that nobody disturbs. @returns the bytes of its conversation */
async function undisturbed(bench: SigkillBench): Promise<number> {
  const { bundle, conducting } = maskOn(await bench.insert(1));
  const model = await bench.client.uploadModel(filesOfBundle(bundle));
  bench.line.arm();
  await bench.client.ended((await bench.client.submitOperation(path, { model })).id);
  const { bytes, pulses } = bench.line.passed;
  if (pulses !== conducting.size) throw new Error(`${pulses} pulses were told of an application that needs ${conducting.size}`);
  return bytes;
}

/** Kills so many times, each on a chip of its own. @throws Error where a process does not come back, or a job does not end */
export async function sigkill(kills: number, seed: number): Promise<SigkillReport> {
  const bench = await SigkillBench.open();
  try {
    const bytes = await undisturbed(bench);
    const prng = new SeededPrng(seed);
    const ends: Record<string, number> = {};
    const problems: string[] = [];
    const victims = { service: 0, simulator: 0 };
    let [amidProgress, amidPulses, cells] = [0, 0, 0];
    for (let number = 0; number < kills; number += 1) {
      const chip = await bench.insert(number + 2);
      const mask = maskOn(chip);
      const point = pointAt(number, prng, bytes, mask.conducting.size);
      const kill = new Kill(bench, mask, point);
      await kill.run().catch((error: unknown) => { throw new Error(`${point.name}: ${error}`, { cause: error }); });
      victims[point.victim] += 1;
      ends[kill.end] = (ends[kill.end] ?? 0) + 1;
      const isSome = (pulses: number) => (pulses > 0 && pulses < mask.conducting.size ? 1 : 0);
      amidProgress += isSome(kill.told);
      amidPulses += isSome(kill.given);
      cells += chip.codes.length;
      problems.push(...kill.problems);
    }
    return { kills: victims, amidProgress, amidPulses, ends, cells, problems };
  } finally {
    await bench.close();
  }
}
