// What a browser sees when a user has several devices, and when a session is about to end.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, name } from './lib/player.js';

let oldest;
let single;
before(async () => {
  oldest = await Gateway.start('--devices', 'oldest:1');
  single = await Gateway.start('--devices', 'single');
});
after(async () => {
  closeAll();
  await oldest.stop();
  await single.stop();
});

const enter = async (gateway, way, sessionId) => new Player(gateway.url, way, { auth: { sessionId } }).connected();

for (const way of WAYS) {
  describe(`over ${way.way}`, { concurrency: true }, () => {
    test('a new device ends the old one where a player has a single one', async () => {
      const user = name('single');
      const old = await enter(single, way, await single.session(user));
      const fresh = await enter(single, way, await single.session(user));
      assert.equal(await old.hears('disconnect'), 'io server disconnect');
      assert.equal(old.all('session:revoked')[0].code, 'REPLACED');
      assert.equal(old.socket.active, false, 'it does not come back by itself');
      await fresh.ask('session:ping');
    });

    test('a device too many is refused where the oldest win', async () => {
      const user = name('oldest');
      const sessionId = await oldest.session(user);
      const first = await enter(oldest, way, sessionId);
      const tab = await enter(oldest, way, sessionId); // the same session is the same device
      const refused = new Player(oldest.url, way, { auth: { sessionId: await oldest.session(user) } });
      const refusal = await refused.refused();
      assert.equal(refusal.data.code, 'TOO_MANY_CONNECTIONS');
      assert.equal(refused.socket.active, false);
      for (const p of [first, tab]) await p.ask('session:ping');
    });

    test('a player who does nothing is warned, and then told that the session ran out', async () => {
      const player = await enter(oldest, way, await oldest.session(name('idle'), '--ttl', '2s'));
      assert.equal(await player.hears('disconnect'), 'io server disconnect');
      const [{ expiresInMs }] = player.all('session:expiring');
      assert.ok(expiresInMs > 0 && expiresInMs <= 200, `${expiresInMs} ms`);
      assert.equal(player.all('session:revoked')[0].code, 'SESSION_EXPIRED');
    });
  });
}
