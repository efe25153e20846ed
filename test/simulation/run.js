#!/usr/bin/env node
// `npm run simulate -- --seed N [--runs M] [--canary]`: sets the checkout up, then simulates.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from '../../server/bin/setup.js';

setUp();
const program = join(root, 'dist', 'test', 'simulation', 'main.js');
const { status } = spawnSync(process.execPath, [program, ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
