// Early stop: what rules and thresholds make of courses, how they are fitted and audited; and that a device decides as a sweep says that it would.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type StopRule, stopRules } from '../firmware-protocol/numerics/index.js';
import { main } from '../server/cli/main.js';
import { auditOf } from '../server/early-stop/audit.js';
import { frontierAt, judge, softwareCourse } from '../server/early-stop/course.js';
import { acrossHalves, fitThreshold, thresholdOf } from '../server/early-stop/fit.js';
import { checkThreshold, choosePolicy } from '../server/early-stop/policy.js';
import { parseNetwork } from '../server/network/network.js';
import { readBundle, writeBundle } from '../server/network/bundle.js';
import { Chip } from '../sim/chip.js';
import { firstFirmware } from '../sim/firmware.js';
import { profileNamed } from '../sim/profile.js';
import { bufferConsole } from './console.js';
import { bundleFolder, digitFolder } from './digits.js';
import { call, digitForm, serviceBench } from './service-bench.js';
import { smallNetwork } from './small-bundle.js';
import { TcpBoard } from './tcp-board.js';

/** Right from the second timestep on, and unsure at the first. */
const unsure = (label: number, first: number) => softwareCourse(label, [[first, 0], [label === 0 ? 4 : -4, 0], [label === 0 ? 4 : -4, 0]]);

t.test('a course in software keeps its means', async (t) => {
  const { membranes } = softwareCourse(1, [[0.5, -1], [0.25, 2]]);
  t.strictSame(membranes, [[2 ** 19, -(2 ** 20)], [0, 5 * 2 ** 20]]);
});

t.test('the lowest threshold is fitted that costs as much as was said, and no more', async (t) => {
  const courses = Array.from({ length: 100 }, (_, index) => unsure(index % 2, 0.5));
  const judged = judge(courses, 'softmax', { temperature: 2 });
  const first = 1 / (1 + Math.exp(-0.25));
  const threshold = fitThreshold(judged, 'softmax', 0.002) as number;
  t.ok(Math.abs(threshold - first) < 1e-4, `${threshold} for ${first}`);
  t.strictSame(frontierAt(judged, threshold), { accuracy: 1, meanTimesteps: 2 });
  t.strictSame(frontierAt(judged, threshold - 1e-3), { accuracy: 0.5, meanTimesteps: 1 });
  t.strictSame(frontierAt(judged, undefined), { accuracy: 1, meanTimesteps: 3 });
  t.strictSame(frontierAt(judged, [0.99, 0.1, 0.1]), { accuracy: 1, meanTimesteps: 2 }, 'a threshold of its own for each timestep');
  t.ok((fitThreshold(judged, 'softmax', 0.5) as number) < first, 'where half may be lost, the first timestep will do');
  const halves = acrossHalves(judged, 'margin', 'constant', { accuracyLoss: 0, halves: 4, seed: 1 });
  t.match(halves, { halves: 4, accuracyLoss: 0, accuracyLossSd: 0, meanTimesteps: 2 });
});

t.test('a threshold falls with the timesteps that are left', async (t) => {
  t.strictSame(thresholdOf('falling', 2, 4), [2, 1.5, 1, 0.5]);
  t.equal(thresholdOf('constant', 2, 4), 2);
  const judged = judge([unsure(0, 1), unsure(1, 1)], 'margin');
  const falling = fitThreshold(judged, 'margin', 0, 'falling') as number[];
  t.equal(falling.length, 3);
  t.strictSame(frontierAt(judged, falling), { accuracy: 1, meanTimesteps: 2 });
});

t.test('a policy is that of the bundle where nothing else is chosen', async (t) => {
  const ofBundle = { rule: 'softmax', temperature: 3, threshold: 0.5 } as const;
  t.strictSame(choosePolicy(ofBundle, {}), ofBundle);
  t.strictSame(choosePolicy(ofBundle, { rule: 'entropy', threshold: 0.2 }), { rule: 'entropy', temperature: 3, threshold: 0.2 });
  t.strictSame(choosePolicy(ofBundle, { rule: 'margin', threshold: [2, 1] }), { rule: 'margin', threshold: [2, 1] });
  t.throws(() => choosePolicy(ofBundle, { rule: 'margin' }), { code: 'BAD_THRESHOLD', message: /margin needs a threshold of its own/ });
  for (const [rule, wrong] of [['softmax', 1], ['entropy', 0], ['margin', 255], ['relative-margin', Number.NaN]] as const) {
    t.throws(() => checkThreshold(rule, wrong), { code: 'BAD_THRESHOLD', message: new RegExp(`that of ${rule} lies above 0 and below`) });
  }
  t.throws(() => checkThreshold('margin', [1, 2], 3), { code: 'BAD_THRESHOLD', message: /there are 2 thresholds, the network has 3 timesteps/ });
  const written = (earlyStop: object) => parseNetwork(JSON.stringify({ ...smallNetwork, earlyStop })).earlyStop;
  t.strictSame(written({ rule: 'margin', threshold: [3, 2, 1, 1] }), { rule: 'margin', threshold: [3, 2, 1, 1] });
  t.throws(() => written({ rule: 'margin', threshold: [3, 2] }), { code: 'BAD_BUNDLE', message: /earlyStop\.threshold must be a number or a list of 4/ });
  t.throws(() => written({ rule: 'luck', threshold: 0.5 }), { code: 'BAD_BUNDLE', message: /earlyStop\.rule must be one of softmax, entropy, margin/ });
});

