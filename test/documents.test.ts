// Documents are part of the product: links lead somewhere, codes are those of the table, commands are those of the command line.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import t from 'tap';
import { deviceGoneCodes, errorTable } from '../proto/error.js';
import { networkSchema, parseNetwork } from '../server/network/network.js';
import { profileChoices, profileFields, profileSchema } from '../sim/profile-fields.js';

const root = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' }).split('\n');
const documents = tracked.filter((path) => path.endsWith('.md') && existsSync(join(root, path)));

/** GitHub's anchor of a heading. */
const anchor = (heading: string) =>
  heading.toLowerCase().replace(/[`*]/g, '').replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replace(/\s/g, '-');

const anchorsOf = (text: string) => new Set([...text.matchAll(/^#+\s+(.*)$/gm)].map((match) => anchor(match[1] ?? '')));

t.test('every link to a file or heading of this repository leads there', async (t) => {
  t.ok(documents.length >= 8);
  for (const path of documents) {
    const text = read(path).replace(/```[\s\S]*?```/g, '');
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = '', heading] = target.split('#');
      const place = file === '' ? path : join(dirname(path), file);
      t.ok(existsSync(join(root, place)), `${path}: ${target}`);
      if (heading !== undefined && place.endsWith('.md')) t.ok(anchorsOf(read(place)).has(heading), `${path}: ${target}`);
    }
  }
});

t.test('docs/errors.md and the error table say the same', async (t) => {
  const rows = read('docs/errors.md').split('\n').filter((line) => line.startsWith('| `'));
  const expected = Object.entries(errorTable).map(([code, { category, httpStatus, remedy }]) => `| \`${code}\` | ${category} | ${httpStatus} | ${remedy} |`);
  t.strictSame(rows, expected);
});

t.test('docs/errors.md names the codes that interrupt a job', async (t) => {
  const [sentence = ''] = /.*`[A-Z_]+` say nothing of what was asked for/.exec(read('docs/errors.md')) ?? [];
  t.strictSame([...sentence.matchAll(/`([A-Z_]+)`/g)].map(([, code]) => code), [...deviceGoneCodes]);
});

t.test('documents name only scripts and error codes that exist', async (t) => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  for (const path of documents) {
    const text = read(path);
    for (const [, name = ''] of text.matchAll(/\bnpm run (?:--silent )?([a-z][\w-]*)/g)) t.ok(name in scripts, `${path}: npm run ${name}`);
  }
});

t.test('the version is the same everywhere', async (t) => {
  const { version } = JSON.parse(read('package.json')) as { version: string };
  t.match(read('CHANGELOG.md'), new RegExp(`^## ${version.replaceAll('.', '\\.')}`, 'm'));
});

t.test('MODEL.md names every field of a profile, and the schema of a profile file is that of the code', async (t) => {
  const model = read('sim/MODEL.md');
  for (const name of Object.keys({ ...profileFields, ...profileChoices })) t.ok(model.includes(`\`${name}\``), name);
  t.strictSame(JSON.parse(read('docs/profile.schema.json')), profileSchema(), 'node dist/sim/process/main.js --profile-schema > docs/profile.schema.json');
});

t.test('the schema of network.json is that of the code, and takes the networks that the documents and the demonstration show', async (t) => {
  const schema = JSON.parse(read('docs/network.schema.json'));
  t.strictSame(schema, JSON.parse(JSON.stringify(networkSchema)), 'npx --silent prime model schema > docs/network.schema.json');
  const [, example = ''] = /```json\n([^`]+)```/.exec(read('docs/networks.md')) ?? [];
  const validate = new Ajv2020().compile(schema);
  for (const text of [example, read('server/training/demonstration/network.json')]) {
    t.ok(validate(JSON.parse(text)), JSON.stringify(validate.errors));
    t.equal(parseNetwork(text).format, 'prime-bundle/1');
  }
  t.notOk(validate({ ...JSON.parse(example), timestepCount: 0 }));
});
