import { Command, CommanderError } from 'commander';
import { MacroError } from '../../proto/error.js';
import { addChip } from './chip.js';
import { type Console, describeError, exitCodeOf, exitDone, exitFailed, processConsole } from './console.js';
import { type ConformanceArguments, conformance } from './conformance.js';
import { type DecodeArguments, decode } from './decode.js';
import { devices } from './devices.js';
import { type InferArguments, infer } from './infer.js';
import { type JobsArguments, jobs } from './jobs.js';
import { type ServeArguments, serve } from './serve.js';
import type { ServiceChoice } from './service-choice.js';
import { version } from '../version.js';
import { simulate } from './sim.js';
import { addTwin } from './twin.js';

type Run = (exitCode: number) => void;

const withCapture = (command: Command) =>
  command
    .option('--capture <file>', 'record every byte of the lines, for prime decode')
    .option('--capture-limit <size>', 'size of one capture file and how many there are, as 64Mx4 (default: 64Mx4)');

const withService = (command: Command) =>
  withCapture(command)
    .option('--local <address>', 'start the service for this command alone: serial:, tcp: or sim: address of the device')
    .option('--server <url>', 'service to use (default: PRIME_SERVER, then http://127.0.0.1:8600)')
    .option('--connect-timeout <seconds>', 'how long a device may take to answer', '10');

function addInfer(program: Command, console: Console, done: Run): void {
  withService(program.command('infer').description('classify recordings on the device'))
    .requiredOption('--model <bundle>', 'folder of a bundle')
    .requiredOption('--input <path...>', 'recordings (.bin, .bs2) or folders of them')
    .option('--split <rule>', 'how events are shared out over timesteps: number or time (default: number)')
    .option('--threshold <confidence>', 'stop above this confidence, between 0 and 1 (default: the bundle\'s)')
    .option('--no-early-stop', 'run all timesteps')
    .option('--execution <where>', 'who steps the neurons: auto, device or host (default: auto)')
    .option('--device <id>', 'device of the service, where it has several')
    .option('--keep-going', 'leave out inputs that are damaged', false)
    .option('--json', 'one JSON object a line', false)
    .action(async (given: InferArguments) => done(await infer(given, console)));
}

function addServe(program: Command, console: Console, done: Run): void {
  withCapture(program.command('serve'))
    .description('run the service')
    .option('--host <host>', 'address to listen on; beyond loopback PRIME_TOKEN is needed', '127.0.0.1')
    .option('--port <port>', 'TCP port, 0 for any free one', '8600')
    .option('--device <address...>', 'devices to own: serial:, tcp: or sim: addresses')
    .option('--connect-timeout <seconds>', 'how long a device may take to answer', '10')
    .action(async (given: ServeArguments) => done(await serve(given, console)));
}

function addLists(program: Command, console: Console, done: Run): void {
  withService(program.command('jobs').description('list jobs, or show one'))
    .argument('[id]', 'job to show')
    .option('--stop', 'stop that job', false)
    .option('--state <state>', 'only jobs in this state')
    .option('--json', 'one JSON object a line', false)
    .action(async (id: string | undefined, given: JobsArguments) => done(await jobs(id, given, console)));
  withService(program.command('devices').description('list devices and their states'))
    .option('--json', 'one JSON object a line', false)
    .action(async (given: ServiceChoice & { json: boolean }) => done(await devices(given, console)));
}

function addConformance(program: Command, console: Console, done: Run): void {
  withCapture(program.command('conformance'))
    .description('hold a board to PROTOCOL.md and NUMERICS.md, item by item')
    .argument('<address>', 'serial:, tcp: or sim: address of the board')
    .option('--allow-pulses <region>', 'cells that may be pulsed, as "bl 0-3, sl 0-3"')
    .option('--allow-restart', 'the suite may stop the board by ESTOP and restart its controller', false)
    .option('--only <name...>', 'items or groups to run')
    .option('--junit <file>', 'write the report as JUnit XML as well')
    .option('--json', 'one JSON object an item', false)
    .option('--connect-timeout <seconds>', 'how long the board may take to answer', '10')
    .action(async (address: string, given: ConformanceArguments) => done(await conformance(address, given, console)));
}

function addDecode(program: Command, console: Console, done: Run): void {
  program
    .command('decode')
    .description('print a capture of a line, frame by frame')
    .argument('<file>', 'capture that --capture wrote, - for stdin')
    .option('--json', 'one JSON object a line', false)
    .option('--hex', 'print the bytes as well', false)
    .option('--follow', 'wait for more at the end of the file, as tail does', false)
    .option('--raw', 'the file holds plain bytes of the line', false)
    .option('--sender <end>', 'who sent plain bytes: host or board (default: guessed frame by frame)')
    .action(async (file: string, given: DecodeArguments) => done(await decode(file, given, console)));
}

function addSim(program: Command, console: Console, done: Run): void {
  program
    .command('sim')
    .description('run a simulated board; prints {"address":…} first (its options: prime sim --help)')
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[options...]')
    .action(async (given: string[]) => done(await simulate(given, console)));
}

function commandLine(console: Console, done: Run): Command {
  const program = new Command('prime')
    .description('control service of a memristor bench')
    .version(version())
    .option('--debug', 'print where an error came from')
    .enablePositionalOptions()
    .configureOutput({ writeOut: (text) => console.out(text), writeErr: () => undefined });
  addInfer(program, console, done);
  addServe(program, console, done);
  addLists(program, console, done);
  addConformance(program, console, done);
  addDecode(program, console, done);
  addSim(program, console, done);
  addChip(program, withService, console, done);
  addTwin(program, withService, console, done);
  const all = [...program.commands, ...program.commands.flatMap(({ commands }) => commands)];
  for (const command of [program, ...all]) command.exitOverride().configureOutput(program.configureOutput());
  for (const command of all) if (command.name() !== 'sim') command.option('--debug', 'print where an error came from');
  return program;
}

/** What commander refuses, as an error of the table. */
function argumentError(error: CommanderError): MacroError {
  const message = error.message.replace(/^error: /, '').replace(/\.$/, '');
  return new MacroError('BAD_ARGUMENT', message === '(outputHelp)' ? 'no command was given' : message);
}

/**
 * The command line.
 *
 * @param argv arguments after the program's name
 * @returns exit code: 0 done, 1 the work failed, 2 wrong usage or input
 */
export async function main(argv: readonly string[], given?: Console): Promise<number> {
  const console = given ?? processConsole();
  let exitCode = exitDone;
  try {
    const program = commandLine(console, (code) => {
      exitCode = code;
    });
    await program.parseAsync([...argv], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return exitDone;
    if (console.signal.aborted) return exitFailed;
    const known = error instanceof CommanderError ? argumentError(error) : error;
    console.error(describeError(known, argv.includes('--debug')));
    return exitCodeOf(known);
  } finally {
    if (given === undefined) (console as ReturnType<typeof processConsole>).dispose();
  }
}
