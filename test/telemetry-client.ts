// A telemetry client for tests: messages in order, and a wait for the one that matters.
import { once } from 'node:events';
import type { Test } from 'tap';
import WebSocket from 'ws';
import type { ServiceBench } from './service-bench.js';

/** Loose on purpose: a client sees JSON. */
export interface TelemetryMessage {
  readonly type: string;
  readonly topic?: string;
  readonly sequence?: number;
  readonly jobId?: string;
  readonly deviceId?: string;
  readonly dropped?: number;
  readonly data?: Record<string, unknown>;
  readonly devices?: readonly Record<string, unknown>[];
  readonly jobs?: readonly Record<string, unknown>[];
}

export interface TelemetryClient {
  readonly messages: readonly TelemetryMessage[];
  /** The first message, heard already or to come, that fits. */
  next(fits: (message: TelemetryMessage) => boolean): Promise<TelemetryMessage>;
  /** Stops reading, as a client does whose machine is busy. */
  pause(): void;
  resume(): void;
  close(): void;
}

export async function openTelemetry(t: Test, bench: ServiceBench, query = ''): Promise<TelemetryClient> {
  const socket = new WebSocket(`${bench.service.url.replace('http', 'ws')}/v1/telemetry?${query}`);
  t.teardown(() => socket.terminate());
  const messages: TelemetryMessage[] = [];
  const waiting = new Set<() => void>();
  socket.on('message', (data) => {
    messages.push(JSON.parse(String(data)) as TelemetryMessage);
    for (const look of waiting) look();
  });
  await once(socket, 'open');
  return {
    messages,
    next: (fits) =>
      new Promise((resolve) => {
        const look = () => {
          const found = messages.find(fits);
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    close: () => socket.close(),
  };
}
