// Every event of the contract: once as it should be, and with everything that its payload may not be. What a
// gateway's /asyncapi.json lists and what stands here are the same.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, join, name } from './lib/player.js';

const WAY = WAYS[1];
const LONG = 'x'.repeat(10_000);
const HUGE = 2 ** 53;

let gateway;
before(async () => { gateway = await Gateway.start(...['chat', 'combat', 'trade', 'errors'].flatMap((policy) => ['--limit', `${policy}=off`])); });
after(() => {
  closeAll();
  return gateway.stop();
});

/** scene sets the stage: two players in one channel, the first a moderator with a sword and a message that was said. */
async function scene() {
  const user = name('m');
  const sessionId = await gateway.session(user, '--role', 'moderator');
  const ann = Object.assign(await new Player(gateway.url, WAY, { auth: { sessionId } }).connected(), { user });
  const bob = await join(gateway, WAY);
  const channel = `zone:${name('z')}`;
  for (const p of [ann, bob]) await p.ask('chat:join', { channel });
  return { ann, bob, channel };
}

const sword = (qty = 1) => ({ items: [{ itemId: 'sword', qty }], gold: 0 });
const fight = async ({ ann }) => (await ann.ask('combat:start', { npc: 'training-dummy' })).combatId;
const challenge = async ({ ann, bob }) => (await bob.ask('combat:start', { opponentId: ann.user })).challengeId;
const trade = async ({ ann, bob }) => (await ann.ask('trade:propose', { to: bob.user })).tradeId;
const rich = ({ ann }) => gateway.mint(ann.user, 'sword', 3);
const said = async ({ ann, channel }) => (await ann.ask('chat:message', { channel, text: 'well' })).id;

