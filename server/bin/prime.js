#!/usr/bin/env node
// The launcher of the command line. Dependency-free, so that it can say what is missing before anything is installed.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isReady, root } from './setup.js';

if (isReady()) {
  const { main } = await import(pathToFileURL(join(root, 'dist', 'server', 'cli', 'main.js')).href);
  process.exitCode = await main(process.argv.slice(2));
} else {
  const problem = 'this checkout has no build of its present sources';
  process.stderr.write(`SETUP_REQUIRED: ${problem}. Run npm install && npm run build in the checkout.\n`);
  process.exitCode = 2;
}
