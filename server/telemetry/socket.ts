import type { Static } from 'typebox';
import type { WebSocket } from 'ws';
import { MacroError } from '../../proto/error.js';
import { type BusEvent, type Delivery, type Subscription, type Topic, topics } from '../event-bus.js';
import { deviceViews } from '../http/devices.js';
import type { App } from '../http/fastify.js';
import { viewOf } from '../http/jobs.js';
import type { ServiceParts } from '../http/parts.js';
import { problems, telemetryQuery } from '../http/schemas.js';

/** Events that wait for a client before the oldest are dropped: a second of a busy bench. */
const queueEvents = 1024;
/** What may wait in the socket itself; beyond it events stay in the queue, where they are counted. */
const socketHighBytes = 256 * 1024;
const eventsPerTurn = 64;
const jobsInSnapshot = 20;

type Query = Static<typeof telemetryQuery>;

function chosenTopics({ topics: text }: Query): ReadonlySet<Topic> {
  if (text === undefined) return new Set(topics);
  const chosen = text.split(',').filter((name) => name !== '');
  const unknown = chosen.find((name) => !topics.some((topic) => topic === name));
  if (unknown !== undefined || chosen.length === 0) {
    throw new MacroError('BAD_REQUEST', `there is no topic "${unknown ?? ''}", there are ${topics.join(', ')}`, { field: 'topics' });
  }
  return new Set(chosen as Topic[]);
}

const messageOf = ({ event, gap }: Delivery): string =>
  gap ? JSON.stringify({ type: 'gap', dropped: gap.missed }) : JSON.stringify({ type: 'event', ...event });

/** One client: what happens goes to it as fast as it reads, and what it does not read in time is named as a gap. */
class TelemetryClient {
  readonly #subscription: Subscription;
  #isScheduled = false;

  constructor(private readonly socket: WebSocket, private readonly parts: ServiceParts, accepts: (event: BusEvent) => boolean) {
    this.#subscription = parts.bus.subscribe({ accepts, limit: queueEvents, notify: () => this.#schedule() });
    parts.metrics.telemetryClient(1);
    socket.on('close', () => this.#end());
    socket.on('error', () => socket.terminate());
    this.#sendSnapshot();
  }

  #sendSnapshot(): void {
    const { registry, store, bus } = this.parts;
    const jobs = store.list({ limit: jobsInSnapshot }).map((job) => viewOf(job, this.parts));
    this.socket.send(JSON.stringify({ type: 'snapshot', sequence: bus.lastSequence, devices: deviceViews(registry), jobs }));
  }

  /** Events are noted when they happen and sent later, in bounded batches. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.socket.readyState !== this.socket.OPEN || this.socket.bufferedAmount > socketHighBytes) return;
    for (const delivery of this.#subscription.take(eventsPerTurn)) {
      if (delivery.gap) this.parts.metrics.countDropped(delivery.gap.missed);
      // When this has left there is room again: that is the moment to send what was held back.
      this.socket.send(messageOf(delivery), () => {
        if (this.#subscription.length > 0) this.#schedule();
      });
    }
  }

  #end(): void {
    this.#subscription.close();
    this.parts.metrics.telemetryClient(-1);
  }
}

/** WebSocket `/v1/telemetry`: a snapshot, then what happens, as JSON messages `event`; `gap` says how many this client missed. */
export function telemetryRoutes(app: App, parts: ServiceParts): void {
  const schema = {
    tags: ['operation'],
    summary: 'Live events (WebSocket)',
    description:
      `First a message of type "snapshot", then "event" with topic (${topics.join(', ')}), sequence and data; ` +
      '"gap" says how many events this client missed.',
    querystring: telemetryQuery,
    response: problems,
  };
  app.route({
    method: 'GET',
    url: '/v1/telemetry',
    schema,
    preHandler: async (request) => void chosenTopics(request.query),
    handler: async () => {
      throw new MacroError('BAD_REQUEST', 'this route speaks WebSocket');
    },
    wsHandler: (socket, request) => {
      const query = request.query as Query;
      const chosen = chosenTopics(query);
      new TelemetryClient(socket, parts, (event) => chosen.has(event.topic) && (query.job === undefined || event.jobId === query.job));
    },
  });
}
