// What the chat keeps and who may say it, on two gateways that share a Redis.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, join, name } from './lib/player.js';
import { until } from './lib/wait.js';

const WAY = WAYS[1];
const MINUTE = 60_000;

let one, two;
before(async () => {
  one = await Gateway.start('--limit', 'chat=off');
  two = await Gateway.beside(one, '--node', 'node-2', '--limit', 'chat=off');
});
after(async () => {
  closeAll();
  await two.stop();
  await one.stop();
});

/** withRoles connects a user whose session has these roles. */
async function withRoles(gateway, roles, user = name('m')) {
  const sessionId = await gateway.session(user, ...roles.flatMap((r) => ['--role', r]));
  const player = await new Player(gateway.url, WAY, { auth: { sessionId } }).connected();
  return Object.assign(player, { sessionId, user });
}

/** pair connects ann to the first gateway and bob to the second, both in a fresh channel. */
async function pair() {
  const [ann, bob] = [await join(one, WAY), await join(two, WAY)];
  const channel = `zone:${name('z')}`;
  for (const p of [ann, bob]) await p.ask('chat:join', { channel });
  return { ann, bob, channel };
}

const texts = ({ messages }) => messages.map((m) => m.text);

describe('whispers', () => {
  test('reach every device on every gateway, and nobody else', async () => {
    const { ann, bob, channel } = await pair();
    const phone = await join(one, WAYS[0], bob.user);
    const eve = await join(one, WAY);
    await eve.ask('chat:join', { channel });
    const { id, at, delivered } = await ann.ask('chat:whisper', { to: bob.user, text: 'psst', clientId: 'w1' });
    assert.equal(delivered, true);
    for (const device of [bob, phone]) {
      assert.deepEqual(await device.hears('chat:whisper'), { id, at, text: 'psst', clientId: 'w1', from: { userId: ann.user, username: ann.user, characterId: ann.user } });
    }
    await eve.ask('session:ping');
    assert.deepEqual([...eve.all('chat:whisper'), ...ann.all('chat:whisper')], []);
  });

  test('to nobody are not delivered, and a retry is answered as the first, on any gateway', async () => {
    const { ann, bob } = await pair();
    const lost = await ann.ask('chat:whisper', { to: name('nobody'), text: 'hello?' });
    assert.equal(lost.delivered, false);
    const first = await ann.ask('chat:whisper', { to: bob.user, text: 'once', clientId: 'w' });
    const again = await (await join(two, WAY, ann.user)).ask('chat:whisper', { to: bob.user, text: 'once', clientId: 'w' });
    assert.deepEqual(again, first);
    await bob.ask('session:ping');
    assert.equal(bob.all('chat:whisper').length, 1);
  });

  test('of somebody who is ignored do not arrive, and neither do their trades: the sender can not tell', async () => {
    const { ann, bob } = await pair();
    const phone = await join(one, WAYS[0], bob.user);
    assert.deepEqual(await bob.ask('user:ignore', { userId: ann.user }), { userId: ann.user, total: 1 });
    const said = await ann.ask('chat:whisper', { to: bob.user, text: 'psst' });
    const lost = await ann.ask('chat:whisper', { to: name('nobody'), text: 'psst' });
    assert.deepEqual(Object.keys(said), Object.keys(lost));
    assert.equal(said.delivered, false);
    const deal = await ann.ask('trade:propose', { to: bob.user });
    assert.equal(deal.status, 'open');
    assert.deepEqual(await ann.hears('trade:proposed'), deal);
    assert.deepEqual(await ann.ask('trade:state', { tradeId: deal.tradeId }), deal);
    assert.equal((await ann.ask('trade:cancel', { tradeId: deal.tradeId })).status, 'cancelled');
    const back = await join(one, WAY, bob.user); // who comes back is not told either

    assert.deepEqual(await phone.ask('user:unignore', { userId: ann.user }), { userId: ann.user, total: 0 });
    const heard = await ann.ask('chat:whisper', { to: bob.user, text: 'again' });
    assert.equal(heard.delivered, true);
    for (const device of [bob, phone, back]) {
      assert.equal((await device.hears('chat:whisper')).text, 'again');
      assert.deepEqual([device.all('chat:whisper').length, device.all('trade:proposed'), device.all('trade:cancelled'), device.all('trade:updated')], [1, [], [], []]);
    }
  });

  for (const [what, payload, field] of [
    ['nobody', { text: 'x' }, 'to'], ['nothing', { to: 'bob' }, 'text'], ['a number', { to: 7, text: 'x' }, 'to'],
    ['a line break', { to: 'bob', text: 'a\nb' }, 'text'], ['501 characters', { to: 'bob', text: 'x'.repeat(501) }, 'text'], ['more', { to: 'bob', text: 'x', loud: true }, 'loud'],
  ]) {
    test(`with ${what} are refused`, async () => {
      const error = await (await join(one, WAY)).refusal('chat:whisper', payload);
      assert.equal(error.code, 'INVALID');
      assert.equal(error.field, field);
    });
  }
});