// event → { as: a payload that is served, made on the stage; is: what must hold of the data;
//           needs: fields without which it is INVALID; long: fields that have a greatest length or value;
//           also: what is refused with a code of the feature's own, as [from that payload, the code] }.
const EVENTS = {
  'chat:ban': { as: ({ bob, channel }) => ({ userId: bob.user, channel, forMs: 60_000, reason: 'spam' }), is: (d, { bob }) => d.userId === bob.user, needs: ['userId', 'forMs'], long: ['userId', 'channel', 'forMs', 'reason'] },
  'chat:delete': { as: async (on) => ({ channel: on.channel, id: await said(on) }), is: (d, { sent }) => d.id === sent.id, needs: ['channel', 'id'], long: ['channel', 'id'] },
  'chat:history': { as: async (on) => ({ channel: on.channel, before: HUGE - 1, limit: 5, _: await said(on) }), is: (d) => d.messages.at(-1).text === 'well', needs: ['channel'], long: ['channel', 'before', 'limit'] },
  'chat:join': { as: ({ channel }) => ({ channel }), is: (d) => d.members === 2, needs: ['channel'], long: ['channel'] },
  'chat:leave': { as: ({ channel }) => ({ channel }), is: (d) => d.members === 1, needs: ['channel'], long: ['channel'] },
  'chat:message': { as: ({ channel }) => ({ channel, text: 'hello', clientId: 'c1' }), is: (d) => d.id !== '' && d.at > 0, needs: ['channel', 'text'], long: ['channel', 'text', 'clientId'] },
  'chat:mute': { as: ({ bob, channel }) => ({ userId: bob.user, channel, forMs: 60_000, reason: 'spam' }), is: (d, { bob }) => d.userId === bob.user, needs: ['userId', 'forMs'], long: ['userId', 'channel', 'forMs', 'reason'] },
  'chat:report': { as: async (on) => ({ channel: on.channel, id: await said(on), reason: 'spam' }), is: (d, { sent }) => d.id === sent.id, needs: ['channel', 'id'], long: ['channel', 'id', 'reason'] },
  'chat:slow': { as: ({ channel }) => ({ channel, everyMs: 1000 }), is: (d) => d.everyMs === 1000, needs: ['channel', 'everyMs'], long: ['channel', 'everyMs'] },
  'chat:unban': { as: async ({ ann, bob, channel }) => { await ann.ask('chat:ban', { userId: bob.user, channel, forMs: 60_000 }); return { userId: bob.user, channel }; }, is: (d, { bob }) => d.userId === bob.user, needs: ['userId'], long: ['userId', 'channel'] },
  'chat:unmute': { as: async ({ ann, bob, channel }) => { await ann.ask('chat:mute', { userId: bob.user, channel, forMs: 60_000 }); return { userId: bob.user, channel }; }, is: (d, { bob }) => d.userId === bob.user, needs: ['userId'], long: ['userId', 'channel'] },
  'chat:whisper': { as: ({ bob }) => ({ to: bob.user, text: 'psst', clientId: 'w1' }), is: (d) => d.delivered, needs: ['to', 'text'], long: ['to', 'text', 'clientId'] },
  'combat:accept': { as: async (on) => ({ challengeId: await challenge(on) }), is: (d, { bob }) => d.participants[0].userId === bob.user, needs: ['challengeId'], long: ['challengeId'] },
  'combat:decline': { as: async (on) => ({ challengeId: await challenge(on) }), is: (d, { sent }) => d.challengeId === sent.challengeId, needs: ['challengeId'], long: ['challengeId'] },
  'combat:duels': { as: () => ({ open: true }), is: (d) => d.open },
  'combat:action': { as: async (on) => ({ combatId: await fight(on), action: 'attack', target: (await on.ann.ask('combat:list')).combats[0].participants[1].id }), is: (d) => d.event.turn === 1, needs: ['combatId', 'action'], long: ['combatId', 'action', 'target'] },
  'combat:list': { is: (d) => d.combats.length === 0 },
  'combat:start': { as: () => ({ npc: 'training-dummy' }), is: (d) => d.status === 'active', long: ['npc'] },
  'combat:state': { as: async (on) => ({ combatId: await fight(on) }), is: (d, { sent }) => d.combatId === sent.combatId, needs: ['combatId'], long: ['combatId'] },
  'inventory:list': { is: (d) => d.gold === 0 && d.items.length === 0 },
  'leaderboard:around': { as: () => ({ name: 'global', span: 2 }), is: (d) => d.entries.length === 0, needs: ['name'], long: ['name', 'span'] },
  'leaderboard:rank': { as: () => ({ name: 'weekly' }), is: (d) => d.rank === undefined, needs: ['name'], long: ['name'] },
  'leaderboard:top': { as: () => ({ name: 'global', limit: 3 }), is: (d) => Array.isArray(d.entries), needs: ['name'], long: ['name', 'limit'] },
  'presence:count': { as: ({ channel }) => ({ channel }), is: (d) => d.count === 2, long: ['channel'] },
  'presence:list': { as: ({ channel }) => ({ channel, after: '', limit: 5 }), is: (d) => d.users.length === 2, long: ['channel', 'after', 'limit'] },
  'presence:seen': { as: ({ bob }) => ({ users: [bob.user] }), is: (d, { bob }) => d.users[0].userId === bob.user, needs: ['users'] },
  'session:character': { as: () => ({ characterId: name('c') }), is: (d, { sent }) => d.characterId === sent.characterId, needs: ['characterId'], long: ['characterId'] },
  'session:logout': { is: (d) => Object.keys(d).length === 0 },
  'session:ping': { is: (d) => d.ttlMs > 0 && d.serverTime > 0 },
  'session:time': { is: (d) => d.serverTimeUs > 1e15 },
  'trade:accept': { as: async (on) => { await rich(on); const tradeId = await trade(on); const { version } = await on.ann.ask('trade:offer', { tradeId, ...sword(), version: 1 }); return { tradeId, version }; }, is: (d, { ann }) => d.parties.find((p) => p.userId === ann.user).accepted, needs: ['tradeId', 'version'], long: ['tradeId'] },
  'trade:cancel': { as: async (on) => ({ tradeId: await trade(on) }), is: (d) => d.status === 'cancelled', needs: ['tradeId'], long: ['tradeId'] },
  'trade:execute': { as: async (on) => { await rich(on); return { to: on.bob.user, give: sword(2), idempotencyKey: name('k') }; }, is: (d) => d.status === 'completed', needs: ['to', 'idempotencyKey'], long: ['to', 'idempotencyKey'], also: { 'nothing to give': [(p) => ({ ...without(p, 'give'), idempotencyKey: name('k') }), 'TRADE_EMPTY'], 'more than there is': [(p) => ({ ...p, give: sword(4), idempotencyKey: name('k') }), 'INSUFFICIENT_ITEMS'] } },
  'trade:offer': { as: async (on) => { await rich(on); return { tradeId: await trade(on), ...sword(), version: 1 }; }, is: (d) => d.version === 2, needs: ['tradeId', 'version'], long: ['tradeId'], also: { 'more gold than there may be': [(p) => ({ ...p, gold: 1e12 + 1 }), 'TRADE_OVERFLOW'], 'a sword of nobody': [(p) => ({ ...p, items: [{ itemId: 'no-such', qty: 1 }] }), 'ITEM_UNKNOWN'], 'an old version': [(p) => ({ ...p, version: 9 }), 'TRADE_STALE'] } },
  'trade:propose': { as: ({ bob }) => ({ to: bob.user }), is: (d) => d.status === 'open', needs: ['to'], long: ['to'] },
  'user:ignore': { as: ({ bob }) => ({ userId: bob.user }), is: (d, { bob }) => d.userId === bob.user && d.total === 1, needs: ['userId'], long: ['userId'] },
  'user:ignored': { is: (d) => d.users.length === 0 },
  'user:unignore': { as: ({ bob }) => ({ userId: bob.user }), is: (d) => d.total === 0, needs: ['userId'], long: ['userId'] },
  'trade:state': { as: async (on) => ({ tradeId: await trade(on) }), is: (d, { sent }) => d.tradeId === sent.tradeId, needs: ['tradeId'], long: ['tradeId'] },
};

