import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ServiceClient } from '../../server/cli/client.js';
import { packageFolder } from '../../server/version.js';
import type { Chip } from '../../sim/chip.js';
import { readChipFile } from '../../sim/process/chip-file.js';
import { Child } from './child.js';
import { maskedProfile, maskProfile } from './mask.js';
import { TripLine } from './trip-line.js';

export const processes = ['service', 'simulator'] as const;
export type Process = (typeof processes)[number];

const deviceId = 'macro-0';
const deadlineMilliseconds = 60_000;
const lookMilliseconds = 50;
const programOf = (...path: string[]) => join(packageFolder(), ...path);

/** RESET pulses, as the ledger has them. */
export interface Ledger {
  readonly reset: Uint16Array;
  readonly byJob: ReadonlyMap<string, number>;
  readonly unattributed: number;
}

/** Waits for something to be there. @throws Error where it is not in time */
export async function until<Value>(what: string, look: () => Promise<Value | undefined>): Promise<Value> {
  const deadline = performance.now() + deadlineMilliseconds;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`waited ${deadlineMilliseconds} ms in vain until ${what}`);
    await delay(lookMilliseconds);
  }
}

/** The service and a simulator as the processes that they are, on one line; chips are put in one after the other. */
export class SigkillBench {
  private readonly folder = mkdtempSync(join(tmpdir(), 'prime-hil-sigkill-'));
  private readonly children = new Map<Process, Child>();
  private seed = 0;

  private constructor(readonly line: TripLine) {}

  static async open(): Promise<SigkillBench> {
    const bench = new SigkillBench(await TripLine.open());
    writeFileSync(join(bench.folder, 'profile.json'), JSON.stringify(maskProfile.overrides));
    try {
      await bench.start('service');
    } catch (error) {
      await bench.close();
      throw error;
    }
    return bench;
  }

  get client(): ServiceClient {
    return new ServiceClient(this.url, undefined);
  }

  private get url(): string {
    return this.children.get('service')?.said['url'] ?? '';
  }

  /** What the file says of the chip now, or said when a process was killed. */
  chip(when: 'now' | 'killed' = 'now'): Chip {
    const chip = readChipFile(when === 'now' ? this.chipFile : `${this.chipFile}.killed`, maskedProfile(), this.seed);
    if (chip === undefined) throw new Error(`chip ${this.seed} has no file`);
    return chip;
  }

  /** Puts another chip into the simulator, new from the fab, and waits until the service has it. */
  async insert(seed: number): Promise<Chip> {
    await this.kill('simulator');
    this.seed = seed;
    await this.start('simulator');
    const chip = this.chip();
    await until(`the service has ${chip.chipId}`, async () =>
      (await this.client.devices()).find(({ state, chipId }) => state === 'ready' && chipId === chip.chipId));
    return chip;
  }

  /** Kills a process, and keeps what the file of the chip says at that moment. */
  kill(victim: Process): Promise<void> {
    const gone = this.children.get(victim)?.kill() ?? Promise.resolve();
    if (victim === 'simulator') this.line.unplug();
    if (this.seed > 0) copyFileSync(this.chipFile, `${this.chipFile}.killed`);
    return gone;
  }

  async start(process: Process): Promise<void> {
    if (process === 'simulator') {
      const which = ['--profile', maskProfile.name, '--profile-file', join(this.folder, 'profile.json'), '--seed', String(this.seed)];
      const given = [...which, '--chip', this.chipFile, '--listen', 'tcp://127.0.0.1:0', '--exit-with-parent'];
      const child = await Child.start(programOf('dist', 'sim', 'process', 'main.js'), given);
      this.children.set(process, child);
      this.line.plug(child.said['address'] ?? '');
    } else {
      const given = ['serve', '--port', '0', '--device', `${deviceId}=${this.line.address}`, '--connect-timeout', '30', '--exit-with-parent'];
      const environment = { PRIME_HOME: join(this.folder, 'home'), PRIME_LOG: 'silent' };
      this.children.set(process, await Child.start(programOf('server', 'bin', 'prime.js'), given, environment));
    }
  }

  async ledger(): Promise<Ledger> {
    const response = await fetch(`${this.url}/v1/devices/${deviceId}/wear?cells=true`);
    const wear = (await response.json()) as Awaited<ReturnType<ServiceClient['wear']>>;
    const { buffer } = new Uint8Array(Buffer.from(wear.cells?.reset ?? '', 'base64'));
    const byJob = new Map(wear.jobs.map(({ job, pulses }) => [job, pulses.reset]));
    return { reset: new Uint16Array(buffer), byJob, unattributed: wear.unattributed.pulses.reset };
  }

  async close(): Promise<void> {
    await Promise.all([...this.children.values()].map((child) => child.kill()));
    this.line.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private get chipFile(): string {
    return join(this.folder, `chip-${this.seed}.bin`);
  }
}