describe('retries', () => {
  test('of a message are not said again, on any gateway', async () => {
    const { ann, bob, channel } = await pair();
    const first = await ann.ask('chat:message', { channel, text: 'hello', clientId: 'c1' });
    const back = await join(two, WAY, ann.user);
    await back.ask('chat:join', { channel });
    for (const p of [back, ann]) assert.deepEqual(await p.ask('chat:message', { channel, text: 'hello', clientId: 'c1' }), first);
    const fresh = await back.ask('chat:message', { channel, text: 'hello', clientId: 'c2' });
    assert.notEqual(fresh.id, first.id);
    await bob.hears('chat:message', 2);
    await bob.ask('session:ping');
    assert.deepEqual(bob.all('chat:message').map((m) => m.id), [first.id, fresh.id]);
    assert.deepEqual(texts(await bob.ask('chat:history', { channel })), ['hello', 'hello']);
  });

  test('over HTTP are the same message', async () => {
    const { ann, bob, channel } = await pair();
    const post = async (gateway) => (await gateway.post('/chat/message', { channel, text: 'by post', clientId: 'p' }, { Authorization: `Bearer ${ann.sessionId}` })).json();
    const first = await post(one);
    assert.deepEqual(await post(two), first);
    await bob.hears('chat:message');
    await bob.ask('session:ping');
    assert.equal(bob.all('chat:message').length, 1);
  });
});

describe('history', () => {
  test('is what was heard, and is read in pages on any gateway', async () => {
    const { ann, bob, channel } = await pair();
    const want = Array.from({ length: 25 }, (_, i) => `${i}`);
    for (const [i, text] of want.entries()) await (i % 2 ? ann : bob).ask('chat:message', { channel, text, clientId: text });
    await ann.hears('chat:message', want.length);
    const all = await bob.ask('chat:history', { channel });
    assert.deepEqual(all.messages, ann.all('chat:message').toSorted((a, b) => all.messages.findIndex((m) => m.id === a.id) - all.messages.findIndex((m) => m.id === b.id)));
    assert.equal(all.next, undefined);
    const read = [];
    for (let before; ;) {
      const page = await ann.ask('chat:history', { channel, limit: 4, before });
      read.unshift(...texts(page));
      if (!(before = page.next)) break;
    }
    assert.deepEqual(read, texts(all));
    assert.deepEqual(texts(await ann.ask('chat:history', { channel, before: all.messages[0].at })), []);
  });

  test('is for those who are there', async () => {
    const { channel } = await pair();
    const eve = await join(one, WAY);
    assert.equal((await eve.refusal('chat:history', { channel })).code, 'NOT_IN_CHANNEL');
    assert.equal((await eve.refusal('chat:history', { channel: 'nowhere' })).field, 'channel');
    assert.equal((await eve.refusal('chat:history', { channel, limit: 1000 })).field, 'limit');
    assert.equal((await eve.refusal('chat:history', { channel, before: 'yesterday' })).field, 'before');
  });
});

