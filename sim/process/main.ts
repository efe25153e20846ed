// The simulated board as a process. Prints {"address":"…"} as its first line, then serves hosts until it is told to end.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { platformClock } from '../../firmware-protocol/clock.js';
import { bitLineCount, sourceLineCount } from '../../firmware-protocol/limits.js';
import { MacroError } from '../../proto/error.js';
import { watchParent } from '../../proto/process/parent.js';
import { Board } from '../board.js';
import { Chip } from '../chip.js';
import { firmwares } from '../firmware.js';
import { useSweeps } from '../line-resistance.js';
import { overrideProfile, type Profile, profileNamed } from '../profile.js';
import { profileSchema } from '../profile-fields.js';
import { ChipFile, lockChipFile, readChipFile } from './chip-file.js';
import { readKernel } from './kernel-file.js';
import { compiledLineSweeps } from './line-program.js';
import { listenPty } from './listen-pty.js';
import { listenTcp } from './listen-tcp.js';
import { readSnapshotFile } from './snapshot-file.js';

const firmwareNames = Object.keys(firmwares) as (keyof typeof firmwares)[];

/** With their help: what the value is, and what it is for. */
const options = {
  profile: { type: 'string', default: 'lab', help: ['name', 'physics of the chip: lab, ideal, lab-full, lab-paper, and their -quiet forms'] },
  'profile-file': { type: 'string', help: ['file', 'JSON that overrides fields of the profile'] },
  seed: { type: 'string', default: '1', help: ['integer', 'which chip of its kind it is'] },
  state: { type: 'string', default: 'formed', help: ['state', 'formed or pristine'] },
  chip: { type: 'string', help: ['file', 'keep the chip here from run to run'] },
  snapshot: { type: 'string', help: ['file', 'conductances of the cells, .npy or .npz'] },
  pace: { type: 'string', default: 'none', help: ['pace', 'real: operations take the time that the model accounts for them; or none'] },
  firmware: { type: 'string', default: 'current', help: ['name', `what the board runs: ${firmwareNames.join(', ')}`] },
  listen: { type: 'string', default: 'tcp://127.0.0.1:7700', help: ['address', 'where hosts connect; port 0 takes a free one'] },
  pty: { type: 'boolean', default: false, help: ['', 'a pseudo-terminal instead'] },
  'exit-with-parent': { type: 'boolean', default: false, help: ['', 'end when stdin does'] },
  'profile-schema': { type: 'boolean', default: false, help: ['', 'print the JSON Schema of a profile file'] },
  help: { type: 'boolean', default: false, help: ['', 'print this'] },
} as const;

function helpText(): string {
  const lines = Object.entries(options).map(([name, option]) => {
    const [value, purpose] = option.help;
    const left = value === '' ? `--${name}` : `--${name} <${value}>`;
    const usual = 'default' in option && option.default !== false ? ` (default: ${option.default})` : '';
    return `  ${left.padEnd(24)}${purpose}${usual}`;
  });
  return ['Usage: prime sim [options]', '', 'run a simulated board; prints {"address":…} first', '', 'Options:', ...lines, ''].join('\n');
}

type Values = ReturnType<typeof readArguments>;

function readArguments() {
  try {
    return parseArgs({ options, allowPositionals: false }).values;
  } catch (error) {
    throw new MacroError('BAD_ARGUMENT', error instanceof Error ? error.message : String(error));
  }
}

function oneOf<Choice extends string>(field: string, value: string, ...choices: readonly Choice[]): Choice {
  const choice = choices.find((known) => known === value);
  if (choice === undefined) throw new MacroError('BAD_ARGUMENT', `--${field} is "${value}"; it is ${choices.join(' or ')}`, { field });
  return choice;
}

function readSeed(text: string): number {
  const seed = Number(text);
  if (/^\d+$/.test(text) && seed <= 0xffffffff) return seed;
  throw new MacroError('BAD_ARGUMENT', `--seed is "${text}"; it is an integer from 0 to 4294967295`, { field: 'seed' });
}

