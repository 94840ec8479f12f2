// How long a session lives, and how it ends.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, join, name } from './lib/player.js';
import { until } from './lib/wait.js';

const TTL = 10_000; // so that a touch is due each second

let gateway;
before(async () => { gateway = await Gateway.start('--limit', 'chat=off', '--limit', 'combat=1/60s', '--limit-close-after', '0'); });
after(() => {
  closeAll();
  return gateway.stop();
});

async function short(way, prefix) {
  const sessionId = await gateway.session(name(prefix), '--ttl', `${TTL}ms`);
  return Object.assign(await new Player(gateway.url, way, { auth: { sessionId } }).connected(), { sessionId });
}

const below = (player, ms) => until(async () => (await gateway.ttl(player.sessionId)) < ms, `a TTL below ${ms}`);

// ends is what a client sees when the server ends its session: the reason, then the end.
async function ends(player, code) {
  assert.equal(await player.hears('disconnect'), 'io server disconnect');
  assert.equal(player.socket.active, false);
  const [{ event, args: [told] }] = player.heard.slice(-2);
  assert.equal(event, 'session:revoked');
  assert.deepEqual(Object.keys(told), ['code', 'reason']);
  assert.equal(told.code, code);
  assert.notEqual(told.reason, '');
  assert.equal(player.all('session:revoked').length, 1);
}

for (const way of WAYS) {
  describe(`over ${way.way}`, { concurrency: true }, () => {
    test('a program that reads the clock does not slide the session', async () => {
      const player = await short(way, 'clock');
      const { data: { serverTimeUs, ...rest } } = await player.socket.emitWithAck('session:time');
      assert.ok(Math.abs(serverTimeUs / 1000 - Date.now()) < 5000, `serverTimeUs ${serverTimeUs}`);
      assert.deepEqual(rest, {}, 'no ping was answered yet');
      while (await gateway.ttl(player.sessionId) > TTL - 1500) await player.socket.emitWithAck('session:time');
    });

    test('activity slides the session in Redis, within a second', async () => {
      const player = await short(way, 'busy');
      for (let round = 0; round < 2; round++) {
        await below(player, TTL - 2000);
        await player.ask('session:ping');
        const since = Date.now();
        await until(async () => (await gateway.ttl(player.sessionId)) > TTL - 1500, 'the TTL to slide');
        assert.ok(Date.now() - since < 1500, `after ${Date.now() - since} ms`);
        const { ttlMs } = await player.ask('session:ping');
        assert.ok(ttlMs > TTL - 2000 && ttlMs <= TTL, `the next answer says ${ttlMs}`);
      }
    });

    test('neither deliveries nor refusals slide it', async () => {
      const [idle, talker] = [await short(way, 'idle'), await join(gateway, way)];
      const channel = `zone:${name('z')}`;
      await idle.ask('chat:join', { channel });
      await talker.ask('chat:join', { channel });
      const { combatId } = await idle.ask('combat:start', { npc: 'training-dummy' });
      await idle.ask('combat:action', { combatId, action: 'defend' });
      await below(idle, TTL - 1500); // what the activity above slid is stored

      let last = await gateway.ttl(idle.sessionId);
      for (let i = 0; last > TTL - 5000; i++) {
        await talker.ask('chat:message', { channel, text: `${i}` });
        await idle.hears('chat:message', i + 1);
        assert.equal((await idle.refusal('combat:action', { combatId, action: 'defend' })).code, 'RATE_LIMITED');
        const now = await gateway.ttl(idle.sessionId);
        assert.ok(now <= last, `slid from ${last} to ${now} after ${i + 1} deliveries`);
        last = now;
      }
      assert.ok(idle.all('chat:message').length > 10);
    });

    test('an idle session runs out while it is connected', async () => {
      const sessionId = await gateway.session(name('gone'), '--ttl', '1500ms');
      const player = await new Player(gateway.url, way, { auth: { sessionId }, reconnection: true }).connected();
      await ends(player, 'SESSION_EXPIRED');
      assert.ok(player.all('session:expiring').every(({ expiresInMs }) => expiresInMs > 0 && expiresInMs <= 1500));
      assert.ok((await gateway.ttl(sessionId)) < 0);
    });

    test('logout is answered, tells why, and closes', async () => {
      const player = await join(gateway, way, name('bye'), { reconnection: true });
      player.socket.emit('session:logout', (answer) => player.heard.push({ event: 'answer', args: [answer] }));
      await ends(player, 'LOGGED_OUT');
      assert.deepEqual(player.heard.slice(-3).map((h) => h.event), ['answer', 'session:revoked', 'disconnect']);
      assert.deepEqual(player.all('answer'), [{ ok: true, data: {} }]);
      assert.ok((await gateway.ttl(player.sessionId)) < 0);

      const again = new Player(gateway.url, way, { auth: { sessionId: player.sessionId } });
      assert.equal((await again.refused()).message, 'Invalid session');
    });

    test('logout over HTTP closes the socket too', async () => {
      const player = await join(gateway, way, name('http'));
      const answer = await gateway.post('/auth/logout', undefined, { Authorization: `Bearer ${player.sessionId}` });
      assert.equal(answer.status, 204, await answer.text());
      await ends(player, 'LOGGED_OUT');
    });

    test('a session that is revoked loses all its sockets, and only those', async () => {
      const user = name('banned');
      const [a, other] = [await join(gateway, way, user), await join(gateway, way, user)];
      const b = await new Player(gateway.url, way, { auth: { sessionId: a.sessionId } }).connected();
      await gateway.revoke(a.sessionId);
      await ends(a, 'SESSION_REVOKED');
      await ends(b, 'SESSION_REVOKED');
      await other.ask('session:ping');
    });
  });
}
