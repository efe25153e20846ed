import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';

export const identification = 'KEITHLEY INSTRUMENTS,MODEL 2450,04418023,1.7.12b';

/** What it says; null: nothing. */
export interface MeterAnswers {
  readonly identification?: string | null;
  readonly resistance?: string | null;
  /** Ends the connection where it says nothing. */
  readonly hangsUp?: boolean;
  /** Where it says nothing it sends a byte so often, and never an end of line. */
  readonly tricklesMilliseconds?: number;
}

export interface Meter {
  readonly address: string;
  /** Questions so far. */
  readonly asked: string[];
  /** Resolves with the next question. */
  nextQuestion(): Promise<string>;
  /** Switched off: nobody listens any more. */
  close(): void;
}

function fallSilent(socket: Socket, { hangsUp, tricklesMilliseconds }: MeterAnswers): void {
  if (hangsUp === true) socket.end();
  if (tricklesMilliseconds === undefined) return;
  const timer = setInterval(() => socket.write('.'), tricklesMilliseconds);
  socket.on('close', () => clearInterval(timer));
}

/** A source meter on a TCP port: SCPI in lines, as instruments speak it. */
export async function startMeter(t: Test, answers: MeterAnswers = {}): Promise<Meter> {
  const asked: string[] = [];
  let heard: (question: string) => void = () => undefined;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    createInterface({ input: socket }).on('error', () => undefined).on('line', (question) => {
      asked.push(question);
      heard(question);
      const { identification: name = identification, resistance = '1e5' } = answers;
      const answer = question === '*IDN?' ? name : resistance;
      if (answer === null) fallSilent(socket, answers);
      else socket.write(`${answer}\n`);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  t.teardown(close);
  const { port } = server.address() as { port: number };
  return { address: `tcp://127.0.0.1:${port}`, asked, close, nextQuestion: () => new Promise((resolve) => { heard = resolve; }) };
}