describe('moderators', () => {
  test('mute, everywhere, and unmute', async () => {
    const { ann, bob, channel } = await pair();
    const mod = await withRoles(two, ['moderator']);
    const sanction = await mod.ask('chat:mute', { userId: ann.user, channel, forMs: MINUTE, reason: 'rude' });
    assert.deepEqual(await ann.hears('chat:sanction'), sanction);
    assert.deepEqual([sanction.kind, sanction.userId, sanction.by, sanction.reason], ['mute', ann.user, mod.user, 'rude']);
    let error;
    await until(async () => ({ error } = await ann.answer('chat:message', { channel, text: 'still here' })).error, 'the mute');
    assert.equal(error.code, 'CHAT_MUTED');
    assert.equal(error.until, sanction.until);
    assert.ok(error.retryAfterMs > 0 && error.retryAfterMs <= MINUTE);
    await bob.ask('chat:message', { channel, text: 'others may' });
    await ann.ask('chat:join', { channel: 'global' });
    await ann.ask('chat:message', { channel: 'global', text: 'elsewhere I may' });

    const lifted = await mod.ask('chat:unmute', { userId: ann.user, channel });
    assert.equal(lifted.until, 0);
    await until(async () => (await ann.answer('chat:message', { channel, text: 'again' })).ok, 'the end of the mute');
    assert.equal((await mod.refusal('chat:unmute', { userId: ann.user, channel })).code, 'NOT_FOUND');
  });

  test('ban from a channel: who is in is taken out, and does not come back', async () => {
    const { ann, bob, channel } = await pair();
    const mod = await withRoles(one, ['admin']);
    await mod.ask('chat:ban', { userId: bob.user, channel, forMs: MINUTE });
    assert.equal((await bob.hears('chat:sanction')).kind, 'ban');
    await until(async () => (await bob.answer('chat:message', { channel, text: 'x' })).error?.code === 'NOT_IN_CHANNEL', 'the ban');
    assert.equal((await bob.refusal('chat:join', { channel })).code, 'CHAT_BANNED');
    await ann.ask('chat:message', { channel, text: 'gone' });
    await bob.ask('session:ping');
    assert.deepEqual(bob.all('chat:message').filter((m) => m.text === 'gone'), []);
    await mod.ask('chat:unban', { userId: bob.user, channel });
    await until(async () => (await bob.answer('chat:join', { channel })).ok, 'the end of the ban');
    assert.equal((await mod.refusal('chat:unban', { userId: bob.user, channel })).code, 'NOT_FOUND');
  });

  test('delete a message, and all are told', async () => {
    const { ann, bob, channel } = await pair();
    const mod = await withRoles(two, ['moderator']);
    const { id } = await ann.ask('chat:message', { channel, text: 'regret', clientId: 'r' });
    const told = { channel, id, by: mod.user };
    assert.deepEqual(await mod.ask('chat:delete', { channel, id }), told);
    for (const p of [ann, bob]) assert.deepEqual(await p.hears('chat:deleted'), told);
    assert.deepEqual(texts(await ann.ask('chat:history', { channel })), []);
    assert.equal((await mod.refusal('chat:delete', { channel, id })).code, 'NOT_FOUND');
    assert.equal((await mod.refusal('chat:delete', { channel, id: 'x' })).field, 'id');
  });

  test('slow a channel down, on both gateways', async () => {
    const { ann, bob, channel } = await pair();
    const mod = await withRoles(one, ['moderator']);
    await mod.ask('chat:join', { channel });
    await mod.ask('chat:slow', { channel, everyMs: MINUTE });
    assert.deepEqual(await bob.hears('chat:slowed'), { channel, everyMs: MINUTE, by: mod.user });
    await ann.ask('chat:message', { channel, text: 'first' });
    const error = await ann.refusal('chat:message', { channel, text: 'second' });
    assert.deepEqual([error.code, error.policy, error.scope, error.limit, error.remaining, error.windowMs], ['RATE_LIMITED', 'slow', 'user', 1, 0, MINUTE]);
    assert.ok(error.retryAfterMs > 0 && error.retryAfterMs <= MINUTE);
    await until(async () => (await bob.answer('chat:message', { channel, text: 'x' })).error?.code === 'RATE_LIMITED', 'the other gateway to know');
    for (const text of ['a', 'b']) await mod.ask('chat:message', { channel, text });
    await mod.ask('chat:slow', { channel, everyMs: 0 });
    await ann.ask('chat:message', { channel, text: 'free' });
  });

  test('are nobody else', async () => {
    const ann = await join(one, WAY);
    for (const [event, payload] of Object.entries({
      'chat:mute': { userId: 'bob', forMs: MINUTE }, 'chat:unmute': { userId: 'bob' }, 'chat:ban': { userId: 'bob', forMs: MINUTE }, 'chat:unban': { userId: 'bob' },
      'chat:delete': { channel: 'global', id: '01JZZZZZZZZZZZZZZZZZZZZZZZ' }, 'chat:slow': { channel: 'global', everyMs: 1 },
    })) assert.equal((await ann.refusal(event, payload)).code, 'FORBIDDEN', event);
  });

  test('are refused what makes no sense', async () => {
    const mod = await withRoles(one, ['moderator']);
    for (const [event, payload, field] of [
      ['chat:mute', { forMs: MINUTE }, 'userId'], ['chat:mute', { userId: 'bob' }, 'forMs'], ['chat:mute', { userId: 'bob', forMs: 1 }, 'forMs'],
      ['chat:ban', { userId: 'bob', forMs: MINUTE, channel: 'nowhere' }, 'channel'], ['chat:ban', { userId: ' b', forMs: MINUTE }, 'userId'],
      ['chat:slow', { channel: 'global', everyMs: -1 }, 'everyMs'], ['chat:delete', { channel: 'global' }, 'id'],
    ]) {
      const error = await mod.refusal(event, payload);
      assert.equal(error.code, 'INVALID', event);
      assert.equal(error.field, field, event);
    }
  });
});

test('what moderators do is in the log, without a text', async () => {
  const mod = await withRoles(one, ['moderator']);
  await mod.ask('chat:mute', { userId: 'somebody', forMs: MINUTE, reason: 'unspeakable' });
  const line = await until(() => one.log.split('\n').find((l) => l.includes('"moderated"') && l.includes('somebody')), 'the audit');
  assert.ok(line.includes(mod.user) && line.includes('chat:mute'));
  assert.ok(!one.log.includes('unspeakable'));
});

