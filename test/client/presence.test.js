// Who is online, who is where, and who was seen when, on two gateways that share a Redis.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { WAYS, closeAll, join, name } from './lib/player.js';
import { until } from './lib/wait.js';

const WAY = WAYS[1];

let one, two;
before(async () => {
  one = await Gateway.start();
  two = await Gateway.beside(one, '--node', 'node-2');
});
after(async () => {
  closeAll();
  await two.stop();
  await one.stop();
});

const shown = (user) => ({ userId: user, username: user, characterId: user });
const present = async (p, channel) => (await p.ask('presence:list', { channel })).users.map((u) => u.userId);
const moves = (p, event, channel) => p.all(event).filter((m) => m.channel === channel).map((m) => m.user.userId);

for (const way of WAYS) {
  describe(`over ${way.way}`, () => {
    test('who comes into a channel and goes is told and listed once, whatever the devices', async () => {
      const channel = `zone:${name('z')}`;
      const ann = await join(one, way);
      await ann.ask('chat:join', { channel });
      await until(async () => (await present(ann, channel)).length === 1, 'ann to be there');
      const phone = await join(two, way, name('bob'));
      const laptop = await join(one, way, phone.user);
      await phone.ask('chat:join', { channel });
      await until(() => moves(ann, 'presence:joined', channel).includes(phone.user), 'bob to come');
      await laptop.ask('chat:join', { channel });
      const both = [ann.user, phone.user].toSorted();
      for (const p of [ann, phone, laptop]) {
        assert.deepEqual(await p.ask('presence:list', { channel }), { users: both.map(shown), total: 2 });
        assert.deepEqual(await p.ask('presence:count', { channel }), { count: 2 });
      }
      await phone.ask('chat:leave', { channel });
      await laptop.ask('chat:leave', { channel });
      await until(() => moves(ann, 'presence:left', channel).length > 0, 'bob to go');
      assert.deepEqual(await present(ann, channel), [ann.user]);
      assert.deepEqual(moves(ann, 'presence:joined', channel).filter((u) => u !== ann.user), [phone.user]);
      assert.deepEqual(moves(ann, 'presence:left', channel), [phone.user]);
      assert.deepEqual(ann.all('presence:left')[0], { channel, user: shown(phone.user) });
    });
  });
}

test('who reconnects to the other gateway was never gone', async () => {
  const channel = `zone:${name('z')}`;
  const ann = await join(one, WAY);
  await ann.ask('chat:join', { channel });
  let bob = await join(two, WAY, name('bob'));
  await bob.ask('chat:join', { channel });
  await until(async () => (await present(ann, channel)).length === 2, 'bob to come');
  for (const gateway of [one, two, one]) {
    bob.close();
    bob = await join(gateway, WAY, bob.user);
    await bob.ask('chat:join', { channel });
    assert.ok((await present(ann, channel)).includes(bob.user));
  }
  assert.deepEqual(moves(ann, 'presence:left', channel), []);
  assert.equal(moves(ann, 'presence:joined', channel).filter((u) => u === bob.user).length, 1);
});

test('who is online, and was seen when', async () => {
  const ann = await join(one, WAY);
  const bob = await join(two, WAY, name('bob'));
  const seen = async () => (await ann.ask('presence:seen', { users: [bob.user, ann.user, 'nobody'] })).users;
  await until(async () => (await seen())[0].online && (await seen())[1].online, 'both to be online');
  assert.ok((await one.redis.command('SMEMBERS', 'online:users')).includes(bob.user));
  assert.deepEqual((await seen())[2], { userId: 'nobody', online: false });
  const { count } = await ann.ask('presence:count', {});
  const all = [];
  for (let after; ;) {
    const page = await ann.ask('presence:list', { limit: 1, after });
    all.push(...page.users.map((u) => u.userId));
    if (!(after = page.next)) break;
  }
  assert.ok(all.length >= 2 && count >= 2);
  assert.deepEqual(all, [...new Set(all)].toSorted());
  bob.close();
  await until(async () => !(await seen())[0].online, 'bob to be gone', 20_000);
  assert.ok(Math.abs((await seen())[0].lastSeenAt - Date.now()) < 30_000);
  assert.equal(await one.redis.command('SISMEMBER', 'online:users', bob.user), 0);
});

test('a gateway that is killed leaves no ghosts', async () => {
  const channel = `zone:${name('z')}`;
  const ann = await join(one, WAY);
  await ann.ask('chat:join', { channel });
  const third = await Gateway.beside(one, '--node', 'node-3');
  const bob = await join(third, WAY, name('bob'));
  await bob.ask('chat:join', { channel });
  await until(async () => (await present(ann, channel)).length === 2, 'bob to come');
  third.child.kill('SIGKILL');
  third.unguard();
  const begun = Date.now();
  await until(async () => (await present(ann, channel)).length === 1, 'bob to be gone', 20_000);
  assert.ok(Date.now() - begun < 12_000, 'the lease is ten seconds');
  await until(() => moves(ann, 'presence:left', channel).length === 1, 'it to be told');
  assert.equal(await one.redis.command('SISMEMBER', 'online:users', bob.user), 0);
});

for (const [event, payload, code, field] of [
  ['presence:list', { channel: 'zone:elsewhere' }, 'NOT_IN_CHANNEL'],
  ['presence:count', { channel: 'nowhere' }, 'NOT_IN_CHANNEL'],
  ['presence:list', { channel: 7 }, 'INVALID', 'channel'],
  ['presence:list', { limit: 201 }, 'INVALID', 'limit'],
  ['presence:seen', {}, 'INVALID', 'users'],
  ['presence:seen', { users: Array.from({ length: 101 }, (_, i) => `${i}`) }, 'INVALID', 'users'],
]) {
  test(`${event} ${JSON.stringify(payload).slice(0, 40)} is ${code}`, async () => {
    const error = await (await join(one, WAY)).refusal(event, payload);
    assert.equal(error.code, code);
    assert.equal(error.field, field);
  });
}
