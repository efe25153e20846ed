// The command line as a person or a script meets it: exit codes, streams, and that nothing runs before all inputs are good.
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import { isErrorCode } from '../proto/error.js';
import { main } from '../server/cli/main.js';
import { main as demonstrate } from '../server/demonstration.js';
import { bufferConsole } from './console.js';
import { bundleFolder, digitFolder } from './digits.js';
import { throwAwayHome } from './service-bench.js';

const root = join(import.meta.dirname, '..');
const bundle = bundleFolder(t);
const timestepCount = 4;

async function prime(...argv: string[]) {
  const console = bufferConsole();
  const exitCode = await main(argv, console);
  return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
}

const errorLine = /^([A-Z]+(?:_[A-Z]+)+): .+\. .+\.$/m;
const codeOf = (stderr: string) => errorLine.exec(stderr)?.[1] ?? '';

t.test('wrong usage exits 2 with a code of the table on stderr and nothing on stdout', async (t) => {
  const wrong: [string, string[]][] = [
    ['BAD_ARGUMENT', []],
    ['BAD_ARGUMENT', ['fly']],
    ['BAD_ARGUMENT', ['infer', '--model', bundle]],
    ['BAD_ARGUMENT', ['infer', '--model', bundle, '--input', root, '--frobnicate']],
    ['BAD_THRESHOLD', ['infer', '--model', bundle, '--input', root, '--threshold', 'NaN']],
    ['BAD_THRESHOLD', ['infer', '--model', bundle, '--input', root, '--threshold', '1']],
    ['BAD_THRESHOLD', ['infer', '--model', bundle, '--input', root, '--threshold', '']],
    ['BAD_REQUEST', ['infer', '--model', bundle, '--input', root, '--split', 'halves']],
    ['BAD_REQUEST', ['infer', '--model', bundle, '--input', root, '--threshold', '0.5', '--no-early-stop']],
    ['MODEL_UNKNOWN', ['infer', '--model', join(root, 'nowhere'), '--input', root]],
    ['INPUT_NOT_FOUND', ['infer', '--model', bundle, '--input', join(root, 'nowhere')]],
    ['BAD_ARGUMENT', ['devices', '--local', 'sim:ideal', '--connect-timeout', '0']],
    ['BAD_ARGUMENT', ['devices', '--local', 'sim:ideal', '--server', 'http://127.0.0.1:1']],
    ['BAD_ADDRESS', ['devices', '--local', 'usb:0']],
    ['BAD_PROFILE', ['devices', '--local', 'sim:nowhere']],
    ['BAD_ARGUMENT', ['serve', '--port', '70000']],
    ['TOKEN_REQUIRED', ['serve', '--host', '0.0.0.0', '--port', '0']],
  ];
  for (const [code, argv] of wrong) {
    const { exitCode, stdout, stderr } = await prime(...argv);
    t.equal(codeOf(stderr), code, `prime ${argv.join(' ')}: ${stderr}`);
    t.ok(isErrorCode(code));
    t.equal(exitCode, 2, argv.join(' '));
    t.equal(stdout, '');
    t.notMatch(stderr, /\n\s+at /, 'no stack without --debug');
  }
});

t.test('--debug adds where an error came from', async (t) => {
  const { stderr } = await prime('infer', '--model', join(root, 'nowhere'), '--input', root, '--debug');
  t.match(stderr, /\n\s+at /);
});

t.test('a service that is not there is a failure, not wrong usage', async (t) => {
  const { exitCode, stderr } = await prime('devices', '--server', 'http://127.0.0.1:1');
  t.equal(codeOf(stderr), 'SERVICE_UNREACHABLE');
  t.equal(exitCode, 1);
});

t.test('of a job that was interrupted it says so, why, and what to do next', async (t) => {
  const lost = { code: 'DEVICE_LOST', detail: 'macro-0 went away', outcome: 'applied' };
  const ends = [
    { failure: lost, said: /^DEVICE_LOST: job a is INTERRUPTED: macro-0 went away\. .* submit the job again\.\n$/ },
    { failure: null, said: /^JOB_INTERRUPTED: the service ended while job a was running\. Submit the job again: .*\.\n$/ },
  ];
  for (const { failure, said } of ends) {
    const job = { id: 'a', state: 'INTERRUPTED', failure };
    const service = createServer(({ method }, response) => void response.end(JSON.stringify(method === 'POST' ? { job } : job)));
    service.listen(0, '127.0.0.1');
    await once(service, 'listening');
    const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
    const { exitCode, stderr } = await prime('read', '--server', url);
    t.match(stderr, said);
    t.equal(exitCode, 1);
    t.match(await prime('jobs', 'a', '--json', '--server', url), { stdout: /"INTERRUPTED"/, stderr: said, exitCode: 0 });
    service.close();
  }
});

