// What a map of conductances says a network would decide, against a simulated chip with these conductances.
import t from 'tap';
import { bitLineCount, sourceLineCount } from '../firmware-protocol/limits.js';
import { binEvents } from '../server/dataset/frames.js';
import { parseRecording } from '../server/dataset/recording.js';
import { bundleFromFiles, filesOfBundle } from '../server/network/bundle.js';
import { compile, earlyStopAt } from '../server/network/compile.js';
import { predictAccuracy } from '../server/network/prediction.js';
import { Chip } from '../sim/chip.js';
import { Macro } from '../sim/macro.js';
import { NetworkRun } from '../sim/network-run.js';
import { profileNamed } from '../sim/profile.js';
import { filmedDigits } from './digits.js';
import { smallBundle } from './small-bundle.js';

for (const name of ['ideal', 'lab-paper-quiet']) {
  t.test(`${name}: a chip without noise decides as its map predicts, at the same timesteps`, async (t) => {
    const profile = profileNamed(name);
    const macro = new Macro(Chip.formed(profile, 3));
    const geometry = { bitLines: bitLineCount, sourceLines: sourceLineCount, cellUnitNanosiemens: profile.cellUnitNanosiemens };
    const target = { geometry, converter: { bits: profile.converterBits, signedCodes: false, differential: false, ranges: [...macro.ranges] } };
    const bundle = bundleFromFiles(filesOfBundle(smallBundle()));
    const compiled = compile(bundle, target);
    macro.chip.loadSnapshot(compiled.snapshot?.tiles ?? []);
    const { program } = compiled;
    const recordings = filmedDigits(12);
    const decisions = [earlyStopAt(compiled, bundle.network.earlyStop.threshold), undefined].map((earlyStop) => recordings.map(({ bytes, input }) => {
      const { codes } = binEvents(parseRecording(bytes, input, null), program.timestepCount, 'number');
      const run = new NetworkRun(macro, program, codes, 0, earlyStop);
      while (run.step() !== undefined);
      return { prediction: run.prediction, timesteps: run.timesteps };
    }));
    const [stopped = [], ended = []] = decisions;
    const labelled = (labels: typeof stopped) => recordings.map(({ bytes, input }, index) => ({ input, bytes, label: labels[index].prediction }));
    const atStop = await predictAccuracy(target, bundle, macro.chip.codes, labelled(stopped), 'number');
    const meanTimesteps = stopped.reduce((sum, { timesteps }) => sum + timesteps, 0) / stopped.length;
    t.match(atStop, { recordings: 12, accuracy: 1, meanTimesteps });
    t.ok(meanTimesteps < program.timestepCount, 'some stop early');
    t.equal((await predictAccuracy(target, bundle, macro.chip.codes, labelled(ended), 'number'))?.accuracyOfAllTimesteps, 1);
    const other = Chip.formed(profile, 4);
    t.ok(((await predictAccuracy(target, bundle, other.codes, labelled(ended), 'number'))?.accuracyOfAllTimesteps ?? 1) < 1, 'another chip, other decisions');
    t.equal(await predictAccuracy(target, bundle, other.codes, recordings.map((recording) => ({ ...recording, label: null })), 'number'), null);
  });
}
