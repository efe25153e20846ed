// Holds the house rules that a compiler does not: who may import whom, and where time and chance come from.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import t from 'tap';

const root = join(import.meta.dirname, '..');

/** Files under version control and new ones that git does not ignore; a clone without git history is walked the same way. */
const sources = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((path) => /^(firmware-protocol|proto|driver|sim|server|test)\/.*\.(ts|tsx|js)$/.test(path) && existsSync(join(root, path)));

const isKernel = (path: string) => path.endsWith('.as.ts');
const isSimulatorProcess = (path: string) => path.startsWith('sim/process/');
/** Files that only run where there is a process around them. */
const isOfProcess = (path: string) => /^(server|sim\/process|proto\/process|test)\//.test(path);
const isTransport = (path: string) => path.startsWith('driver/transport-');

interface Rule {
  readonly folders: readonly string[];
  /** Bare specifiers; a trailing * stands for any rest. */
  readonly packages: readonly string[];
}

const numericsDoor = ['firmware-protocol/numerics/index', 'firmware-protocol/limits', 'firmware-protocol/clock', 'firmware-protocol/prng'];

function ruleFor(path: string): Rule {
  const folder = path.split('/')[0];
  if (folder === 'firmware-protocol') return { folders: ['firmware-protocol/'], packages: [] };
  if (path.startsWith('proto/process/')) return { folders: ['proto/'], packages: ['node:*'] };
  if (folder === 'proto') return { folders: ['proto/', 'firmware-protocol/'], packages: ['protobufjs*'] };
  if (folder === 'driver') return { folders: ['driver/', 'proto/', 'firmware-protocol/'], packages: ['serialport', 'node:*'] };
  if (isSimulatorProcess(path)) return { folders: ['sim/', 'proto/', 'firmware-protocol/'], packages: ['node:*', '@lydell/node-pty', 'fflate'] };
  if (folder === 'sim') return { folders: ['sim/', 'proto/', 'firmware-protocol/'], packages: [] };
  if (folder === 'server') return { folders: ['server/', 'driver/index', 'proto/', ...numericsDoor], packages: ['*'] };
  return { folders: ['test/', 'firmware-protocol/', 'proto/', 'driver/', 'sim/', 'server/'], packages: ['*'] };
}

const matches = (name: string, pattern: string) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern);

const importForms = [
  /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/g,
  /\bimport\s*\(\s*['"]([^'"]+)['"]\s*\)/g,
  /(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g,
];

function importsOf(text: string): string[] {
  return importForms.flatMap((form) => [...text.matchAll(form)].map((match) => match[1] ?? ''));
}

function isAllowed(path: string, specifier: string): boolean {
  const rule = ruleFor(path);
  if (!specifier.startsWith('.')) return rule.packages.some((pattern) => matches(specifier, pattern));
  const target = normalize(join(dirname(path), specifier)).replace(/\.(js|ts)$/, '');
  if (target.startsWith('proto/process/') && !isOfProcess(path)) return false;
  return rule.folders.some((folder) => (folder.endsWith('/') ? target.startsWith(folder) : target === folder));
}

t.test('every import line keeps to the table of the house', async (t) => {
  t.ok(sources.length > 20, 'there are sources to read');
  for (const path of sources) {
    const wrong = importsOf(readFileSync(join(root, path), 'utf8')).filter((specifier) => !isAllowed(path, specifier));
    t.strictSame(wrong, [], path);
  }
});

t.test('the checker sees a breach in every form of import', async (t) => {
  const chip = "'../sim/chip.js'";
  const breaches = [`import { Chip } from ${chip};`, `export { Chip } from ${chip};`, `await import(${chip})`, `import ${chip};`];
  for (const line of breaches) t.notOk(importsOf(line).every((specifier) => isAllowed('server/app.ts', specifier)), line);
  t.notOk(isAllowed('driver/device.ts', '../sim/chip.js'));
  t.notOk(isAllowed('sim/board.ts', 'node:fs'));
  t.notOk(isAllowed('sim/board.ts', '../proto/process/parent.js'));
  t.notOk(isAllowed('proto/error.ts', './process/parent.js'));
  t.notOk(isAllowed('server/app.ts', '../driver/session.js'));
  t.ok(isAllowed('server/app.ts', '../driver/index.js'));
});

const ambient = /\bDate\.now\b|\bnew Date\(\)|\bsetTimeout\(|\bsetInterval\(|\bsetImmediate\(|\bperformance\.now\b|\bMath\.random\b|\bconsole\./;

t.test('time, chance and output come from outside where a whole bench must run from one seed', async (t) => {
  for (const path of sources) {
    const folder = path.split('/')[0];
    const isPure = ['firmware-protocol', 'proto', 'sim', 'driver'].includes(folder ?? '') && !isSimulatorProcess(path) && !isTransport(path);
    if (!isPure || isKernel(path)) continue;
    const lines = readFileSync(join(root, path), 'utf8').split('\n').filter((line) => !/^\s*(\*|\/\/|\/\*)/.test(line));
    t.notMatch(lines.join('\n'), ambient, path);
  }
});

t.test('names are nouns of the glossary and lines fit a screen', async (t) => {
  for (const path of sources) {
    t.notMatch(path, /(^|\/)(utils?|helpers?|common|misc)(\/|\.)/, path);
    const text = readFileSync(join(root, path), 'utf8');
    if (!path.startsWith('test/')) t.notMatch(text, /\bexport default\b/, `${path}: no default export`);
    t.notMatch(text, new RegExp(['TO', 'DO|FIX', 'ME|XX', 'X'].join('')), `${path}: no leftover reminder`);
    const long = text.split('\n').findIndex((line) => line.length > 160);
    t.equal(long, -1, `${path}: no line above 160 columns (line ${long + 1})`);
  }
});

t.test('no file names a place on one machine', async (t) => {
  const place = new RegExp(['/', 'work/|/', 'home/\\w+/|/', 'root/'].join(''));
  const texts = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' }).split('\n');
  for (const path of texts.filter((name) => /\.(ts|js|md|json|ya?ml|sh)$/.test(name) && existsSync(join(root, name)))) {
    t.notMatch(readFileSync(join(root, path), 'utf8'), place, relative(root, join(root, path)));
  }
});
