// Who is let in, who is not, and what both are told.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, join, name } from './lib/player.js';
import { until } from './lib/wait.js';

let gateway;
before(async () => { gateway = await Gateway.start(); });
after(() => {
  closeAll();
  return gateway.stop();
});

const aboutFull = (ttlMs, full) => assert.ok(ttlMs > full - 2000 && ttlMs <= full, `ttlMs ${ttlMs} of ${full}`);

for (const way of WAYS) {
  describe(`over ${way.way}`, () => {
    test('a guest logs in, connects, and is told the session and the limits, once and first', async () => {
      const user = name('guest');
      const answer = await gateway.post('/auth/login', { username: user });
      assert.equal(answer.status, 201);
      const { sessionId, expiresAt, user: who } = await answer.json();
      assert.deepEqual(who, { userId: user, username: user, characterId: user, roles: who.roles });
      assert.ok(expiresAt > Date.now());
      assert.match(answer.headers.get('set-cookie'), new RegExp(`^sid=${sessionId};.*HttpOnly`));

      const player = await new Player(gateway.url, way, { auth: { sessionId } }).connected();
      await player.hears('limits');
      await player.ask('session:ping');
      assert.deepEqual(player.heard.map((h) => h.event), ['session', 'limits']);

      const [{ args: [session] }, { args: [limits] }] = player.heard;
      const { expiresAt: until, serverTime, ttlMs, ...rest } = session;
      assert.deepEqual(rest, { sessionId, userId: user, username: user, characterId: user, roles: who.roles, node: 'node-1', recovered: false });
      aboutFull(ttlMs, 30 * 60_000);
      assert.ok(Math.abs(serverTime - Date.now()) < 5000, `serverTime ${serverTime}`);
      assert.ok(Math.abs(until - serverTime - ttlMs) < 2000, `expiresAt ${until}`);
      assert.deepEqual(Object.keys(limits), ['policies']);
      assert.deepEqual(limits.policies.toSorted((a, b) => a.name.localeCompare(b.name)), [
        { name: 'api', limit: 50, windowMs: 60_000, scope: 'ip' },
        { name: 'bearers', limit: 60, windowMs: 60_000, scope: 'ip' },
        { name: 'chat', limit: 10, windowMs: 10_000, scope: 'user' },
        { name: 'combat', limit: 10, windowMs: 5_000, scope: 'user' },
        { name: 'connect', limit: 1000, windowMs: 10_000, scope: 'ip' },
        { name: 'errors', limit: 20, windowMs: 5_000, scope: 'connection' },
        { name: 'login', limit: 1000, windowMs: 60_000, scope: 'ip' },
        { name: 'trade', limit: 10, windowMs: 10_000, scope: 'user' },
      ]);
    });

    test('a session of the command line is let in, with its roles and without a character', async () => {
      const user = name('cli');
      const sessionId = await gateway.cli('session', 'create', '--user', user, '--username', 'Ann B', '--role', 'player', '--role', 'moderator', '--ttl', '90s');
      const player = await new Player(gateway.url, way, { auth: { sessionId } }).connected();
      const { userId, username, characterId, roles, ttlMs } = await player.hears('session');
      assert.deepEqual({ userId, username, characterId, roles }, { userId: user, username: 'Ann B', characterId: '', roles: ['player', 'moderator'] });
      aboutFull(ttlMs, 90_000);
    });

    const ways = {
      'as a bearer': (id) => ({ extraHeaders: { Authorization: `Bearer ${id}` } }),
      'as a cookie, from our own page': (id) => ({ extraHeaders: { Cookie: `theme=dark; sid=${id}`, Origin: gateway.url } }),
    };
    for (const [how, options] of Object.entries(ways)) {
      test(`the session id may come ${how}`, async () => {
        const user = name('h');
        const player = await new Player(gateway.url, way, options(await gateway.login(user))).connected();
        assert.equal((await player.hears('session')).userId, user);
      });
    }

    test('a cookie is not taken from a foreign page', async () => {
      const sessionId = await gateway.login(name('csrf'));
      const player = new Player(gateway.url, way, { extraHeaders: { Cookie: `sid=${sessionId}`, Origin: 'https://evil.example' } });
      const error = await player.refused();
      assert.equal(error.data.code, 'ORIGIN_REFUSED');
      assert.equal(player.socket.active, false);
    });

    const refusals = {
      none: { id: async () => undefined, message: 'No session provided', code: 'SESSION_REQUIRED' },
      unknown: { id: async () => 'A'.repeat(43), message: 'Invalid session', code: 'SESSION_INVALID' },
      expired: {
        async id() {
          const id = await gateway.session(name('late'), '--ttl', '1s');
          await until(async () => (await gateway.ttl(id)) < 0, 'the session to expire');
          return id;
        },
        message: 'Invalid session', code: 'SESSION_INVALID',
      },
      revoked: {
        async id() {
          const id = await gateway.login(name('out'));
          await gateway.revoke(id);
          return id;
        },
        message: 'Invalid session', code: 'SESSION_INVALID',
      },
      'another key of Redis': { id: async () => '../user:ann:sessions', message: 'Invalid session', code: 'SESSION_INVALID' },
      'too long': { id: async () => 'a'.repeat(129), message: 'Invalid session', code: 'SESSION_INVALID' },
      'a number': { id: async () => 7, message: 'Invalid session', code: 'SESSION_INVALID' },
      'an object': { id: async () => ({ $ne: null }), message: 'Invalid session', code: 'SESSION_INVALID' },
    };
    for (const [kind, { id, message, code }] of Object.entries(refusals)) {
      test(`a session id that is ${kind} is refused, and the client does not come back`, async () => {
        const sessionId = await id();
        const player = new Player(gateway.url, way, { auth: { sessionId }, reconnection: true });
        const error = await player.refused();
        assert.equal(error.message, message);
        assert.deepEqual(error.data, { code });
        assert.equal(player.socket.active, false);
        assert.deepEqual(player.heard, []);
      });
    }

    test('who was refused may log in and connect with the same client', async () => {
      const player = new Player(gateway.url, way, { auth: {} });
      await player.refused();
      player.socket.auth = { sessionId: await gateway.login(name('again')) };
      player.socket.connect();
      await player.connected();
      await player.ask('session:ping');
    });

    test('one user may play on two devices', async () => {
      const user = name('two');
      const [a, b] = [await join(gateway, way, user), await join(gateway, way, user)];
      assert.notEqual(a.sessionId, b.sessionId);
      await a.ask('session:ping');
      await b.ask('session:ping');
    });
  });
}

test('a guest name that is none is refused with its field', async () => {
  for (const username of ['', 'a b', 'x'.repeat(33), '<b>', 7]) {
    const answer = await gateway.post('/auth/login', { username });
    assert.equal(answer.status, 400, JSON.stringify(username));
    assert.equal(answer.headers.get('content-type'), 'application/problem+json');
    const { code, field } = await answer.json();
    assert.deepEqual({ code, field }, { code: 'INVALID', field: 'username' });
  }
});
