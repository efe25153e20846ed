// Real processes, really killed, at a few of the points that `npm run soak sigkill` has fifty of.
import t from 'tap';
import { sigkill } from './soak/sigkill.js';

const kills = 4;

t.test('service or simulator killed while a mask is applied: nothing is lost, doubled or miscounted', async (t) => {
  const { kills: victims, amidProgress, ends, cells, problems } = await sigkill(kills, 4);
  t.strictSame(problems, []);
  t.strictSame(victims, { service: kills / 2, simulator: kills / 2 });
  t.equal(amidProgress, 2, 'half of the kills lie between pulses that the host had heard of and pulses that it had not');
  t.ok(Object.values(ends).reduce((sum, count) => sum + count, 0) === kills, JSON.stringify(ends));
  t.equal(cells, kills * 512 * 512);
});