function readProfile(values: Values): Profile {
  const profile = profileNamed(values.profile);
  const path = values['profile-file'];
  if (path === undefined) return profile;
  try {
    return overrideProfile(profile, JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    if (error instanceof MacroError) throw error;
    throw new MacroError('BAD_PROFILE', `${path}: ${error instanceof Error ? error.message : String(error)}`, { field: 'profile' });
  }
}

function makeChip(values: Values, profile: Profile): Chip {
  const seed = readSeed(values.seed);
  const saved = values.chip === undefined ? undefined : readChipFile(values.chip, profile, seed);
  if (saved !== undefined) return saved;
  const isPristine = oneOf('state', values.state, 'formed', 'pristine') === 'pristine';
  const chip = isPristine ? Chip.pristine(profile, seed) : Chip.formed(profile, seed);
  if (values.snapshot !== undefined) {
    const { microsiemens, unformed } = readSnapshotFile(values.snapshot, [bitLineCount, sourceLineCount]);
    chip.setConductances(microsiemens, unformed);
  }
  return chip;
}

/** An immediate lets the line have its turn without the millisecond that a timer takes at least. */
function setTimer(action: () => void, delayMilliseconds: number): () => void {
  if (delayMilliseconds > 0) {
    const timer = setTimeout(action, delayMilliseconds);
    return () => clearTimeout(timer);
  }
  const immediate = setImmediate(action);
  return () => clearImmediate(immediate);
}

function makeBoard(values: Values): Board {
  useSweeps(compiledLineSweeps());
  if (values.chip !== undefined) process.once('exit', lockChipFile(values.chip));
  const chip = makeChip(values, readProfile(values));
  const file = values.chip === undefined ? undefined : new ChipFile(values.chip, chip);
  const clock = platformClock({ nowMilliseconds: () => performance.now(), setTimer });
  return new Board({
    chip,
    clock,
    prng: { nextUint32: () => randomBytes(4).readUInt32LE() },
    sha256: (bytes) => new Uint8Array(createHash('sha256').update(bytes).digest()),
    pace: oneOf('pace', values.pace, 'none', 'real'),
    firmware: firmwares[oneOf('firmware', values.firmware, ...firmwareNames)],
    kernel: readKernel(),
    ...(file !== undefined && { note: (changed: Chip) => file.note(changed), persist: (changed: Chip) => file.persist(changed) }),
  });
}

async function serve(values: Values, board: Board): Promise<{ address: string; close(): void }> {
  if (values.pty) return listenPty((channel) => board.attach(channel));
  const match = /^tcp:\/\/(\[[^\]]+\]|[^:]+):(\d+)$/.exec(values.listen);
  if (match === null) throw new MacroError('BAD_ARGUMENT', `--listen is "${values.listen}"; it is tcp://host:port`, { field: 'listen' });
  return listenTcp(match[1].replace(/^\[|\]$/g, ''), Number(match[2]), (channel) => board.attach(channel));
}

async function main(): Promise<void> {
  const values = readArguments();
  if (values.help) {
    process.stdout.write(helpText());
    return;
  }
  if (values['profile-schema']) {
    process.stdout.write(`${JSON.stringify(profileSchema(), null, 2)}\n`);
    return;
  }
  const board = makeBoard(values);
  const line = await serve(values, board);
  const end = () => {
    board.close();
    line.close();
    process.exit(0);
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.on('SIGHUP', () => board.restart());
  process.once('disconnect', end); // where `prime sim` started it: that was killed
  if (values['exit-with-parent']) watchParent(end);
  process.stdout.write(`${JSON.stringify({ address: line.address })}\n`);
}

main().catch((error: unknown) => {
  const known = MacroError.from(error);
  process.stderr.write(`${known.message}\n`);
  process.exit(known.category === 'usage' ? 2 : 1);
});
