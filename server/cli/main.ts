import { Command, CommanderError } from 'commander';
import { stopRules } from '../../firmware-protocol/numerics/index.js';
import { MacroError } from '../../proto/error.js';
import {
  type ApplyMaskArguments, type ArrayArguments, applyMask, type CharacteriseArguments, characterise,
  type FormArguments, form, type ProgramArguments, program as programCells, type ReadArguments, read,
  type IvSweepArguments, ivSweep, type RetentionArguments, retention, selfTest,
} from './array.js';
import { type CalibrateArguments, calibrate } from './calibration.js';
import { addChip } from './chip.js';
import { type Console, describeError, exitCodeOf, exitDone, exitFailed, processConsole } from './console.js';
import { type ConformanceArguments, conformance } from './conformance.js';
import { addDataset } from './dataset.js';
import { type DecodeArguments, decode } from './decode.js';
import { devices } from './devices.js';
import { type InferArguments, infer } from './infer.js';
import { type JobsArguments, jobs } from './jobs.js';
import { type ServeArguments, serve } from './serve.js';
import { addModel } from './model.js';
import type { ServiceChoice } from './service-choice.js';
import { version } from '../version.js';
import { simulate } from './sim.js';
import { type BringUpArguments, bringUp } from './bring-up.js';
import { type SweepArguments, sweep } from './sweep.js';
import { type TrainArguments, train } from './train.js';
import { type WearArguments, wear } from './wear.js';
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
    .option('--audit <fraction>', 'run this part of the recordings on behind their stop, and tell what it costs and saves')
    .option('--rule <name>', `what the early stop is decided by: ${stopRules.join(', ')} (default: the bundle's)`)
    .option('--threshold <confidence>', 'stop above this confidence, or one a timestep with commas (default: stored for chip and bundle, else the bundle\'s)')
    .option('--no-early-stop', 'run all timesteps')
    .option('--execution <where>', 'who steps the neurons: auto, device or host (default: auto)')
    .option('--device <id>', 'device of the service, where it has several')
    .option('--keep-going', 'leave out inputs that are damaged', false)
    .option('--json', 'one JSON object a line', false)
    .action(async (given: InferArguments) => done(await infer(given, console)));
}

function addSweep(program: Command, console: Console, done: Run): void {
  withService(program.command('sweep').description('accuracy, timesteps and energy of each stop rule at each threshold, on a device'))
    .requiredOption('--model <bundle>', 'folder of a bundle')
    .requiredOption('--input <source...>', 'labelled recordings: folders, archives, mnist:test?count=1000')
    .option('--rule <name...>', `of ${stopRules.join(', ')} (default: all)`)
    .option('--loss <fraction>', 'accuracy that a fitted threshold may cost', '0.001')
    .option('--halves <count>', 'how often the recordings are divided, to fit on one half and try on the other', '20')
    .option('--seed <number>', 'of the halves', '1')
    .option('--split <rule>', 'how events are shared out over timesteps: number or time (default: number)')
    .option('--execution <where>', 'who steps the neurons: auto, device or host (default: auto)')
    .option('--device <id>', 'device of the service, where it has several')
    .option('--csv <file>', 'write every point')
    .option('--svg <file>', 'draw the frontier')
    .option('--json', 'one JSON object a rule', false)
    .action(async (given: SweepArguments) => done(await sweep(given, console)));
}