t.test('help and version exit 0', async (t) => {
  t.equal((await prime('--version')).exitCode, 0);
  const help = await prime('infer', '--help');
  t.equal(help.exitCode, 0);
  t.match(help.stdout, /--keep-going/);
});

t.test('the launcher says what is missing in a checkout without a build', async (t) => {
  const checkout = mkdtempSync(join(tmpdir(), 'prime-hil-'));
  cpSync(join(root, 'server', 'bin'), join(checkout, 'server', 'bin'), { recursive: true });
  for (const file of ['package-lock.json', 'tsconfig.json', 'package.json']) cpSync(join(root, file), join(checkout, file));
  const launcher = join(checkout, 'server', 'bin', 'prime.js');
  const { status, stdout, stderr } = spawnSync(process.execPath, [launcher, 'devices'], { encoding: 'utf8' });
  t.equal(status, 2);
  t.equal(stdout, '');
  t.match(stderr, /^SETUP_REQUIRED: /);
});

t.test('infer prints one object a recording in the order of sorted paths, then the summary', async (t) => {
  const folder = digitFolder(t, 3);
  const argv = ['infer', '--local', 'sim:lab-paper', '--model', bundle, '--input', folder, '--json'];
  const { exitCode, stdout, stderr } = await prime(...argv);
  t.equal(exitCode, 0, stderr);
  const lines = stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
  t.equal(lines.length, 4);
  const inputs = lines.slice(0, 3).map(({ input }) => input);
  t.strictSame(inputs, [...inputs].sort());
  for (const line of lines.slice(0, 3)) {
    t.strictSame(Object.keys(line), ['input', 'label', 'prediction', 'stoppedAtTimestep', 'confidence', 'outputMean', 'clippedEvents']);
    t.equal(line.outputMean.length, 10);
    t.equal(line.label, Number(line.input.split('/').at(-2)));
    t.equal(line.prediction, line.outputMean.indexOf(Math.max(...line.outputMean)));
  }
  const { summary } = lines[3];
  t.equal(summary.recordings, 3);
  t.equal(summary.failed, 0);
  t.ok(Math.abs(summary.savedFraction - (1 - summary.meanTimesteps / timestepCount)) < 1e-5);
  t.ok(summary.energyNanojoules > 0 && summary.executionSeconds > 0);
  t.match(stderr, /^wall time [\d.]+ s$/m);
  t.equal((await prime(...argv)).stdout, stdout, 'the same command gives the same bytes');
});

t.test('a file that is far too large is told by its size, and not read', async (t) => {
  const folder = digitFolder(t, 1);
  const path = join(folder, '0', 'disk.bin');
  mkdirSync(join(folder, '0'), { recursive: true });
  writeFileSync(path, '');
  truncateSync(path, 3 * 2 ** 30);
  const { exitCode, stderr } = await prime('infer', '--local', 'sim:lab-paper', '--model', bundle, '--input', folder, '--json');
  t.equal(exitCode, 2);
  t.match(stderr, /^RECORDING_TOO_LARGE: .*disk\.bin has 3221225472 bytes, the limit is 5242880/m);
});

t.test('one bad input refuses the command; with --keep-going it has a line of its own and the exit code is 1', async (t) => {
  const folder = digitFolder(t, 2);
  mkdirSync(join(folder, '0'), { recursive: true });
  writeFileSync(join(folder, '0', 'cut.bin'), new Uint8Array(52));
  const argv = ['infer', '--local', 'sim:lab-paper', '--model', bundle, '--input', folder, '--json'];
  const refused = await prime(...argv);
  t.equal(refused.exitCode, 2);
  t.equal(refused.stdout, '');
  t.equal(codeOf(refused.stderr), 'RECORDING_TRUNCATED');
  const kept = await prime(...argv, '--keep-going');
  t.equal(kept.exitCode, 1);
  const lines = kept.stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
  t.equal(lines.length, 4);
  const bad = lines.find(({ error }) => error !== undefined);
  t.strictSame(bad.error, { code: 'RECORDING_TRUNCATED' });
  t.match(bad.input, /cut\.bin$/);
  t.equal(lines[3].summary.recordings, 3);
  t.equal(lines[3].summary.failed, 1);
});

