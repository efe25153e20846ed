import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MacroError } from '../../proto/error.js';
import { packageFolder } from '../version.js';
import { type Console, exitFailed } from './console.js';

const simulatorProcess = join(packageFolder(), 'dist', 'sim', 'process', 'main.js');

/** `prime sim`: hands its arguments, streams and signals to the simulator, a program of its own, which ends with it. Returns that program's exit code. */
export async function simulate(given: readonly string[], console: Console): Promise<number> {
  if (!existsSync(simulatorProcess)) throw new MacroError('SETUP_REQUIRED', 'the simulator is not built');
  const child = spawn(process.execPath, [simulatorProcess, ...given], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
  const stop = () => void child.kill('SIGTERM');
  console.signal.addEventListener('abort', stop);
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => resolve(code ?? (console.signal.aborted ? 0 : exitFailed)));
    });
  } finally {
    console.signal.removeEventListener('abort', stop);
  }
}
