// A real Prometheus scrapes the service: what it stored is what the service counted.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { call, digitForm, serviceBench } from './service-bench.js';
import { TcpBoard } from './tcp-board.js';

const isInstalled = spawnSync('prometheus', ['--version']).status === 0;
const digits = 3;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Runs Prometheus until the test ends; resolves when it says that it is ready. */
async function startPrometheus(test: typeof t, target: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'prime-hil-prometheus-'));
  const scrape = `scrape_configs: [{job_name: prime, static_configs: [{targets: ["${target}"]}]}]`;
  const file = join(folder, 'prometheus.yml');
  writeFileSync(file, `global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n${scrape}\n`);
  const port = await freePort();
  const child = spawn(
    'prometheus',
    [`--config.file=${file}`, `--storage.tsdb.path=${join(folder, 'data')}`, `--web.listen-address=127.0.0.1:${port}`],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  test.teardown(async () => {
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
    rmSync(folder, { recursive: true, force: true });
  });
  for await (const line of createInterface({ input: child.stderr })) {
    if (line.includes('ready to receive web requests')) break;
  }
  child.stderr.resume();
  return `http://127.0.0.1:${port}`;
}

interface Sample { readonly metric: Record<string, string>; readonly value: [number, string] }

async function query(prometheus: string, expression: string): Promise<Sample[]> {
  const response = await fetch(`${prometheus}/api/v1/query?query=${encodeURIComponent(expression)}`);
  return ((await response.json()) as { data: { result: Sample[] } }).data.result;
}

/** Asks again until Prometheus has scraped what is asked for; the test's own time limit ends a wait in vain. */
async function scraped(prometheus: string, expression: string, value: number): Promise<Sample[]> {
  for (;;) {
    const samples = await query(prometheus, expression);
    if (samples.length > 0 && samples.every((sample) => Number(sample.value[1]) === value)) return samples;
  }
}

t.test('a real Prometheus stores what the service counted', isInstalled ? {} : { skip: 'prometheus is not installed' }, async (t) => {
  const board = await TcpBoard.start('lab-paper');
  t.teardown(() => board.close());
  const bench = await serviceBench(t, { devices: [board.address] });
  const answer = await call(bench, `/v1/inferences?model=${bench.model}&wait=30`, { method: 'POST', body: digitForm(digits) });
  t.equal(answer.status, 200);
  await call(bench, '/v1/jobs/nowhere');
  const prometheus = await startPrometheus(t as typeof import('tap').default, bench.service.url.replace('http://', ''));

  const [inferences] = await scraped(prometheus, 'prime_inferences_total', digits);
  const [{ id: device }] = (await call(bench, '/v1/devices')).body.devices;
  t.equal(inferences.metric['device'], device);
  const rows = answer.body.results as { stoppedAtTimestep: number; layers: { name: string; conversions: number }[] }[];
  const timesteps = rows.reduce((sum, row) => sum + row.stoppedAtTimestep, 0);
  await scraped(prometheus, 'prime_inference_timesteps_sum', timesteps);
  const conversions = rows.reduce((sum, row) => sum + row.layers[0].conversions, 0);
  t.equal((await scraped(prometheus, 'prime_conversions_total{layer="conv0"}', conversions)).length, 1);
  await scraped(prometheus, 'prime_jobs{state="SUCCEEDED"}', 1);
  await scraped(prometheus, `prime_device_ready{device="${device}"}`, 1);
  await scraped(prometheus, 'prime_errors_total{code="JOB_UNKNOWN"}', 1);
  for (const name of ['prime_energy_joules_total', 'prime_link_round_trip_seconds', 'prime_http_request_seconds_count']) {
    const samples = await query(prometheus, name);
    t.ok(samples.length > 0 && samples.every((sample) => Number(sample.value[1]) > 0), name);
  }
  for (const name of ['prime_saturations_total', 'prime_link_retransmissions_total', 'prime_link_discarded_frames_total']) {
    t.ok((await query(prometheus, name)).length > 0, name);
  }
});
