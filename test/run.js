#!/usr/bin/env node
// `npm test`: sets the checkout up, runs every test file and ends with the totals as one line.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, setUp } from '../server/bin/setup.js';

/** The closing comment of tap's output, `# { total: 5, pass: 3, skip: 2 }`, as counts. */
function totals(output) {
  const closing = /^# \{ total: \d+.*\}$/m.exec(output)?.[0] ?? '';
  const count = (name) => Number(new RegExp(`${name}: (\\d+)`).exec(closing)?.[1] ?? 0);
  return { passed: count('pass'), failed: count('fail'), skipped: count('skip') + count('todo') };
}

setUp();
const outputFile = join(root, '.tap', 'output.tap');
mkdirSync(join(root, '.tap'), { recursive: true });
rmSync(outputFile, { force: true });
const { status } = spawnSync(join(root, 'node_modules', '.bin', 'tap'), ['run', '--reporter=terse', `--output-file=${outputFile}`, ...process.argv.slice(2)], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
});
const { passed, failed, skipped } = totals(readFileSync(outputFile, 'utf8'));
const failures = status === 0 ? failed : Math.max(1, failed);
console.log(`${passed} passed, ${failures} failed, ${skipped} skipped`);
process.exit(failures === 0 && passed > 0 ? 0 : 1);
