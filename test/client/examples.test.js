// The programs of examples/ in JavaScript, run by the lines of their READMEs, with the official client.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { openExample } from './lib/example.js';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, join, name } from './lib/player.js';

after(closeAll);

describe('examples/emitter', () => {
  let gateway;
  let example;
  before(async () => {
    example = await openExample('emitter');
    gateway = await Gateway.start(...example.serveFlags());
    gateway.contract.programs = /^(server:notice|guild:raid|mail:new|quest:hint)$/;
    example.env.REDIS_URL = gateway.redis.url;
  });
  after(async () => {
    await gateway?.stop();
    await example?.close();
  });

  for (const way of WAYS) {
    test(`each audience hears what is for it, over ${way.way}`, async () => {
      const [user, guild] = [name('u'), name('g')];
      const member = await join(gateway, way);
      await member.ask('chat:join', { channel: `guild:${guild}` });
      const phone = await join(gateway, way, user);
      const desktop = await join(gateway, way, user);
      const players = [member, phone, desktop];

      const [everybody, channel, ofUser, connection] = example.lines('node announce.mjs');
      await example.run(connection, { mHqFV0oJkTkdAAAB: phone.socket.id });
      await example.run(ofUser, { u7: user });
      await example.run(channel, { 'guild:red': `guild:${guild}` });
      await example.run(everybody);
      for (const p of players) assert.deepEqual(await p.hears('server:notice'), { text: 'Maintenance at 5' });
      // The notice came last, so whatever was for a player has arrived.
      const heard = players.map((p) => ['guild:raid', 'mail:new', 'quest:hint'].map((event) => p.all(event)));
      const raid = { at: 1795409785245 };
      const mail = { from: 'ann' };
      assert.deepEqual(heard, [[[raid], [], []], [[], [mail], [{ step: 2 }]], [[], [mail], []]]);
      players.forEach((p) => p.close());
    });
  }

  test('a text as data, a wrong audience and a Redis that is away are told', async () => {
    await assert.rejects(example.run(`node announce.mjs everybody server:notice '"text"'`), /must not be a text/);
    await assert.rejects(example.run('node announce.mjs nobody server:notice'), { code: 2 });
    await assert.rejects(example.run('REDIS_URL=unix:///nowhere node announce.mjs everybody server:notice'), /ENOENT/);
  });
});

