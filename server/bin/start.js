#!/usr/bin/env node
// `npm start [-- --once]`: sets the checkout up, then runs the demonstration.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, setUp } from './setup.js';

try {
  setUp();
} catch (error) {
  process.stderr.write(`SETUP_FAILED: ${error.message}. Mend what it names and run the command again.\n`);
  process.exit(1);
}
const { main } = await import(pathToFileURL(join(root, 'dist', 'server', 'demonstration.js')).href);
process.exitCode = await main(process.argv.slice(2));
