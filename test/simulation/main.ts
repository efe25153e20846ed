import { runCommand } from './command.js';

process.exit(await runCommand(process.argv.slice(2), (text) => process.stdout.write(text), (text) => process.stderr.write(text)));
