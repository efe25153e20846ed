// From a pristine chip to a measured classifier, as one command; and the same again after whatever stopped it.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { main } from '../server/cli/main.js';
import { readBundle } from '../server/network/bundle.js';
import { bufferConsole } from './console.js';
import { digitFolder } from './digits.js';
import { serviceBench } from './service-bench.js';
import { smallNetwork } from './small-bundle.js';
import { TcpBoard } from './tcp-board.js';

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'prime-hil-bring-up-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function bench(t: Test) {
  const board = await TcpBoard.start('lab-half', 9, { breakdownMeanMillivolts: 3100 }, 'pristine'); // few steps form one cell in twenty
  t.teardown(() => board.close());
  const { service, client } = await serviceBench(t, { devices: [board.address] });
  const home = folder(t);
  const [network, out, test] = [join(home, 'small.json'), join(home, 'found'), digitFolder(t, 4)];
  writeFileSync(network, JSON.stringify(smallNetwork));
  const few = ['--data', 'mnist:train?count=24', '--test', test, '--network', network, '--epochs', '2', '--batch', '8', '--averages', '1'];
  const bringUp = async (...words: string[]) => {
    const console = bufferConsole({});
    const where = words.includes('--local') ? [] : ['--server', service.url];
    const exitCode = await main(['bring-up', '--out', out, '--target-yield', '0.05', ...few, ...words, ...where], console);
    return { exitCode, stdout: console.stdout(), stderr: console.stderr() };
  };
  return { board, client, out, bringUp };
}

t.test('from a pristine chip to a measured classifier, stopped on the way and begun again', async (t) => {
  const { board, client, out, bringUp } = await bench(t);
  const recipe = () => JSON.parse(readFileSync(join(out, 'bring-up.json'), 'utf8'));
  const jobs = async () => (await client.jobs()).length;
  const dry = await bringUp('--dry-run');
  t.match(dry, { exitCode: 0, stdout: /dry run of form[\s\S]*the mask will RESET is known when/ }, dry.stderr);
  t.match(await bringUp('--test', join(out, 'none')), { exitCode: 2, stderr: /^INPUT_NOT_FOUND/ });
  t.match(await bringUp('--device', 'macro-7'), { exitCode: 2, stderr: /^BAD_ARGUMENT: --device must name one of macro-0/ });
  t.equal(board.chip.pulses, 0);

  const stopped = bringUp('--json');
  let search: { id: string } | undefined;
  while (search === undefined) {
    await new Promise((resolve) => { setImmediate(resolve); });
    search = (await client.jobs()).find(({ kind }) => kind === 'train');
  }
  await client.stopJob(search.id);
  t.match(await stopped, { exitCode: 1, stderr: /^CANCELLED/ });
  t.match(recipe().steps, { form: { summary: Object }, read: { summary: Object }, train: { job: search.id, summary: undefined } });
  t.notOk(existsSync(join(out, 'network.json')));

  const { exitCode, stdout, stderr } = await bringUp('--json');
  t.equal(exitCode, 0, stderr);
  t.not(recipe().steps.train.job, search.id, 'the search was submitted again');
  const lines = stdout.trim().split('\n').map((line) => JSON.parse(line));
  t.strictSame(lines.map(({ step }) => step), ['form', 'read', 'train', 'apply-mask', 'verify', 'infer', 'infer all timesteps', undefined]);
  const [form, , train, mask, verify, infer, whole, { report }] = lines;
  t.ok(Math.abs(form.summary.yieldFraction - 0.05) < 0.02, `${form.summary.yieldFraction}`);
  t.match(train.summary, { testAccuracy: Number, model: report.model });
  t.match(report, {
    chipId: board.chip.chipId, recordings: 4, verified: verify.summary,
    software: { accuracyOfAllTimesteps: train.summary.testAccuracy }, twin: mask.summary.predictedAfter,
    device: { accuracy: infer.summary.accuracy, meanTimesteps: infer.summary.meanTimesteps, accuracyOfAllTimesteps: whole.summary.accuracy },
  });
  t.match(verify.summary, { prunedCells: mask.summary.prunedCells, conductingCells: 0, stubbornCells: 0 });
  t.equal(readBundle(out).chip?.chipId, board.chip.chipId);

  const [{ pulses }, count] = [board.chip, await jobs()];
  const again = await bringUp();
  t.match(again, { exitCode: 0, stdout: /form\n[\s\S]*verify\n[\s\S]*device, measured/ }, again.stderr);
  t.strictSame([board.chip.pulses, await jobs()], [pulses, count], 'begun again it does nothing twice');
  t.match(await bringUp('--local', 'sim:lab-half?seed=9'), { exitCode: 2, stderr: /bring-up\.json tells of a simulated chip that is gone/ });
  t.match(await bringUp('--seed', '2'), { exitCode: 2, stderr: /^BAD_ARGUMENT: .*bring-up\.json tells of a bring-up with other options or data/ });

  // As if the command alone had died behind its last job: it takes the answer of the job, and submits none.
  const { steps, ...rest } = recipe();
  const { summary, ...unfinished } = steps['infer all timesteps'];
  writeFileSync(join(out, 'bring-up.json'), JSON.stringify({ ...rest, steps: { ...steps, 'infer all timesteps': unfinished } }));
  t.match(await bringUp('--json'), { exitCode: 0 });
  t.strictSame(recipe().steps['infer all timesteps'], { ...unfinished, summary });
  t.equal(await jobs(), count);
  writeFileSync(join(out, 'bring-up.json'), '{}');
  t.match(await bringUp(), { exitCode: 2, stderr: /^BAD_ARGUMENT: .* is no record of a bring-up/ });
});
