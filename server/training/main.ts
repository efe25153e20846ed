// Finds the demonstration network's topology on a simulated chip, writes it as a bundle, measures it on the device and writes a report.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MacroError } from '../../proto/error.js';
import { ServiceClient } from '../cli/client.js';
import { configurationOf } from '../config.js';
import { encodeRecording } from '../dataset/recording.js';
import type { Summary } from '../inference/result.js';
import { filesOfBundle, readBundle } from '../network/bundle.js';
import { type Service, startService } from '../service.js';
import { packageFolder } from '../version.js';
import { demonstrationOptions, type PreparedSearch, searchOn, writeFound } from './demonstration.js';
import { filmedDigit, filmedFrames } from './digits.js';
import { fitThreshold } from './early-stop.js';
import type { EpochReport, SearchOptions } from './search.js';

const connectMilliseconds = 10_000;
const testDigits = 1000;
/** Steps of the first epoch behind which a test compares the search. */
const firstSteps = 20;
/** Train digits that the threshold of the early stop is fitted on. */
const thresholdDigits = 2000;

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'sim:lab' },
    digits: { type: 'string', default: '6000' },
    epochs: { type: 'string', default: '12' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string', default: join(packageFolder(), 'server', 'training', 'demonstration') },
  },
});

function integer(field: 'digits' | 'epochs' | 'seed', minimum: number, maximum: number): number {
  const value = Number(values[field]);
  if (!Number.isInteger(value) || value < minimum || value > maximum) {
    throw new MacroError('BAD_ARGUMENT', `--${field} is "${values[field]}", the range is ${minimum} to ${maximum}`, { field });
  }
  return value;
}

const say = (text: string) => process.stderr.write(`${text}\n`);

async function prepared(service: Service, options: SearchOptions): Promise<PreparedSearch> {
  const device = service.parts.registry.device(service.parts.registry.choose(undefined));
  return searchOn(device, await device.whenReady(connectMilliseconds), options);
}

/** Runs filmed test digits on the device itself: its noise, its residuals, its early stop. */
async function measured(service: Service, folder: string, threshold: number | undefined): Promise<Summary> {
  const client = new ServiceClient(service.url, undefined);
  const model = await client.uploadModel(filesOfBundle(readBundle(folder)));
  const recordings = Array.from({ length: testDigits }, (_, index) => {
    const recording = filmedDigit('test', index);
    return { input: recording.name, label: recording.label, bytes: encodeRecording(recording) };
  });
  const job = await client.submitInference(model, recordings, threshold === undefined ? { earlyStop: false } : { threshold });
  return (await client.ended(job.id)).summary;
}

async function train(service: Service): Promise<void> {
  const [digits, epochs, seed] = [integer('digits', 1, 60_000), integer('epochs', 1, 1000), integer('seed', 0, 0xffffffff)];
  const options: SearchOptions = { ...demonstrationOptions, seed, epochs };
  const found = await prepared(service, options);
  const { timestepCount } = found.network;
  say(`filming ${digits} train digits`);
  const recordings = filmedFrames('train', digits, timestepCount);
  let firstDigest = '';
  const history: (EpochReport & { readonly digest: string })[] = [];
  for (let epoch = 0; epoch < epochs; epoch += 1) {
    const report = found.search.epoch(epoch, recordings, (steps) => {
      if (epoch === 0 && steps === firstSteps) firstDigest = found.search.digest();
    });
    history.push({ ...report, digest: found.search.digest() });
    const accuracy = `accuracy ${(100 * report.accuracy).toFixed(2)} %`;
    say(`epoch ${epoch + 1} of ${epochs}: loss ${report.meanLoss.toFixed(4)}, ${accuracy}, ${report.changed} masks changed`);
  }
  const { identity } = service.parts.registry.views()[0];
  if (identity === undefined) throw new MacroError('DEVICE_LOST', 'the device went away');
  const { earlyStop } = found.network;
  const threshold = fitThreshold(found.search.courses(recordings.slice(0, thresholdDigits)), earlyStop.temperature);
  writeFound(values.out, identity, { ...found, network: { ...found.network, earlyStop: { ...earlyStop, threshold } } });
  const stopped = await measured(service, values.out, threshold);
  const whole = await measured(service, values.out, undefined);
  const report = {
    chipId: identity.chipId,
    command: `node dist/server/training/main.js --device ${values.device} --digits ${digits} --epochs ${epochs} --seed ${seed}`,
    seed,
    digits,
    epochs,
    ...demonstrationOptions,
    weightScale: found.network.weightScale,
    first: { steps: firstSteps, digest: firstDigest },
    history,
    device: { testDigits, allTimesteps: whole, earlyStop: { threshold, ...stopped } },
  };
  writeFileSync(join(values.out, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify(report.device)}\n`);
}

const home = mkdtempSync(join(tmpdir(), 'prime-hil-training-'));
try {
  const configuration = configurationOf({}, { port: 0, devices: [values.device], homeFolder: home, connectTimeoutMilliseconds: connectMilliseconds });
  const service = await startService(configuration, { logLevel: 'silent' });
  try {
    await train(service);
  } finally {
    await service.close();
  }
} catch (error) {
  say(MacroError.from(error).message);
  process.exitCode = 1;
} finally {
  rmSync(home, { recursive: true, force: true });
}