t.test('a person gets tables', async (t) => {
  const folder = digitFolder(t, 2);
  const answer = await prime('infer', '--local', 'sim:lab-paper', '--model', bundle, '--input', folder);
  t.equal(answer.exitCode, 0, answer.stderr);
  t.match(answer.stdout, /stopped at timestep/);
  t.match(answer.stdout, /mean timesteps/);
  const devices = await prime('devices', '--local', 'sim:lab-paper');
  t.match(devices.stdout, /sim-lab/);
  const jobs = await prime('jobs', '--local', 'sim:lab-paper');
  t.equal(jobs.exitCode, 0, jobs.stderr);
});

t.test('serve prints its URL first, serves clients that know the secret, keeps its store for itself, and ends when it is told to', async (t) => {
  const environment = { PRIME_TOKEN: 'a-secret-of-this-test', PRIME_HOME: throwAwayHome(t) };
  const console = bufferConsole({ ...environment, PRIME_LOG: 'silent' });
  const served = main(['serve', '--port', '0', '--device', 'left=sim:ideal'], console);
  const { url } = JSON.parse(await console.firstLine()) as { url: string };
  const client = bufferConsole(environment);
  t.equal(await main(['devices', '--server', url, '--json'], client), 0, client.stderr());
  t.match(JSON.parse(client.stdout()), { id: 'left', state: 'ready', chipId: 'sim-ideal-1' });
  const stranger = bufferConsole();
  t.equal(await main(['devices', '--server', url], stranger), 2);
  t.equal(codeOf(stranger.stderr()), 'TOKEN_REQUIRED');
  const rival = bufferConsole(environment);
  t.equal(await main(['devices', '--local', 'tcp://127.0.0.1:1'], rival), 2, 'a real device goes with the store of this user');
  t.equal(codeOf(rival.stderr()), 'STORE_LOCKED');
  const neighbour = bufferConsole({ ...environment, PRIME_HOME: throwAwayHome(t) });
  t.equal(await main(['serve', '--port', new URL(url).port], neighbour), 2);
  t.equal(codeOf(neighbour.stderr()), 'PORT_TAKEN');
  console.stop();
  t.equal(await served, 0, console.stderr());
  const late = bufferConsole(environment);
  t.equal(await main(['devices', '--server', url], late), 1);
  t.equal(codeOf(late.stderr()), 'SERVICE_UNREACHABLE');
});

/** `prime sim` as a process of its own: its streams are the simulator's. */
function simProcess(...words: string[]): string[] {
  const module = pathToFileURL(join(root, 'dist', 'server', 'cli', 'main.js')).href;
  const script = `const { main } = await import(${JSON.stringify(module)}); process.exitCode = await main(process.argv.slice(1));`;
  return ['--input-type=module', '-e', script, '--', 'sim', ...words];
}

