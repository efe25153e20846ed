import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Address, parseAddress } from '../../driver/index.js';
import { isErrorCode, MacroError } from '../../proto/error.js';

/** What a `sim:` address says. */
export interface SimulatorAddress {
  readonly profile: string;
  readonly seed: number;
  readonly state: 'formed' | 'pristine';
  readonly transport: 'tcp' | 'pty';
  readonly pace: 'none' | 'real';
  readonly chip?: string;
  readonly snapshot?: string;
  readonly profileFile?: string;
}

const scheme = 'sim:';
const startMilliseconds = 20_000;
const longestErrorCharacters = 4000;
const optionNames = ['seed', 'state', 'chip', 'snapshot', 'profile', 'transport', 'pace'] as const;

export const isSimulatorAddress = (text: string): boolean => text.startsWith(scheme);

function refuse(text: string, problem: string): never {
  throw new MacroError('BAD_ADDRESS', `"${text}": ${problem}`, { field: 'address' });
}

/**
 * Reads `sim:PROFILE[?seed=N&state=formed|pristine&chip=FILE&snapshot=FILE&profile=FILE&transport=tcp|pty&pace=none|real]`.
 * @throws MacroError BAD_ADDRESS, naming the option and its choices
 */
export function parseSimulatorAddress(text: string): SimulatorAddress {
  const [profile = '', query = ''] = text.slice(scheme.length).split(/\?(.*)/s, 2);
  if (!/^[a-z][a-z-]*$/.test(profile)) refuse(text, 'a profile follows sim:, such as sim:lab');
  const options = new URLSearchParams(query);
  const names = [...options.keys()];
  for (const name of names) {
    if (!optionNames.some((known) => known === name)) refuse(text, `there is no option "${name}"; there are ${optionNames.join(', ')}`);
    if (names.indexOf(name) !== names.lastIndexOf(name)) refuse(text, `${name} is given twice`);
    if (options.get(name) === '') refuse(text, `${name} is empty`);
  }
  const choose = <Choice extends string>(name: (typeof optionNames)[number], ...choices: [Choice, ...Choice[]]): Choice => {
    const given = options.get(name) ?? choices[0];
    return choices.find((choice) => choice === given) ?? refuse(text, `${name} is "${given}"; it is ${choices.join(' or ')}`);
  };
  const seed = options.get('seed') ?? '1';
  if (!/^\d{1,10}$/.test(seed) || Number(seed) > 0xffffffff) refuse(text, `seed is "${seed}"; it is an integer from 0 to 4294967295`);
  const file = (name: 'chip' | 'snapshot' | 'profile') => options.get(name) ?? undefined;
  const [chip, snapshot, profileFile] = [file('chip'), file('snapshot'), file('profile')];
  return {
    profile,
    seed: Number(seed),
    state: choose('state', 'formed', 'pristine'),
    transport: choose('transport', 'tcp', 'pty'),
    pace: choose('pace', 'none', 'real'),
    ...(chip !== undefined && { chip }),
    ...(snapshot !== undefined && { snapshot }),
    ...(profileFile !== undefined && { profileFile }),
  };
}

/** The compiled simulator of this checkout. Sources and build both lie below the folder that holds package.json. */
export function simulatorProgram(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const above = dirname(folder);
    if (above === folder) throw new MacroError('SETUP_REQUIRED', 'the folder of this program holds no package.json');
    folder = above;
  }
  const program = join(folder, 'dist', 'sim', 'process', 'main.js');
  if (!existsSync(program)) throw new MacroError('SETUP_REQUIRED', 'the simulator is not built');
  return program;
}

export function simulatorArguments(address: SimulatorAddress): string[] {
  const { profile, seed, state, transport, pace, chip, snapshot, profileFile } = address;
  const line = transport === 'pty' ? ['--pty'] : ['--listen', 'tcp://127.0.0.1:0'];
  const option = (name: string, value: string | undefined) => (value === undefined ? [] : [name, value]);
  return [
    '--profile', profile, '--seed', String(seed), '--state', state, '--pace', pace, '--exit-with-parent', ...line,
    ...option('--chip', chip), ...option('--snapshot', snapshot), ...option('--profile-file', profileFile),
  ];
}

/** What the simulator said when it could not start, with its own code where it has one. */
function startError(stderr: string, code: number | null): MacroError {
  const match = /^([A-Z]+(?:_[A-Z]+)+): (.*)$/m.exec(stderr);
  if (match !== null && isErrorCode(match[1])) {
    const whole = match[2];
    const remedy = new MacroError(match[1], '').remedy;
    return new MacroError(match[1], whole.replace(`. ${remedy}.`, ''));
  }
  return new MacroError('DEVICE_UNREACHABLE', `the simulator ended with ${code ?? 'a signal'} before it was ready: ${stderr.trim().slice(-300)}`);
}

/** A simulator as a child process: started when a line to it is wanted, started anew if it died, ended with this process. */
export class SimulatorProcess {
  private child: ChildProcess | undefined;
  private started: Promise<Address> | undefined;
  private isClosed = false;

  constructor(private readonly address: SimulatorAddress) {}

  get processId(): number | undefined {
    return this.child?.pid;
  }

  /** Where the simulator listens; starts it if none runs. */
  line(): Promise<Address> {
    if (this.isClosed) return Promise.reject(new MacroError('DEVICE_UNREACHABLE', 'the simulator was closed'));
    this.started ??= this.start();
    return this.started;
  }

  async close(): Promise<void> {
    this.isClosed = true;
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
    });
    child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), 2000);
    await ended;
    clearTimeout(force);
  }

  private start(): Promise<Address> {
    const child = spawn(process.execPath, [simulatorProgram(), ...simulatorArguments(this.address)], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.child = child;
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr = (stderr + text).slice(-longestErrorCharacters);
    });
    child.stdin.on('error', () => undefined);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), startMilliseconds);
      const lines = createInterface({ input: child.stdout });
      lines.once('line', (line) => {
        clearTimeout(timer);
        try {
          resolve(parseAddress((JSON.parse(line) as { address: string }).address));
        } catch (error) {
          reject(new MacroError('DEVICE_UNREACHABLE', `the simulator says "${line.slice(0, 100)}" instead of its address`, { cause: error }));
        }
      });
      child.once('error', (error) => reject(new MacroError('DEVICE_UNREACHABLE', `the simulator cannot be started: ${error.message}`)));
      child.once('close', (code) => {
        clearTimeout(timer);
        lines.close();
        this.started = undefined;
        reject(startError(stderr, code));
      });
    });
  }
}
