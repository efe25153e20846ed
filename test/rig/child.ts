import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const complaintCharacters = 2000;

/** A program of this house as a process of its own, which says in its first line where it can be reached. */
export class Child {
  private constructor(private readonly process: ChildProcess, readonly said: Readonly<Record<string, string>>) {}

  /** @throws Error with what it said on stderr where it ends before its first line */
  static async start(program: string, given: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Child> {
    const child = spawn(process.execPath, [program, ...given], { env: { ...process.env, ...environment }, stdio: ['pipe', 'pipe', 'pipe'] });
    let complaints = '';
    child.stderr.on('data', (text) => { complaints = (complaints + text).slice(-complaintCharacters); });
    const lines = createInterface({ input: child.stdout });
    const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit')])) as [unknown];
    if (typeof line !== 'string') throw new Error(`${program} ended: ${complaints}`);
    return new Child(child, JSON.parse(line));
  }

  get processId(): number | undefined {
    return this.process.pid;
  }

  /** SIGKILL: it has not another instruction. Resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await gone;
  }
}