t.test('an audit says what a stop costs and saves, with intervals', async (t) => {
  t.equal(auditOf([], 10, 0.1), null);
  const runs = Array.from({ length: 100 }, (_, index) => ({
    label: 1, stoppedAtTimestep: index < 90 ? 4 : 10, predictionAtStop: index < 3 ? 0 : 1, predictionAtEnd: index === 3 ? 0 : 1,
  }));
  const report = auditOf(runs, 10, 0.1);
  t.match(report, { recordings: 100, stopped: 90, accuracyLoss: { value: 0.02 }, changedFraction: { value: 0.04 } });
  const near = (value: number | undefined, wanted: number) => t.ok(Math.abs((value ?? Number.NaN) - wanted) < 5e-4, `${value} for ${wanted}`);
  near(report?.changedFraction.low, 0.0157);
  near(report?.changedFraction.high, 0.0984);
  near(report?.accuracyLoss?.low, -0.0231);
  near(report?.accuracyLoss?.high, 0.0623);
  near(report?.savedFraction.value, 0.54);
  near(report?.savedFraction.high, 0.54 + 1.96 * Math.sqrt((90 * 0.06 ** 2 + 10 * 0.54 ** 2) / 99 / 100));
  t.equal(auditOf([{ ...runs[0], label: null }], 10, 1)?.accuracyLoss, null);
});

async function bench(t: Test, board: TcpBoard) {
  t.teardown(() => board.close());
  const b = await serviceBench(t, { devices: [board.address] });
  const prime = async (...words: string[]) => {
    const console = bufferConsole({});
    const exitCode = await main([...words, '--server', b.service.url], console);
    return { exitCode, stdout: console.stdout(), stderr: console.stderr(), lines: () => console.stdout().trim().split('\n').map((line) => JSON.parse(line)) };
  };
  const [model, digits] = [bundleFolder(t), digitFolder(t, 16)];
  return { b, prime, model, digits, infer: (...words: string[]) => prime('infer', '--model', model, '--input', digits, '--json', ...words) };
}

t.test('a device decides as the sweep says, by every rule', async (t) => {
  const { prime, infer, model, digits } = await bench(t, await TcpBoard.start('ideal'));
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-sweep-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [csv, svg] = [join(folder, 'f.csv'), join(folder, 'f.svg')];
  const swept = await prime('sweep', '--model', model, '--input', digits, '--halves', '2', '--csv', csv, '--svg', svg, '--json');
  t.equal(swept.exitCode, 0, swept.stderr);
  const sweeps = swept.lines();
  t.strictSame(sweeps.map(({ rule }) => rule), stopRules);
  for (const { rule, points, fits } of sweeps) {
    t.equal(points.at(-1).threshold, null);
    for (const point of [points[3], ...fits.map(({ fitted }: { fitted: object }) => fitted)]) {
      const { summary } = (await infer('--rule', rule, '--threshold', String(point.threshold))).lines().at(-1);
      const figures = ({ accuracy, meanTimesteps }: { accuracy: number; meanTimesteps: number }) => [accuracy.toFixed(5), meanTimesteps.toFixed(5)];
      t.strictSame(figures(summary), figures(point), `${rule} at ${point.threshold}`);
      t.match(summary, { rule, threshold: point.threshold });
    }
  }
  t.match(readFileSync(csv, 'utf8').split('\n'), { 0: 'rule,threshold,accuracy,mean_timesteps,energy_nanojoules', length: 4 * 20 + 2 });
  t.match(readFileSync(svg, 'utf8'), /^<svg[\s\S]*relative-margin[\s\S]*<\/svg>$/);
  const ofRule = (rule: string) => prime('sweep', '--model', model, '--input', digits, '--rule', rule);
  t.match(await ofRule('margin'), { exitCode: 0, stdout: /^margin\n[\s\S]*falling, fitted on one half/ });
  t.match(await ofRule('luck'), { exitCode: 2, stderr: /^BAD_ARGUMENT: --rule is "luck", the choices/ });
});

