// Three gateways behind a balancer, as one.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startBalancer } from './lib/balancer.js';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, name } from './lib/player.js';
import { until } from './lib/wait.js';

const PLAYERS = 6;
const BURST = 100;

let gateways;
let balancer;
before(async () => {
  const first = await Gateway.start('--limit', 'chat=off', '--node', 'one');
  gateways = [first];
  for (const node of ['two', 'three']) gateways.push(await Gateway.beside(first, '--limit', 'chat=off', '--node', node));
  balancer = await startBalancer(gateways);
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