/** Starts a simulator, asks for its devices, and ends it. */
async function devicesOfSim(t: Test, ...words: string[]) {
  const child = spawn(process.execPath, simProcess(...words, '--listen', 'tcp://127.0.0.1:0'), { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { address } = JSON.parse(line) as { address: string };
  const console = bufferConsole({ PRIME_HOME: throwAwayHome(t) });
  const exitCode = await main(['devices', '--local', address, '--json'], console);
  child.kill('SIGTERM');
  t.strictSame(await ended, [0, null]);
  return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
}

t.test('sim hands its arguments to the simulator, whose address is the first line, and ends with it', async (t) => {
  const { exitCode, stdout, stderr } = await devicesOfSim(t, '--profile', 'ideal', '--seed', '3');
  t.equal(exitCode, 0, stderr);
  t.equal(JSON.parse(stdout).chipId, 'sim-ideal-3');
});

/** Resolves when every process is gone that writes to what a child of ours has for stdout. */
async function killedWithAll(child: ChildProcessByStdio<null, Readable, null>): Promise<void> {
  const gone = once(child.stdout, 'close');
  child.kill('SIGKILL');
  await gone;
}

t.test('a simulator does not outlive a prime sim that was killed', async (t) => {
  const chip = join(throwAwayHome(t), 'chip.bin');
  const words = ['--profile', 'ideal', '--chip', chip, '--listen', 'tcp://127.0.0.1:0'];
  for (const start of ['first', 'second']) {
    const child = spawn(process.execPath, simProcess(...words), { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    t.match(JSON.parse(line), { address: /^tcp:/ }, `${start} start`);
    await killedWithAll(child);
  }
});

t.test('with --exit-with-parent a service does not outlive who started it', async (t) => {
  const given = [join(root, 'server', 'bin', 'prime.js'), 'serve', '--port', '0', '--device', 'sim:ideal', '--exit-with-parent'];
  const script = `const { spawn } = await import('node:child_process');
    spawn(process.execPath, process.argv.slice(1), { stdio: ['pipe', 'inherit', 'inherit'] });`;
  const environment = { ...process.env, PRIME_HOME: throwAwayHome(t), PRIME_LOG: 'silent' };
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script, '--', ...given], { stdio: ['ignore', 'pipe', 'inherit'], env: environment });
  const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string];
  const { url } = JSON.parse(line) as { url: string };
  t.equal((await fetch(`${url}/health/live`)).status, 200);
  await killedWithAll(parent);
  await t.rejects(fetch(`${url}/health/live`));
});

t.test('sim runs firmware of other times: older and newer ones work, a foreign one is refused with the reason', async (t) => {
  for (const [name, version] of [['first', 'sim 0.1.0'], ['later', 'sim 9.0.0']] as const) {
    const { exitCode, stdout, stderr } = await devicesOfSim(t, '--profile', 'ideal', '--firmware', name);
    t.equal(exitCode, 0, stderr);
    t.match(JSON.parse(stdout), { state: 'ready', firmwareVersion: version });
  }
  const { stdout, stderr } = await devicesOfSim(t, '--profile', 'ideal', '--firmware', 'foreign');
  t.match(stdout + stderr, /protocol 4 to 9, the host 1 to 3/);
});

t.test('sim says its options, and which of them was wrong', async (t) => {
  const help = spawnSync(process.execPath, simProcess('--help'), { encoding: 'utf8' });
  t.equal(help.status, 0);
  for (const option of ['profile', 'seed', 'chip', 'snapshot', 'pace', 'firmware', 'listen', 'pty']) t.match(help.stdout, `--${option}`);
  const wrong = spawnSync(process.execPath, simProcess('--firmware', 'old'), { encoding: 'utf8' });
  t.equal(wrong.status, 2);
  t.match(wrong.stderr, /BAD_ARGUMENT: --firmware is "old"; it is current or first or later or foreign/);
});

t.test('a device that does not answer fails the command within --connect-timeout', async (t) => {
  const console = bufferConsole({ PRIME_HOME: throwAwayHome(t) });
  const argv = ['infer', '--local', 'tcp://127.0.0.1:1', '--connect-timeout', '0.3', '--model', bundle, '--input', digitFolder(t, 1), '--json'];
  t.equal(await main(argv, console), 1);
  t.equal(codeOf(console.stderr()), 'DEVICE_UNREACHABLE');
  t.equal(console.stdout(), '');
});

t.test('the demonstration films digits, has them read and prints what came of it', async (t) => {
  const console = bufferConsole({ PRIME_LOG: 'silent' });
  const argv = ['--once', '--digits', '3', '--model', bundle, '--device', 'sim:lab-paper'];
  t.equal(await demonstrate(argv, console), 0, console.stderr());
  t.equal(console.stdout().match(/^Test\/\d\/\d{5}\.bin /gm)?.length, 3);
  t.match(console.stdout(), /accuracy [\d.]+ % · mean timesteps [\d.]+/);
  const wrong = bufferConsole();
  t.equal(await demonstrate(['--digits', 'many'], wrong), 2);
  t.equal(codeOf(wrong.stderr()), 'BAD_ARGUMENT');
});
