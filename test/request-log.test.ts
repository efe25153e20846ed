// Effectful requests on disk: what a service that died finds again.
import t from 'tap';
import { openDatabase } from '../server/store/database.js';
import { StoredRequestLog } from '../server/store/request-log.js';
import { Rig } from './rig/bench.js';
import { throwAwayHome } from './service-bench.js';

const request = (number: number) => ({
  id: new Uint8Array(16).fill(number), method: 'resetCells' as const, bootId: new Uint8Array(8).fill(9), request: Uint8Array.of(number, 2, 3),
});

t.test('what was begun and not ended is found again, in order, by device', async (t) => {
  const home = throwAwayHome(t);
  const first = openDatabase(home);
  const log = new StoredRequestLog(first, 'macro-0');
  const other = new StoredRequestLog(first, 'macro-1');
  for (const number of [3, 1, 2]) log.begin(request(number));
  other.begin(request(3));
  log.end(request(1).id, 'applied');
  t.throws(() => log.begin(request(3)), 'an id is used once');
  first.close();
  const second = openDatabase(home);
  t.teardown(() => second.close());
  const again = new StoredRequestLog(second, 'macro-0');
  t.strictSame(again.unended(), [request(3), request(2)]);
  for (const number of [2, 3]) again.end(request(number).id, 'unknown');
  t.strictSame(again.unended(), []);
  t.strictSame(new StoredRequestLog(second, 'macro-1').unended(), [request(3)]);
});

t.test('a service that dies with a pulse in flight asks the board when it is back', async (t) => {
  const home = throwAwayHome(t);
  const before = openDatabase(home);
  const rig = new Rig({ requestLog: new StoredRequestLog(before, 'rig') });
  await rig.ready();
  const scratch = rig.device.scratch(5).catch(() => undefined);
  await rig.clock.advance(150);
  await rig.device.close();
  await scratch;
  before.close();
  const after = openDatabase(home);
  t.teardown(() => after.close());
  const log = new StoredRequestLog(after, 'rig');
  t.equal(log.unended().length, 1);
  const next = rig.newHost({ requestLog: log });
  await rig.until(next.whenReady(5000));
  t.equal(next.state, 'needs-reconcile');
  await rig.clock.advance(10_000);
  t.equal(next.state, 'ready');
  t.equal((await rig.until(next.status())).scratchCount, 5);
  t.strictSame(log.unended(), []);
  await next.close();
  rig.board.close();
});