/** without gives a payload less one field. */
const without = (payload, field) => Object.fromEntries(Object.entries(payload).filter(([key]) => key !== field));

/** wrongs gives what must be refused as [what, payload, the field that the answer names]. */
function* wrongs(payload = {}, { needs = [], long = [] }) {
  for (const other of [7, 'x', true, ['x']]) yield [`${JSON.stringify(other)} for a payload`, other, ''];
  yield ['an unknown field', { ...payload, admin: true }, 'admin'];
  for (const field of needs) yield [`no ${field}`, without(payload, field), field];
  for (const [field, value] of Object.entries(payload)) {
    yield [`${field} of a wrong type`, { ...payload, [field]: typeof value === 'string' ? 7 : 'x' }, field];
    if (typeof value !== 'object') yield [`${field} as an object of its own`, { ...payload, [field]: { toString: 'x' } }, field];
  }
  for (const field of long) yield [`${field} beyond all bounds`, { ...payload, [field]: typeof payload[field] === 'string' ? LONG : HUGE * 2 }, field];
}

test('the contract has these events, and no others', () => {
  assert.deepEqual(Object.keys(EVENTS).sort(), gateway.contract.events());
});

for (const [event, about] of Object.entries(EVENTS)) {
  describe(event, () => {
    test('wrong payloads are refused and named, and the right one is served after them', async () => {
      const on = await scene();
      const { _, ...payload } = await about.as?.(on) ?? {};
      for (const [what, sent, field] of wrongs(payload, about)) {
        const { code, reason, ...error } = await on.ann.refusal(event, sent);
        assert.deepEqual({ what, code, field: error.field }, { what, code: 'INVALID', field });
        assert.notEqual(reason ?? '', '', what);
      }
      for (const [what, [make, code]] of Object.entries(about.also ?? {})) {
        assert.equal((await on.ann.refusal(event, make(payload))).code, code, what);
      }
      const data = await on.ann.ask(event, ...(about.as ? [payload] : []));
      assert.ok(about.is(data, { ...on, sent: payload }), JSON.stringify(data));
    });
  });
}