function addServe(program: Command, console: Console, done: Run): void {
  withCapture(program.command('serve'))
    .description('run the service')
    .option('--host <host>', 'address to listen on; beyond loopback PRIME_TOKEN is needed', '127.0.0.1')
    .option('--port <port>', 'TCP port, 0 for any free one', '8600')
    .option('--device <address...>', 'devices to own: serial:, tcp: or sim: addresses')
    .option('--connect-timeout <seconds>', 'how long a device may take to answer', '10')
    .option('--pulses-per-user <count>', 'pulses that one user may give to one chip in all their jobs (default: any number)')
    .option('--exit-with-parent', 'end when stdin does', false)
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

/** What all commands on an array take. */
const onArray = (command: Command) =>
  withService(command)
    .option('--device <id>', 'device of the service, where it has several')
    .option('--user <name>', 'whose pulses they are, for the ledger')
    .option('--dry-run', 'only say what it would do: pulses, time, energy, wear, limits that it would break', false)
    .option('--json', 'one JSON object', false);

const withRegion = (command: Command, usual = 'the whole array') => command.option('--region <cells>', `as "bl 0-3, sl 0-3" (default: ${usual})`);
const withBudget = (command: Command) => command.option('--maximum-pulses <count>', 'budget of the job; more in the worst case is refused');

const withStaircase = (command: Command) =>
  command
    .option('--first <millivolts>', 'first amplitude')
    .option('--step <millivolts>', 'step of the staircase')
    .option('--last <millivolts>', 'last amplitude')
    .option('--width <nanoseconds>', 'width of a pulse')
    .option('--compliance <microamperes>', 'what the word line lets through');

const withSearch = (command: Command) =>
  onArray(command)
    .option('--out <bundle>', 'folder that the bundle is written to')
    .option('--data <source...>', 'what to learn from: folders like Train/7/60001.bin, archives of such, idx files, mnist:train?count=6000&seed=1')
    .option('--network <file>', 'network.json (default: the published classification network)')
    .option('--averages <count>', 'reads of a cell that are averaged (default: 16)')
    .option('--split <rule>', 'how events are shared out over timesteps: number or time (default: number)')
    .option('--epochs <count>', 'passes over the recordings (default: 60)')
    .option('--batch <recordings>', 'recordings of a step (default: 32)')
    .option('--learning-rate <rate>', 'of the first step; a cosine leads to 0 (default: 0.002)')
    .option('--weight-decay <rate>', 'added to the gradient of a score (default: 0.0005)')
    .option('--sparsity <fractions>', 'part of the pairs with a device to prune; one, or one a layer: 0.5,0.5,0.6 (default: 0.5)')
    .option('--seed <number>', 'of scores, order and noise (default: 1)')
    .option('--timestep-loss <fraction>', 'part of the loss that is of every timestep, so that early decisions are better (default: 0)')
    .option('--noise', 'draw weights anew for each group of recordings, as reads would find them', false)
    .option('--read-noise <fraction>', 'noise of a read of a cell (default with --noise: 0.02)')
    .option('--residual-sd <microsiemens>', 'spread of what pruned cells conduct (default with --noise: 0.3)')
    .option('--validation <fraction>', 'part of the recordings that is only looked at (default: 0.1)');

function addTrain(program: Command, console: Console, done: Run): void {
  withSearch(program.command('train').description('search which synapses to keep, on the conductances that the chip has'))
    .option('--snapshot <digest>', 'a map of the chip that the service holds (default: the chip is read)')
    .action(async (given: TrainArguments) => done(await train(given, console)));
  withBudget(withSearch(program.command('bring-up').description('form, read, train, apply-mask, verify and infer: from a fresh chip to a measured classifier')))
    .option('--test <source...>', 'recordings that nothing is chosen on, for software, twin and device to be compared on')
    .option('--target-yield <fraction>', 'part of the cells to form (default: 0.5)')
    .action(async (given: BringUpArguments) => done(await bringUp(given, console)));
}

function addForm(program: Command, console: Console, done: Run): void {
  withStaircase(withBudget(withRegion(onArray(program.command('form').description('form pristine cells by a staircase, usually 2.9 to 3.9 V by 5 mV')))))
    .option('--target-yield <fraction>', 'stop where so many of the cells are formed (default: 1)')
    .action(async (given: FormArguments) => done(await form(given, console)));
}

function addArray(program: Command, console: Console, done: Run): void {
  addTrain(program, console, done);
  addForm(program, console, done);
  withRegion(onArray(program.command('read').description('read what cells conduct')))
    .option('--averages <count>', 'reads of a cell that are averaged (default: 4)')
    .option('--out <file>', 'keep a snapshot of the whole array: .npz, .h5 or .csv; or the codes of a region: .npy; or its µS: .csv')
    .action(async (given: ReadArguments) => done(await read(given, console)));
  withBudget(withRegion(onArray(program.command('program').description('program cells to a target conductance'))))
    .option('--target <microsiemens>', 'conductance of all cells of the region')
    .option('--cells <file>', 'lines of BIT LINE,SOURCE LINE,MICROSIEMENS instead')
    .option('--tolerance <fraction>', 'of the target (default: 0.05)')
    .option('--pulses-per-cell <count>', 'at most')
    .action(async (given: ProgramArguments) => done(await programCells(given, console)));
  withBudget(onArray(program.command('apply-mask').description('RESET what the mask of a bundle prunes and still conducts')))
    .requiredOption('--model <bundle>', 'folder of a bundle that was made on this chip')
    .option('--regrow <how>', 'kept pairs that were RESET before: refuse, redraw (SET, new values) or program (about the recorded ones)')
    .option('--residual-limit <microsiemens>', 'what a pruned cell may conduct (default: 4)')
    .option('--tolerance <fraction>', 'of values that are programmed again (default: 0.05)')
    .option('--snapshot <file>', 'the map of codes that the bundle was made on, .npy')
    .option('--input <path...>', 'labelled recordings, on which the accuracy before and after is predicted')
    .option('--split <rule>', 'how their events are shared out over timesteps: number or time (default: number)')
    .option('--no-calibrate', 'do not repeat the last calibration of the chip behind it')
    .action(async (given: ApplyMaskArguments) => done(await applyMask(given, console)));
  onArray(program.command('self-test').description('check line, board and array; pulses nothing'))
    .action(async (given: ArrayArguments) => done(await selfTest(given, console)));
  const characteriseCommand = onArray(program.command('characterise').description('take a curve of some cells; it wears them: see its dry run'));
  withStaircase(withBudget(withRegion(characteriseCommand, 'bl 0-15, sl 0-15')))
    .requiredOption('--sweep <name>', 'forming, reset, set, noise or endurance')
    .option('--averages <count>', 'reads of a cell behind each step (default: 4)')
    .option('--cycles <count>', 'RESET and SET in turn, of an endurance sweep (default: 10)')
    .option('--reads <count>', 'of a noise sweep (default: 32)')
    .option('--out <file>', 'keep the curve, .csv')
    .action(async (given: CharacteriseArguments) => done(await characterise(given, console)));
  withService(program.command('wear').description('every pulse that the cells of a chip have had, and the time of its bit lines under voltage'))
    .option('--device <id>', 'device of the service, where it has several')
    .option('--json', 'one JSON object', false)
    .action(async (given: WearArguments) => done(await wear(given, console)));
}

function addCalibrate(program: Command, console: Console, done: Run): void {
  onArray(program.command('calibrate').description('gain, offset, full scale and noise of every converter; pulses nothing'))
    .option('--averages <count>', 'reads of a cell that are averaged (default: 16)')
    .option('--reference <reference...>', 'NAME,BIT LINE,SOURCE LINE,MICROSIEMENS of a resistor in the place of a cell; or tcp://host:port of its source meter')
    .option('--temperature <celsius>', 'of the chip, where it is known')
    .option('--out <file>', 'keep the map of noise, .npy')
    .action(async (given: CalibrateArguments) => done(await calibrate(given, console)));
}

function addRetention(program: Command, console: Console, done: Run): void {
  const command = onArray(program.command('retention').description('read the same cells again at log-spaced times; pulses nothing'));
  withRegion(command, 'bl 0-15, sl 0-511')
    .option('--averages <count>', 'reads of a cell that are averaged (default: 16)')
    .option('--first-seconds <seconds>', 'first time after the first read (default: 1)')
    .option('--last-seconds <seconds>', 'last time (default: 1000)')
    .option('--points-per-decade <count>', 'how many times a decade (default: 3)')
    .option('--since-last-pulse <seconds>', 'since the cells were last pulsed, where it is known')
    .option('--out <file>', 'keep the codes, times × cells, .npy; the times beside it as .seconds.npy')
    .action(async (given: RetentionArguments) => done(await retention(given, console)));
}

function addIvSweep(program: Command, console: Console, done: Run): void {
  const about = 'current against voltage of one cell: 0, up, 0, the other way, 0; it wears the cell: see its dry run';
  withBudget(onArray(program.command('iv-sweep').description(about)))
    .requiredOption('--cell <cell>', 'as "bl 3, sl 7"')
    .option('--set <millivolts>', 'last amplitude in SET polarity (default: 1300, and --reset 1600, where neither is given)')
    .option('--reset <millivolts>', 'last amplitude in RESET polarity')
    .option('--forming <millivolts>', 'form a pristine cell instead: last amplitude; it ends where the cell forms')
    .option('--step <millivolts>', 'from step to step (default: 100; 20 of a forming)')
    .option('--dwell <nanoseconds>', 'how long each step lasts (default: 100000)')
    .option('--compliance <microamperes>', 'what the word line lets through (default: 50; 200 of a RESET)')
    .option('--cycles <count>', 'how often (default: 1)')
    .option('--out <file>', 'keep the curve, .csv')
    .action(async (given: IvSweepArguments) => done(await ivSweep(given, console)));
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
  addSweep(program, console, done);
  addServe(program, console, done);
  addLists(program, console, done);
  addArray(program, console, done);
  addCalibrate(program, console, done);
  addRetention(program, console, done);
  addIvSweep(program, console, done);
  addConformance(program, console, done);
  addDecode(program, console, done);
  addSim(program, console, done);
  addChip(program, withService, console, done);
  addTwin(program, withService, console, done);
  addDataset(program, console, done);
  addModel(program, console, done);
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
