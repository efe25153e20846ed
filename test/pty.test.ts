// The simulator's pseudo-terminal outlives hosts and sessions: a board that gives the line up hears the next host all the same.
import { closeSync, openSync, writeSync } from 'node:fs';
import t from 'tap';
import { listenPty } from '../sim/process/listen-pty.js';

const settle = () => new Promise((resolve) => setTimeout(resolve, 50));

t.test('a board that closes its end of the pseudo-terminal is given it again, until nobody listens', async (t) => {
  const heard: string[] = [];
  let offers = 0;
  const line = listenPty((channel) => {
    offers += 1;
    const offer = offers;
    channel.attach({
      data: (bytes) => {
        heard.push(`${offer} ${Buffer.from(bytes).toString()}`);
        channel.close();
      },
      drain: () => undefined,
      close: () => undefined,
    });
  });
  const host = openSync(line.address.slice('serial:'.length), 'w');
  for (const text of ['one', 'two']) {
    writeSync(host, text);
    await settle();
  }
  t.strictSame(heard, ['1 one', '2 two']);
  writeSync(host, 'three');
  line.close();
  closeSync(host);
  await settle();
  t.ok(offers <= 4, 'a line that is closed is offered to nobody');
});