describe('examples/express', () => {
  let gateway;
  let example;
  let relay;
  let site;
  before(async () => {
    example = await openExample('express');
    for (const line of example.linesBefore('gateway serve')) await example.run(line);
    gateway = await Gateway.start(...example.serveFlags());
    gateway.contract.programs = /^mail:new$/;
    relay = await startRelay(gateway.apiURL);
    site = await example.start({ PORT: '0', REDIS_URL: gateway.redis.url, GATEWAY_URL: gateway.url, API_URL: relay.url });
  });
  after(async () => {
    relay?.server.close();
    await gateway?.stop();
    await example?.close();
  });

  // startRelay passes requests to the server API. The answers to the next `losing` of them are lost.
  async function startRelay(api) {
    const state = { losing: 0, keys: [] };
    state.server = createServer(async (req, res) => {
      const chunks = await req.toArray();
      state.keys.push(req.headers['idempotency-key']);
      const { authorization, 'idempotency-key': key } = req.headers;
      const answer = await fetch(new URL(req.url, api), { method: req.method, headers: { authorization, 'idempotency-key': key, 'content-type': 'application/json' }, body: Buffer.concat(chunks) });
      const body = await answer.text();
      if (state.losing > 0) {
        state.losing--;
        return req.socket.destroy();
      }
      return res.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') }).end(body);
    });
    await new Promise((ok) => state.server.listen(0, '127.0.0.1', ok));
    state.url = `http://127.0.0.1:${state.server.address().port}`;
    return state;
  }

  const post = (path, fields, cookie = '') => fetch(site + path, { method: 'POST', body: new URLSearchParams(fields), headers: { cookie }, redirect: 'manual' });
  const login = async (user, password) => {
    const answer = await post('/login', { name: user, password });
    assert.equal(answer.status, 303);
    return answer.headers.getSetCookie()[0].split(';')[0];
  };

  for (const way of WAYS) {
    test(`log in, hear a push, log out, over ${way.way}`, async () => {
      const ann = await login('ann', 'correct horse');
      const bob = await login('bob', 'battery staple');
      const player = await new Player(gateway.url, way, { extraHeaders: { cookie: ann } }).connected();
      const session = await player.hears('session');
      assert.deepEqual([session.userId, session.username, session.roles], ['ann', 'Ann', ['player']]);
      assert.match(await (await fetch(site, { headers: { cookie: ann } })).text(), /<h1>Ann<\/h1>/);

      const sent = await post('/mail', { to: 'ann', text: 'Land ahoy!' }, bob);
      assert.deepEqual(await sent.json(), { reached: 1 });
      assert.deepEqual(await player.hears('mail:new'), { from: 'Bob', text: 'Land ahoy!' });

      // The cast is done, its answer is lost twice, and the player hears it once.
      relay.losing = 2;
      relay.keys = [];
      assert.deepEqual(await (await post('/mail', { to: 'ann', text: 'Once' }, bob)).json(), { reached: 1 });
      assert.equal(relay.keys.length, 3);
      assert.equal(new Set(relay.keys).size, 1);
      await post('/mail', { to: 'ann', text: 'Last' }, bob);
      await player.hears('mail:new', 3);
      assert.deepEqual(player.all('mail:new').map((m) => m.text), ['Land ahoy!', 'Once', 'Last']);

      assert.equal((await post('/logout', {}, ann)).status, 303);
      assert.equal(await player.hears('disconnect'), 'io server disconnect');
      assert.deepEqual(player.all('session:revoked'), [{ code: 'LOGGED_OUT', reason: 'You logged out.' }]);
      const refusal = await new Player(gateway.url, way, { extraHeaders: { cookie: ann } }).refused();
      assert.equal(refusal.data.code, 'SESSION_INVALID');
      assert.deepEqual(await (await post('/mail', { to: 'ann', text: 'Gone' }, bob)).json(), { reached: 0 });
    });
  }

  test('the lines of the README that send mail', async () => {
    const [enter, send] = example.lines('curl');
    await example.run(enter, { 'http://127.0.0.1:3000': site });
    assert.equal(await example.run(send, { 'http://127.0.0.1:3000': site }), '{"reached":0}');
  });

  test('a wrong password, nobody, and a mail to nobody are refused', async () => {
    for (const [user, password] of [['ann', 'battery staple'], ['eve', 'correct horse'], ['ann', '']]) assert.equal((await post('/login', { name: user, password })).status, 401);
    assert.equal((await post('/mail', { to: 'ann', text: 'Hello' })).status, 401);
    const bob = await login('bob', 'battery staple');
    assert.equal((await post('/mail', { to: 'eve', text: 'Hello' }, bob)).status, 400);
    assert.equal((await post('/mail', { to: 'ann', text: 'x'.repeat(501) }, bob)).status, 400);
  });

  test('the id of a session is another one after the login', async () => {
    const before = await login('bob', 'battery staple');
    const again = await post('/login', { name: 'bob', password: 'battery staple' }, before);
    assert.notEqual(again.headers.getSetCookie()[0].split(';')[0], before);
    const refusal = await new Player(gateway.url, WAYS[0], { extraHeaders: { cookie: before } }).refused();
    assert.equal(refusal.data.code, 'SESSION_INVALID');
  });

  test('a push that is refused for good is tried once', async () => {
    relay.keys = [];
    const { createPush } = await import(`${example.folder}/push.mjs`);
    await assert.rejects(createPush(relay.url, 'gwk_wrong')('ann', 'mail:new', {}), { code: 'UNAUTHENTICATED' });
    assert.equal(relay.keys.length, 1);
  });
});
