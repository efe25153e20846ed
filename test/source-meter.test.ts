// The source meter on a real TCP line: what it measures, and every way in which an instrument can fail to say it.
import { createServer } from 'node:net';
import t, { type Test } from 'tap';
import { measureResistance } from '../server/instrument/source-meter.js';
import { identification, startMeter } from './rig/meter.js';

const patienceMilliseconds = 100;

t.test('a source meter is asked who it is and what it measures', async (t) => {
  for (const answer of ['+8.103700E+04', '81037', '8.1037e4\r']) {
    const meter = await startMeter(t, { resistance: answer });
    t.strictSame(await measureResistance(meter.address), { identification, ohms: 81_037 });
    t.strictSame(meter.asked, ['*IDN?', ':MEASure:RESistance?']);
  }
});

t.test('an answer that is no resistance is refused, never guessed', async (t) => {
  const cases: [string, RegExp, { resistance?: string; identification?: string }][] = [
    ['METER_OVERLOAD', /9\.9E37/, { resistance: '+9.9E37' }],
    ['METER_OVERLOAD', /overload/, { resistance: '9.91E+37' }],
    ['METER_INVALID', /one number of ohms/, { resistance: 'ERR -113' }],
    ['METER_INVALID', /one number of ohms/, { resistance: '1.0E+00,2.0E-05,8.1E+04,1,0' }],
    ['METER_INVALID', /one number of ohms/, { resistance: '' }],
    ['METER_INVALID', /one number of ohms/, { resistance: 'Infinity' }],
    ['METER_INVALID', /no element/, { resistance: '-81037' }],
    ['METER_INVALID', /no element/, { resistance: '0' }],
    ['METER_INVALID', /no name/, { identification: '\u0001\u0002' }],
    ['METER_INVALID', /1024 characters/, { identification: 'x'.repeat(5000) }],
  ];
  for (const [code, message, answers] of cases) {
    const meter = await startMeter(t, answers);
    await t.rejects(measureResistance(meter.address), { code, message, field: 'meter', outcome: 'not-applied' }, JSON.stringify(answers).slice(0, 80));
  }
});

t.test('an instrument that does not answer is given up, and the job that asked can be stopped', async (t) => {
  const silent = await startMeter(t, { resistance: null });
  await t.rejects(measureResistance(silent.address, undefined, patienceMilliseconds), { code: 'METER_UNREACHABLE', message: /within 100 ms/ });
  const hanging = await startMeter(t, { identification: null, hangsUp: true });
  await t.rejects(measureResistance(hanging.address), { code: 'METER_UNREACHABLE', message: /closed the connection/ });
  const stop = new AbortController();
  const asking = measureResistance(silent.address, stop.signal);
  await silent.nextQuestion();
  stop.abort();
  await t.rejects(asking, { code: 'CANCELLED' });
  await t.rejects(measureResistance(await closedAddress(t)), { code: 'METER_UNREACHABLE', message: /ECONNREFUSED/ });
  for (const address of ['serial:/dev/ttyUSB0', 'tcp://nowhere', 'http://127.0.0.1:5025']) await t.rejects(measureResistance(address), { code: 'BAD_ADDRESS' });
});

t.test('an endless trickle of bytes does not outlast the limit', async (t) => {
  const meter = await startMeter(t, { resistance: null, tricklesMilliseconds: 5 });
  await t.rejects(measureResistance(meter.address, undefined, patienceMilliseconds), { code: 'METER_UNREACHABLE', message: /within 100 ms/ });
});

/** An address at which somebody listened, and nobody does now. */
async function closedAddress(t: Test): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  t.ok(port > 0);
  return `tcp://127.0.0.1:${port}`;
}
