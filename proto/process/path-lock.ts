import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** Not the same for all, so that two that began at once do not meet for ever. */
const restMilliseconds = 50 + (process.pid % 50);

/** Claims of this process: among those of others it would not see its own. */
const held = new Set<string>();

/** One that was killed and whose parent has not asked for it yet is there for the system, and holds nothing. */
function isBuried(pid: number): boolean {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false; // a system that does not tell
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !isBuried(pid);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** A living process that claims a path beside this one. Claims of the dead are removed. */
function rivalOf(path: string): number | undefined {
  const prefix = `${basename(path)}.lock-`;
  for (const name of readdirSync(dirname(path))) {
    const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length)) : 0;
    if (!(pid > 0) || pid === process.pid) continue;
    if (isAlive(pid)) return pid;
    rmSync(join(dirname(path), name), { force: true });
  }
  return undefined;
}

/**
 * Takes a path for this process alone, among the processes of this machine. Each writes its claim before it looks for others: of two, one at least sees the
 * other, and no claim of a dead one has to be taken over.
 * @param patienceMilliseconds for a holder that is about to end
 * @returns what gives it back; a process that is killed gives it back as well
 * @throws what `refusal` makes of the holder's process id
 */
export function lockPath(path: string, patienceMilliseconds: number, refusal: (holder: number) => Error): () => void {
  const claim = resolve(`${path}.lock-${process.pid}`);
  if (held.has(claim)) throw refusal(process.pid);
  for (let waited = 0; ; waited += restMilliseconds) {
    writeFileSync(claim, '', { mode: 0o600 });
    const rival = rivalOf(path);
    if (rival === undefined) break;
    rmSync(claim, { force: true });
    if (waited >= patienceMilliseconds) throw refusal(rival);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, restMilliseconds);
  }
  held.add(claim);
  return () => {
    rmSync(claim, { force: true });
    held.delete(claim);
  };
}