t.test('an audited run answers as it would, and says what it would have been', async (t) => {
  const { b, prime, infer, model, digits } = await bench(t, await TcpBoard.start('ideal'));
  type Line = { readonly input?: string; readonly label?: number; readonly prediction?: number };
  const decisions = (lines: readonly Line[]) => lines.filter(({ input }) => input !== undefined);
  const stop = ['--rule', 'margin', '--threshold', '0.01'];
  const plain = (await infer(...stop)).lines();
  const whole = (await infer('--no-early-stop')).lines();
  const audited = (await infer(...stop, '--audit', '1')).lines();
  t.strictSame(decisions(audited), decisions(plain));
  const wrong = (lines: readonly Line[]) => decisions(lines).filter(({ label, prediction }) => label !== prediction).length;
  const { audit } = audited.at(-1).summary;
  t.match(audit, { fraction: 1, recordings: 16, accuracyLoss: { value: (wrong(plain) - wrong(whole)) / 16 } });
  t.match(plain.at(-1).summary.audit, null);
  const text = await prime('infer', '--model', model, '--input', digits, ...stop, '--audit', '0.5');
  t.match(text.stdout, /\naudit of \d+ recordings, \d+ of them stopped early: the stop costs .* points of accuracy and saves .* % of the timesteps\n$/);
  const post = (query: string, digits: number) => call(b, `/v1/inferences?model=${b.model}&${query}`, { method: 'POST', body: digitForm(digits) });
  const { body } = await post('wait=60&audit=1&rule=margin&threshold=0.01&timesteps=true', 2);
  t.match(body.results, [{ predictionAtEnd: Number, timesteps: [{ membranes: Array, conversions: Number }, {}, {}, {}] }, {}]);
  const wrongQueries = [
    ['audit=1&earlyStop=false', 'BAD_REQUEST'], ['rule=margin', 'BAD_THRESHOLD'], ['threshold=0.1,x', 'BAD_THRESHOLD'], ['rule=luck', 'BAD_REQUEST'],
  ];
  for (const [query, code] of wrongQueries) t.match((await post(query, 1)).body, { code }, query);
});

t.test('a board that knows the softmax alone leaves other rules to the host', async (t) => {
  const chip = () => Chip.formed(profileNamed('ideal'), 1);
  const [old, current] = [await bench(t, await TcpBoard.with(chip(), firstFirmware)), await bench(t, await TcpBoard.with(chip()))];
  for (const words of [['--rule', 'margin', '--threshold', '0.02'], ['--threshold', '0.3,0.2,0.15,0.1']]) {
    const [late, now] = [await old.infer(...words), await current.infer(...words)];
    t.equal(late.exitCode, 0, late.stderr);
    t.strictSame(late.lines().slice(0, -1), now.lines().slice(0, -1), 'the same decisions');
    const onDevice = await old.infer(...words, '--execution', 'device');
    t.match(onDevice, { exitCode: 1, stderr: /^METHOD_UNSUPPORTED: execution on the device needs StopRules for the rule/ });
  }
  t.equal((await old.infer('--threshold', '0.11', '--execution', 'device')).exitCode, 0);
});

t.test('a stored threshold keeps its rule, and a bundle has one for each timestep', async (t) => {
  const { b, prime, model, infer } = await bench(t, await TcpBoard.start('ideal'));
  const bundle = readBundle(model);
  const threshold = [0.3, 0.2, 0.1, 0.1];
  writeBundle(model, { ...bundle, network: { ...bundle.network, earlyStop: { rule: 'relative-margin', threshold } } } as never);
  const ofBundle = (await infer()).lines().at(-1).summary;
  t.match(ofBundle, { rule: 'relative-margin', threshold });
  const chipId = (await b.client.devices())[0].chipId as string;
  const kept = await prime('chip', 'threshold', chipId, '0.05', '--rule', 'margin' satisfies StopRule, '--model', model, '--json');
  t.match(kept.lines(), [{ rule: 'margin', threshold: 0.05, isCurrent: true }], kept.stderr);
  t.match((await infer()).lines().at(-1).summary, { rule: 'margin', threshold: 0.05 });
  t.match(await prime('chip', 'threshold', chipId), { stdout: /margin +0\.05/ });
});
