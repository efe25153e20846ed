#!/usr/bin/env node
// `npm run soak [name…]`: sets the checkout up, then runs the long counts that `npm test` has no time for.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from '../../server/bin/setup.js';

setUp();
const { status } = spawnSync(process.execPath, [join(root, 'dist', 'test', 'soak', 'main.js'), ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
