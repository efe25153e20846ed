#!/usr/bin/env node
// Makes a checkout ready to run: installs packages, generates the codec, compiles TypeScript and AssemblyScript.
// Dependency-free, so that it works before anything is installed. It does only what is missing or stale: a stamp holds
// the hash of what each stage was made from. A lock keeps two commands from installing over one another.
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import {
  closeSync, cpSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync, writeSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
/** What is built: the folders of tsconfig.build.json, and what those below test/ import. The test runner compiles the tests by itself. */
const sourceFolders = ['firmware-protocol', 'proto', 'driver', 'sim', 'server', 'test/bench', 'test/rig', 'test/simulation', 'test/soak'];
const lockWaitMilliseconds = 600_000;

/** What was made is no source: its coming and going leaves a build current. */
const madeFolders = ['generated', 'node_modules', 'build'];

function filesBelow(folder, keep) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return madeFolders.includes(entry.name) ? [] : filesBelow(path, keep);
      return keep(path) ? [path] : [];
    })
    .sort();
}

function hashOf(paths) {
  const hash = createHash('sha256').update(process.version.split('.')[0]);
  for (const path of paths) hash.update(relative(root, path)).update('\0').update(readFileSync(path));
  return hash.digest('hex');
}

function buildInputs() {
  const sources = sourceFolders
    .map((folder) => join(root, folder))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => filesBelow(folder, (path) => /\.(ts|tsx|proto)$/.test(path)));
  return [...['package-lock.json', 'tsconfig.json', 'tsconfig.build.json'].map((name) => join(root, name)), ...sources];
}

const stages = [
  { name: 'packages', stamp: join(root, 'node_modules', '.prime-hil.hash'), inputs: () => [join(root, 'package-lock.json')], make: installPackages },
  { name: 'build', stamp: join(root, 'dist', '.prime-hil.hash'), inputs: buildInputs, make: build },
];

const isCurrent = (stage) => existsSync(stage.stamp) && readFileSync(stage.stamp, 'utf8') === hashOf(stage.inputs());

/** True when packages are installed and the build belongs to the sources as they are. */
export function isReady() {
  return stages.every(isCurrent);
}

function run(command, ...args) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
}

function installPackages() {
  run('npm', 'ci', '--no-progress', '--no-fund', '--no-audit');
}

const tool = (name) => join(root, 'node_modules', '.bin', name);

function generateCodec() {
  const folder = join(root, 'proto', 'generated');
  mkdirSync(folder, { recursive: true });
  const sources = filesBelow(join(root, 'proto'), (path) => path.endsWith('.proto'));
  const left = ['--no-create', '--no-verify', '--no-delimited', '--no-service'];
  run(tool('pbjs'), '-t', 'static-module', '-w', 'esm', ...left, '-d', '-o', join(folder, 'macro.js'), ...sources);
}

function compileKernels() {
  const settings = ['-O3', '--runtime', 'stub', '--importMemory', '--zeroFilledMemory', '--enable', 'simd', '--noAssert'];
  for (const folder of sourceFolders.map((name) => join(root, name)).filter((path) => existsSync(path))) {
    for (const entry of filesBelow(folder, (path) => path.endsWith('.as.ts'))) {
      run(tool('asc'), entry, '-o', entry.replace(/\.as\.ts$/, '.wasm'), ...settings);
    }
  }
}

function copyIntoDist() {
  cpSync(join(root, 'proto', 'generated'), join(root, 'dist', 'proto', 'generated'), { recursive: true });
  for (const folder of sourceFolders.map((name) => join(root, name)).filter((path) => existsSync(path))) {
    for (const path of filesBelow(folder, (name) => name.endsWith('.wasm'))) cpSync(path, join(root, 'dist', relative(root, path)));
  }
}

function build() {
  generateCodec();
  compileKernels();
  run(tool('tsc'), '-p', 'tsconfig.build.json');
  copyIntoDist();
}

function holdLock() {
  const path = join(root, '.setup.lock');
  const deadline = Date.now() + lockWaitMilliseconds;
  for (;;) {
    try {
      const handle = openSync(path, 'wx');
      writeSync(handle, String(process.pid));
      closeSync(handle);
      return () => rmSync(path, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (holderIsGone(path)) rmSync(path, { force: true });
      else if (Date.now() > deadline) throw new Error(`another setup has held ${path} for ten minutes; remove it if none runs`);
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
}

function holderIsGone(path) {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    if (pid === 0) return Date.now() - statSync(path).mtimeMs > 10_000;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH' || error.code === 'ENOENT';
  }
}

/** Does every stage that is missing or stale. Throws with the command that failed. */
export function setUp() {
  if (isReady()) return;
  const release = holdLock();
  try {
    for (const stage of stages) {
      if (isCurrent(stage)) continue;
      process.stderr.write(`setup: ${stage.name}\n`);
      stage.make();
      writeFileSync(stage.stamp, hashOf(stage.inputs()));
    }
  } finally {
    release();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    setUp();
  } catch (error) {
    process.stderr.write(`SETUP_FAILED: ${error.message}. Mend what it names and run the command again.\n`);
    process.exit(1);
  }
}
