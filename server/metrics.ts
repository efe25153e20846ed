import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { InferenceRow } from './inference/result.js';

const femtojoulesPerJoule = 1e15;
const timestepBuckets = Array.from({ length: 10 }, (_, step) => step + 1);

/** What the line to a device has done since the service began. */
export interface LinkFigures {
  readonly roundTripSeconds: number | undefined;
  readonly retransmissions: number;
  readonly discardedFrames: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

export interface DeviceFigures {
  readonly device: string;
  readonly ready: boolean;
  readonly link: LinkFigures | undefined;
}

/** Where the figures come from that are read when somebody asks, rather than counted as things happen. */
export interface MetricSources {
  devices(): readonly DeviceFigures[];
  jobsByState(): Readonly<Record<string, number>>;
}

function inferenceMetrics(registers: Registry[]) {
  const counter = (name: string, help: string, ...labelNames: string[]) => new Counter({ name, help, labelNames, registers });
  return {
    inferences: counter('prime_inferences_total', 'Recordings that were answered', 'device'),
    timesteps: new Histogram({
      name: 'prime_inference_timesteps',
      help: 'Timestep at which a recording was stopped',
      buckets: timestepBuckets,
      registers,
    }),
    conversions: counter('prime_conversions_total', 'Analogue-to-digital conversions', 'layer'),
    saturations: counter('prime_saturations_total', 'Conversions at the end of their range', 'layer'),
    energy: counter('prime_energy_joules_total', 'Energy of the macro, as its model or board states it'),
    operationSeconds: counter('prime_operation_seconds_total', 'Operation time of the macro', 'device'),
  };
}

function serviceMetrics(registers: Registry[]) {
  return {
    errors: new Counter({ name: 'prime_errors_total', help: 'Errors by code of docs/errors.md', labelNames: ['code'], registers }),
    httpSeconds: new Histogram({
      name: 'prime_http_request_seconds',
      help: 'Duration of HTTP requests',
      labelNames: ['method', 'route', 'status'],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60],
      registers,
    }),
    telemetryClients: new Gauge({ name: 'prime_telemetry_clients', help: 'Open telemetry sockets', registers }),
    telemetryDropped: new Counter({ name: 'prime_telemetry_dropped_total', help: 'Events that slow telemetry clients missed', registers }),
  };
}


function registerSources(sources: MetricSources, registers: Registry[]): void {
  // Counters that are kept by the link: mirrored anew on each scrape.
  const link = (name: string, help: string, figure: (figures: LinkFigures) => number) =>
    new Counter({
      name,
      help,
      labelNames: ['device'],
      registers,
      collect() {
        this.reset();
        for (const { device, link } of sources.devices()) if (link) this.inc({ device }, figure(link));
      },
    });
  link('prime_link_retransmissions_total', 'Frames that were sent again', ({ retransmissions }) => retransmissions);
  link('prime_link_discarded_frames_total', 'Frames that were refused by check sum or form', ({ discardedFrames }) => discardedFrames);
  link('prime_link_sent_bytes_total', 'Bytes written to the line', ({ bytesSent }) => bytesSent);
  link('prime_link_received_bytes_total', 'Bytes read from the line', ({ bytesReceived }) => bytesReceived);
  new Gauge({
    name: 'prime_link_round_trip_seconds',
    help: 'Smoothed round trip of the link',
    labelNames: ['device'],
    registers,
    collect() {
      this.reset();
      for (const { device, link } of sources.devices()) {
        if (link?.roundTripSeconds !== undefined) this.set({ device }, link.roundTripSeconds);
      }
    },
  });
  new Gauge({
    name: 'prime_device_ready',
    help: '1 where the session with the device is open',
    labelNames: ['device'],
    registers,
    collect() {
      this.reset();
      for (const { device, ready } of sources.devices()) this.set({ device }, ready ? 1 : 0);
    },
  });
  new Gauge({
    name: 'prime_jobs',
    help: 'Jobs by state',
    labelNames: ['state'],
    registers,
    collect() {
      this.reset();
      for (const [state, count] of Object.entries(sources.jobsByState())) this.set({ state }, count);
    },
  });
}

/** All figures of one service, in a registry of its own, so that two services in one process do not mix. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #inference = inferenceMetrics([this.#registry]);
  readonly #service = serviceMetrics([this.#registry]);

  constructor(sources: MetricSources, options: { ofProcess: boolean } = { ofProcess: true }) {
    if (options.ofProcess) collectDefaultMetrics({ register: this.#registry });
    registerSources(sources, [this.#registry]);
  }

  countInference(device: string, row: InferenceRow): void {
    this.#inference.inferences.inc({ device });
    this.#inference.timesteps.observe(row.stoppedAtTimestep);
    this.#inference.energy.inc(row.energyFemtojoules / femtojoulesPerJoule);
    this.#inference.operationSeconds.inc({ device }, row.operationNanoseconds / 1e9);
    for (const { name, conversions, saturations } of row.layers) {
      this.#inference.conversions.inc({ layer: name }, conversions);
      this.#inference.saturations.inc({ layer: name }, saturations);
    }
  }

  /** @param code of the error table */
  countErrorCode(code: string): void {
    this.#service.errors.inc({ code });
  }

  observeRequest(method: string, route: string, status: number, seconds: number): void {
    this.#service.httpSeconds.observe({ method, route, status: String(status) }, seconds);
  }

  telemetryClient(change: 1 | -1): void {
    this.#service.telemetryClients.inc(change);
  }

  countDropped(events: number): void {
    this.#service.telemetryDropped.inc(events);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
