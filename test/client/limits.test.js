// Limits as a player meets them: refusals, warnings, and the end of a flood.
import assert from 'node:assert/strict';
import { after as afterAll, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { WAYS, Player, closeAll, join, name } from './lib/player.js';
import { until } from './lib/wait.js';

let gateway;
before(async () => { gateway = await Gateway.start('--limit', 'chat=5/60s', '--limit', 'chat@vip=8/60s', '--limit', 'errors=3/60s', '--limit', 'combat=2/60s'); });
afterAll(() => {
  closeAll();
  return gateway.stop();
});

const say = { channel: 'global', text: 'x' };

for (const way of WAYS) {
  describe(`over ${way.way}`, { concurrency: true }, () => {
    test('under a fifth is left: limits says so once, behind the answer', async () => {
      const ann = await join(gateway, way);
      await ann.ask('chat:join', { channel: 'global' });
      for (let i = 0; i < 5; i++) await ann.ask('chat:message', say);
      await until(() => ann.all('limits').length === 2, 'the warning');
      assert.deepEqual(ann.all('limits')[1], { policies: [{ name: 'chat', limit: 5, windowMs: 60_000, scope: 'user', remaining: 0 }] });
      assert.equal((await ann.refusal('chat:message', say)).policy, 'chat');
      assert.equal(ann.all('limits').length, 2);
    });

    test('a role has a limit of its own, and is told it', async () => {
      const user = name('vip');
      const sessionId = await gateway.session(user, '--role', 'vip');
      const vip = await new Player(gateway.url, way, { auth: { sessionId } }).connected();
      const { policies } = await vip.hears('limits');
      assert.equal(policies.find((p) => p.name === 'chat').limit, 8);
      await vip.ask('chat:join', { channel: 'global' });
      for (let i = 0; i < 8; i++) await vip.ask('chat:message', say);
      assert.equal((await vip.refusal('chat:message', say)).limit, 8);
    });

    test('malformed events are limited by connection', async () => {
      const ann = await join(gateway, way);
      const codes = [];
      for (const event of ['chat:leave', 'chat:join', 'chat:leave', 'chat:join', 'chat:leave']) codes.push((await ann.refusal(event, { nope: 1 })).code);
      assert.deepEqual(codes, ['INVALID', 'INVALID', 'INVALID', 'RATE_LIMITED', 'RATE_LIMITED']);
      await ann.ask('session:ping');
    });

    test('who goes on and on is told, closed, and may come back', async () => {
      const user = name('flood');
      const ann = await join(gateway, way, user);
      const { combatId } = await ann.ask('combat:start', { npc: 'training-dummy' });
      for (let i = 0; i < 40; i++) ann.socket.emit('combat:action', { combatId, action: 'defend' });
      const reason = await ann.hears('disconnect');
      assert.equal(reason, 'transport close');
      assert.equal(ann.socket.active, true, 'it comes back by itself');
      const fatal = ann.all('error').filter((e) => e.fatal);
      assert.equal(fatal.length, 1);
      assert.deepEqual({ code: fatal[0].code, policy: fatal[0].policy }, { code: 'RATE_LIMITED', policy: 'combat' });
      const again = await join(gateway, way, user);
      assert.equal((await again.refusal('combat:action', { combatId, action: 'defend' })).policy, 'combat', 'the window is the same');
    });
  });
}

test('operators change limits while players play', async () => {
  const ann = await join(gateway, WAYS[1]);
  await gateway.cli('limits', 'set', 'trade=77/60s');
  await until(() => ann.all('limits').some((l) => l.policies.some((p) => p.name === 'trade' && p.limit === 77)), 'the new limit');
});

test('what no feature limits has a budget: events of a connection, reads and joins of a user', async () => {
  const flags = ['events=300/3s', 'reads=60/3s', 'rooms=15/3s'].flatMap((limit) => ['--limit', limit]); // the defaults
  const usual = await Gateway.beside(gateway, ...flags, '--node', 'usual');
  try {
    const refused = async (player, count, ...args) => {
      const answers = await Promise.all(Array.from({ length: count }, () => player.answer(...args)));
      return answers.filter((a) => !a.ok).map((a) => `${a.error.code} ${a.error.policy}`);
    };
    assert.deepEqual(await refused(await join(usual, WAYS[1]), 63, 'inventory:list'), Array(3).fill('RATE_LIMITED reads'));
    assert.deepEqual(await refused(await join(usual, WAYS[1]), 18, 'chat:join', { channel: 'zone:1' }), Array(3).fill('RATE_LIMITED rooms'));
    const spent = await refused(await join(usual, WAYS[1]), 310, 'session:ping');
    assert.ok(spent.length > 0 && spent.length <= 10, `${spent.length} of 310 were refused`); // a slow machine may take longer than the window
    assert.deepEqual([...new Set(spent)], ['RATE_LIMITED events']);
  } finally {
    await usual.stop();
  }
});
