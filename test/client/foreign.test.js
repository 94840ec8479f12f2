// Sessions that other programs make: the snippet of the documentation, and a real Express site.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, name } from './lib/player.js';
import { until } from './lib/wait.js';

const SECRET = 'a secret of the site, 0123456789';

let dir;
let gateway;
let redis;
let site;
before(async () => {
  dir = mkdtempSync(path(tmpdir(), 'foreign-'));
  writeFileSync(path(dir, 'secret'), `${SECRET}\n`);
  gateway = await Gateway.start('--session-source', 'express', '--session-secret-file', path(dir, 'secret'));
  redis = createClient({ socket: { path: gateway.redis.url.replace('unix://', '') } });
  await redis.connect();
  site = await serveSite();
});
after(async () => {
  closeAll();
  await new Promise((done) => site.server.close(done));
  await redis.close();
  await gateway.stop();
  rmSync(dir, { recursive: true });
});

// The documentation's block, as it stands there.
async function snippet() {
  const text = readFileSync(new URL('../../docs/sessions-from-other-languages.md', import.meta.url), 'utf8');
  const [, code] = /```js\n(import [^]*?)```/.exec(text);
  writeFileSync(path(dir, 'snippet.mjs'), code);
  return import(path(dir, 'snippet.mjs'));
}

// A site as its maker would write it: it knows nothing of the gateway but one PUBLISH.
async function serveSite() {
  const app = express();
  app.use(session({ secret: SECRET, resave: false, saveUninitialized: false, cookie: { maxAge: 60_000 }, store: new RedisStore({ client: redis }) }));
  app.post('/login/:user', (req, res) => {
    req.session.user = { id: req.params.user, name: `The ${req.params.user}` };
    res.end('in');
  });
  app.get('/whoami', (req, res) => res.json({ user: req.session.user?.id ?? null }));
  app.post('/logout', (req, res) => {
    const message = JSON.stringify({ sessionId: `express:${req.sessionID}`, code: 'LOGGED_OUT', reason: 'You logged out.', at: Date.now() });
    req.session.destroy(async () => {
      await redis.publish('session:revocations', message);
      res.end('out');
    });
  });
  const server = await new Promise((ok) => { const s = app.listen(0, '127.0.0.1', () => ok(s)); });
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    server,
    async login(user) {
      const answer = await fetch(`${url}/login/${user}`, { method: 'POST' });
      assert.equal(await answer.text(), 'in');
      return answer.headers.getSetCookie()[0].split(';')[0];
    },
    whoami: async (cookie) => (await (await fetch(`${url}/whoami`, { headers: { cookie } })).json()).user,
    logout: async (cookie) => assert.equal(await (await fetch(`${url}/logout`, { method: 'POST', headers: { cookie } })).text(), 'out'),
  };
}

for (const way of WAYS) {
  describe(`over ${way.way}`, { concurrency: true }, () => {
    test('the snippet of the documentation logs in and out', async () => {
      const { createSession, revokeSession } = await snippet();
      const userId = name('snippet');
      const sessionId = await createSession(redis, { userId, username: 'Ann', characterId: 'c9' });
      const player = await new Player(gateway.url, way, { auth: { sessionId } }).connected();
      const told = await player.hears('session');
      assert.deepEqual([told.userId, told.username, told.characterId, told.roles], [userId, 'Ann', 'c9', ['player']]);
      assert.equal(JSON.parse(await gateway.cli('session', 'list', userId, '--json')).length, 1);

      await revokeSession(redis, sessionId, { reason: 'Password changed.' });
      assert.equal(await player.hears('disconnect'), 'io server disconnect');
      assert.deepEqual(player.all('session:revoked'), [{ code: 'SESSION_REVOKED', reason: 'Password changed.' }]);
      const again = new Player(gateway.url, way, { auth: { sessionId } });
      assert.equal((await again.refused()).data.code, 'SESSION_INVALID');
    });

    test('a login of an Express site counts, slides, and ends', async () => {
      const user = name('express');
      const cookie = await site.login(user);
      const player = await new Player(gateway.url, way, { extraHeaders: { cookie } }).connected();
      assert.equal((await player.hears('session')).userId, user);
      await player.ask('session:ping');
      const key = `sess:${decodeURIComponent(cookie).match(/s:([^.]+)\./)[1]}`;
      await redis.pExpire(key, 30_000);
      const second = await new Player(gateway.url, way, { extraHeaders: { cookie } }).connected(); // a handshake is activity
      await until(async () => {
        await second.ask('session:ping');
        return await redis.pTTL(key) > 50_000;
      }, 'the session of the site to slide');
      assert.equal(await site.whoami(cookie), user, 'it is still the site\'s');

      await site.logout(cookie);
      for (const p of [player, second]) {
        assert.equal(await p.hears('disconnect'), 'io server disconnect');
        assert.deepEqual(p.all('session:revoked'), [{ code: 'LOGGED_OUT', reason: 'You logged out.' }]);
      }
    });

    test('a logout here is one there', async () => {
      const cookie = await site.login(name('express'));
      const player = await new Player(gateway.url, way, { extraHeaders: { cookie } }).connected();
      await player.ask('session:logout');
      await player.hears('session:revoked');
      assert.equal(await site.whoami(cookie), null);
    });

    test('a cookie that was not signed by the site is refused', async () => {
      const cookie = await site.login(name('express'));
      for (const bad of [cookie.replace(/.$/, (c) => (c === 'A' ? 'B' : 'A')), cookie.replace('s%3A', '')]) {
        const refusal = await new Player(gateway.url, way, { extraHeaders: { cookie: bad } }).refused();
        assert.equal(refusal.message, 'Invalid session');
      }
    });
  });
}
