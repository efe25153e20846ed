import {
  connectTo, Device, type DeviceEvent, type DeviceState, type DeviceStatistics, formatAddress, type HelloAck, parseAddress, type RequestLog,
} from '../../driver/index.js';
import type { Clock } from '../../firmware-protocol/clock.js';
import type { Prng } from '../../firmware-protocol/prng.js';
import { MacroError } from '../../proto/error.js';
import type { LineCapture } from '../capture/line-capture.js';
import type { EventBus } from '../event-bus.js';
import { isSimulatorAddress, parseSimulatorAddress, SimulatorProcess } from './simulator.js';

export interface DeviceView {
  readonly id: string;
  readonly address: string;
  readonly state: DeviceState;
  /** Why it is in this state, for people. */
  readonly reason: string;
  readonly identity: HelloAck | undefined;
  /** Of the chip, as its board has last told it. */
  readonly temperatureCelsius: number | undefined;
  readonly statistics: DeviceStatistics;
}

export interface DeviceReadiness {
  readonly id: string;
  readonly ready: boolean;
  readonly detail: string | null;
}

/** What changes of a chip. */
export interface ChipStatus {
  /** Hexadecimal. */
  readonly arrayState: string;
  /** null where its board measures none. */
  readonly temperatureCelsius: number | null;
}

export interface RegistryOptions {
  readonly clock: Clock;
  readonly prng: Prng;
  readonly bus: EventBus;
  readonly hostVersion: string;
  readonly capture?: LineCapture;
  /** Where the effectful requests of a device leave their trace, by its name. */
  readonly requestLog: (id: string) => RequestLog;
}

type ByteChannel = Awaited<ReturnType<typeof connectTo>>;

interface Entry {
  readonly id: string;
  readonly address: string;
  readonly device: Device;
  readonly simulator: SimulatorProcess | undefined;
  reason: string;
}

const readinessMilliseconds = 2000;
const answeringStates: ReadonlySet<DeviceState> = new Set(['ready', 'needs-reconcile']);
const namedAddress = /^([a-z][a-z0-9-]{0,31})=(.+)$/;
/** Bits of the longest frame on a serial line, 10 a byte. */
const frameBits = 6_500;

/** The devices of this service, by name: `NAME=ADDRESS`, or `macro-0`, `macro-1`… where no name is given. */
export class Registry {
  private readonly entries = new Map<string, Entry>();

  constructor(private readonly options: RegistryOptions) {}

  /**
   * Adds a device and begins to connect to it. A simulator is started first, so that a wrong profile is an error here.
   * @throws MacroError BAD_ADDRESS, BAD_PROFILE
   */
  async add(text: string): Promise<string> {
    const [, name, named] = namedAddress.exec(text) ?? [];
    const address = named ?? text;
    const id = name ?? `macro-${this.entries.size}`;
    if (this.entries.has(id)) throw new MacroError('BAD_ADDRESS', `two devices are called "${id}"`, { field: 'device' });
    const simulator = isSimulatorAddress(address) ? new SimulatorProcess(parseSimulatorAddress(address)) : undefined;
    const fixed = simulator === undefined ? parseAddress(address) : await simulator.line();
    const frameTimeMicroseconds = fixed.kind === 'serial' && simulator === undefined ? Math.ceil((frameBits * 1e6) / fixed.baud) : 0;
    const { clock, prng, hostVersion, requestLog } = this.options;
    const device = new Device({
      name: simulator === undefined ? formatAddress(fixed) : address,
      clock,
      prng,
      hostVersion,
      frameTimeMicroseconds,
      requestLog: requestLog(id),
      // A simulator that died is started again on the next attempt; its boot id tells that it is another run.
      connect: async () => this.tapped(id, address, await connectTo(simulator === undefined ? fixed : await simulator.line())),
      onEvent: (event) => this.took(id, event),
    });
    this.entries.set(id, { id, address, device, simulator, reason: 'connecting' });
    return id;
  }

  private tapped(id: string, address: string, channel: ByteChannel): ByteChannel {
    return this.options.capture?.tap(channel, `${id} ${address}`, () => this.entries.get(id)?.device.statistics.clock?.offsetMicroseconds) ?? channel;
  }

  ids(): readonly string[] {
    return [...this.entries.keys()];
  }

  /** @throws MacroError DEVICE_UNKNOWN */
  device(id: string): Device {
    return this.entry(id).device;
  }

  /** The device of that name, or the only one. @throws MacroError DEVICE_UNKNOWN, BAD_REQUEST where several could be meant */
  choose(id: string | undefined): string {
    if (id !== undefined) return this.entry(id).id;
    const ids = this.ids();
    if (ids.length === 0) throw new MacroError('DEVICE_UNKNOWN', 'the service has no device', { field: 'device' });
    if (ids.length > 1) throw new MacroError('BAD_REQUEST', `the service has several devices; name one of ${ids.join(', ')}`, { field: 'device' });
    return ids[0];
  }

  view(id: string): DeviceView {
    const { address, device, reason } = this.entry(id);
    const { state, identity, temperatureCelsius, statistics } = device;
    return { id, address, state, reason, identity, temperatureCelsius, statistics };
  }

  views(): DeviceView[] {
    return this.ids().map((id) => this.view(id));
  }

  /** What the device of a chip says of it now; undefined where no device that holds it answers. */
  async statusOf(chipId: string): Promise<ChipStatus | undefined> {
    const holders = [...this.entries.values()].filter(({ device }) => device.identity?.chipId === chipId && answeringStates.has(device.state));
    for (const { device } of holders) {
      const status = await device.status().catch(() => undefined);
      if (status === undefined) continue;
      return { arrayState: Buffer.from(status.arrayState).toString('hex'), temperatureCelsius: status.temperatureCelsius ?? null };
    }
    return undefined;
  }

  /** Ready means that a no-op request has just reached the device and come back. */
  readiness(): Promise<DeviceReadiness[]> {
    return Promise.all([...this.entries.values()].map(async ({ id, device }) => {
      try {
        await device.whenReady(readinessMilliseconds);
        await device.noOperation(readinessMilliseconds);
        return { id, ready: true, detail: null };
      } catch (error) {
        return { id, ready: false, detail: MacroError.from(error).message };
      }
    }));
  }

  /** Closes every line and ends every simulator; each is tried, whatever happens to another. */
  async close(): Promise<void> {
    const entries = [...this.entries.values()];
    const closed = await Promise.allSettled(entries.map(({ device }) => device.close()));
    const ended = await Promise.allSettled(entries.map(({ simulator }) => simulator?.close()));
    const failed = [...closed, ...ended].flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    if (failed.length > 0) throw new AggregateError(failed, 'some devices could not be closed');
  }

  private entry(id: string): Entry {
    const entry = this.entries.get(id);
    if (entry !== undefined) return entry;
    const known = this.ids().join(', ') || 'none';
    throw new MacroError('DEVICE_UNKNOWN', `there is no device "${id}"; there are ${known}`, { field: 'device' });
  }

  private took(id: string, event: DeviceEvent): void {
    const entry = this.entries.get(id);
    if (event.kind === 'noise') {
      this.options.bus.publish({ topic: 'link', deviceId: id, data: { detail: event.detail } });
      return;
    }
    if (event.kind === 'state' && entry !== undefined) entry.reason = event.reason;
    this.options.bus.publish({ topic: 'device', deviceId: id, data: event });
  }
}
