// A checkout that was set up stays so until a source changes: what the C firmware's build leaves behind is none.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
// @ts-expect-error the set-up runs before anything is compiled, so it has no types
import { isReady, root } from '../server/bin/setup.js';

t.test('what a build has made does not ask for another', async (t) => {
  t.equal(isReady(), true, 'npm test has set the checkout up');
  const folder = join(root as string, 'firmware-protocol', 'firmware', 'build', 'setup-test');
  mkdirSync(folder, { recursive: true });
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'example.proto'), 'syntax = "proto3";\n');
  t.equal(isReady(), true);
});
