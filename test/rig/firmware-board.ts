// The C reference firmware on its POSIX board, as a process: built by its Makefile, spoken to at the address that it prints.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { packageFolder } from '../../server/version.js';

export const firmwareFolder = join(packageFolder(), 'firmware-protocol', 'firmware');

const canRun = (command: string) => spawnSync('which', [command]).status === 0;
const libraryFolders = ['/usr/lib', ...readdirSync('/usr/lib').filter((name) => name.endsWith('-linux-gnu')).map((name) => join('/usr/lib', name))];
const hasNanopb = canRun('protoc-gen-nanopb') && canRun('protoc') && libraryFolders.some((folder) => existsSync(join(folder, 'libprotobuf-nanopb.a')));

/** Why the firmware cannot be built here; false where it can. */
export const firmwareSkip = ['gcc', 'make'].every(canRun) && hasNanopb ? false : 'needs gcc, make and nanopb';
/** Native, with sanitizers, or built for a Cortex-A9 and run by an emulator. */
export type Build = 'native' | 'sanitize' | 'arm';

/** Makes a target of the Makefile, with what it needs. */
export function make(target: string): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('make', ['-C', firmwareFolder, '-j2', target], { encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

function armProblem(): string | false {
  if (!['arm-linux-gnueabihf-gcc', 'qemu-arm'].every(canRun)) return 'needs arm-linux-gnueabihf-gcc and qemu-arm';
  return make('arm-nanopb').status === 0 ? false : 'needs nanopb for armhf';
}

/** Why it cannot be built and run for a Cortex-A9; false where it can. */
export const armSkip = firmwareSkip || armProblem();

export class FirmwareBoard {
  private constructor(readonly address: string, private readonly child: ChildProcess, private readonly complaints: string[]) {}

  static async start(build: Build, ...choices: string[]): Promise<FirmwareBoard> {
    const path = join(firmwareFolder, 'build', build, 'prime-firmware');
    const [command, ...before] = build === 'arm' ? ['qemu-arm', path] : [path];
    const child = spawn(command, [...before, '--exit-with-parent', ...choices], { stdio: ['pipe', 'pipe', 'pipe'] });
    const complaints: string[] = [];
    child.stderr.on('data', (text: Buffer) => complaints.push(text.toString()));
    const [line] = (await Promise.race([once(createInterface({ input: child.stdout }), 'line'), once(child, 'exit')])) as [unknown];
    if (typeof line !== 'string') throw new Error(`the firmware ended: ${complaints.join('')}`);
    return new FirmwareBoard((JSON.parse(line) as { address: string }).address, child, complaints);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** SIGHUP is the reset button; SIGSTOP and SIGCONT hold the controller and let it go. */
  signal(name: 'SIGHUP' | 'SIGSTOP' | 'SIGCONT'): void {
    this.child.kill(name);
  }

  /** Ends the board. @throws Error where a sanitizer has spoken, or it did not end as it should */
  async close(): Promise<void> {
    const ended = this.child.exitCode === null ? once(this.child, 'exit') : Promise.resolve([]);
    this.child.kill('SIGTERM');
    await ended;
    if (this.child.exitCode !== 0 || this.complaints.length > 0) throw new Error(`the firmware ended with ${this.child.exitCode}: ${this.complaints.join('')}`);
  }
}
