// Three gateways behind a balancer, as one.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startBalancer } from './lib/balancer.js';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, name } from './lib/player.js';
import { until } from './lib/wait.js';

const PLAYERS = 6;
const BURST = 100;

let gateways;
let balancer;
let slow; // of a client that never ends its request: what it was answered, and after how long
before(async () => {
  const first = await Gateway.start('--limit', 'chat=off', '--node', 'one');
  gateways = [first];
  for (const node of ['two', 'three']) gateways.push(await Gateway.beside(first, '--limit', 'chat=off', '--node', node));
  balancer = await startBalancer(gateways);
  slow = halfARequest(balancer.url);
});
after(async () => {
  closeAll();
  await balancer.stop();
  for (const g of gateways.slice(1)) await g.stop();
  await gateways[0].stop(); // its Redis last
});

/** party connects players over the balancer, all in one channel. */
async function party(way, options) {
  const channel = `zone:${name('z')}`;
  const players = [];
  for (let i = 0; i < PLAYERS; i++) {
    const user = name();
    const sessionId = await gateways[0].session(user);
    const player = await new Player(balancer.url, way, { auth: { sessionId }, ...options }).connected();
    player.node = (await player.hears('session')).node;
    await player.ask('chat:join', { channel });
    players.push(player);
  }
  return { channel, players };
}

for (const way of WAYS) {
  describe(`over ${way.way}`, () => {
    test('players are spread over the nodes, stay where they are, and all hear all, in order', async () => {
      const { channel, players } = await party(way);
      assert.deepEqual(new Set(players.map((p) => p.node)), new Set(['one', 'two', 'three']));
      await Promise.all(players.slice(0, 3).map(async (p, who) => {
        for (let i = 0; i < BURST; i++) p.socket.emit('chat:message', { channel, text: `${who} ${i}` });
        await p.ask('session:ping');
      }));
      for (const p of players) {
        await p.hears('chat:message', 3 * BURST);
        const heard = p.all('chat:message').map((m) => m.text);
        for (const who of [0, 1, 2]) {
          assert.deepEqual(heard.filter((t) => t.startsWith(`${who} `)), Array.from({ length: BURST }, (_, i) => `${who} ${i}`));
        }
        assert.equal(p.all('session').length, 1, 'it never had to come back');
        assert.equal(p.all('disconnect').length, 0);
      }
    });
  });
}

test('a node that goes says goodbye, and its players come back elsewhere by themselves', async () => {
  const polling = WAYS[0];
  const { channel, players } = await party(polling, { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 500 });
  const leaving = gateways.pop(); // "three"
  const moved = players.filter((p) => p.node === 'three');
  assert.ok(moved.length > 0 && moved.length < PLAYERS);
  await leaving.stop();
  for (const p of moved) {
    assert.equal((await p.hears('gateway:closing')).code, 'DRAINING');
    const back = await p.hears('session', 2);
    assert.ok(['one', 'two'].includes(back.node), back.node);
    await until(() => p.socket.connected, 'the player to be back');
    await p.ask('chat:join', { channel });
  }
  for (const p of players.filter((x) => !moved.includes(x))) assert.equal(p.all('session').length, 1, 'nobody else was touched');
  await moved[0].ask('chat:message', { channel, text: 'we are back' });
  for (const p of players) await until(() => p.all('chat:message').some((m) => m.text === 'we are back'), 'everyone to hear it');
});

/** halfARequest sends headers that never end, and gives the status and the seconds until the end. */
function halfARequest(url) {
  return new Promise((ok, fail) => {
    const begun = Date.now();
    let text = '';
    const c = connect(new URL(url).port, '127.0.0.1', () => c.write('GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: '));
    c.on('data', (d) => { text += d; });
    c.on('error', fail);
    c.on('close', () => ok({ status: text.split(' ')[1], seconds: (Date.now() - begun) / 1000 }));
  });
}

test('a client that never ends its request is answered 408 after ten seconds', async () => {
  const { status, seconds } = await slow;
  assert.equal(status, '408');
  assert.ok(seconds > 9 && seconds < 15, `${seconds} s`);
});

/** token signs a JWT (HS256). */
function token(secret, claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** loginFrom logs in from an address of this machine, and gives the status and the code. */
function loginFrom(localAddress, url, jwt, headers = {}) {
  const body = JSON.stringify({ token: jwt });
  return new Promise((ok, fail) => {
    const r = request(`${url}/auth/login`, { method: 'POST', localAddress, agent: false, headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...headers } }, async (answer) => {
      let text = '';
      for await (const part of answer) text += part;
      ok({ status: answer.statusCode, code: JSON.parse(text).code });
    });
    r.on('error', fail);
    r.end(body);
  });
}

// Behind a proxy everybody has its address, unless the gateway is told whom to believe.
test('ten forged tokens lock out their sender, and nobody else behind the balancer', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-balancer-'));
  const secret = 'a secret of thirty-two bytes or more';
  await writeFile(join(folder, 'secret'), secret);
  const flags = ['--jwt-secret-file', join(folder, 'secret'), '--jwt-issuer', 'https://id.example', '--jwt-audience', 'game', '--trusted-proxies', '127.0.0.1'];
  const first = await Gateway.start(...flags);
  const second = await Gateway.beside(first, ...flags);
  const proxy = await startBalancer([first, second]);
  try {
    const claims = (sub) => ({ sub, iss: 'https://id.example', aud: 'game', exp: Math.floor(Date.now() / 1000) + 600 });
    const attacker = '127.0.0.66';
    for (let i = 0; i < 10; i++) { // also in the name of others, and as if they came from them
      const headers = i % 2 ? { 'X-Forwarded-For': '127.0.0.5' } : {};
      assert.deepEqual(await loginFrom(attacker, proxy.url, token('forged', claims(`player-${i}`)), headers), { status: 401, code: 'UNAUTHENTICATED' });
    }
    assert.deepEqual(await loginFrom(attacker, proxy.url, token('forged', claims('player-0'))), { status: 429, code: 'RATE_LIMITED' });
    assert.deepEqual(await loginFrom(attacker, proxy.url, token(secret, claims('player-0'))), { status: 429, code: 'RATE_LIMITED' }, 'the address is locked, on both nodes');
    for (let i = 0; i < 10; i++) {
      assert.equal((await loginFrom(`127.0.0.${5 + i}`, proxy.url, token(secret, claims(`player-${i}`)))).status, 201, `player-${i} plays on`);
    }
  } finally {
    await proxy.stop();
    await second.stop();
    await first.stop();
    await rm(folder, { recursive: true });
  }
});
