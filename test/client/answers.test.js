// Asking and answering: the envelope, and everything that a payload may not be.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { WAYS, closeAll, join, name } from './lib/player.js';

const BURST = 500;

let gateway;
before(async () => { gateway = await Gateway.start('--limit', 'chat=off', '--limit', 'combat=off', '--limit', 'trade=off'); });
after(() => {
  closeAll();
  return gateway.stop();
});

const gift = { to: 'bob', give: { items: [{ itemId: 'sword', qty: 1 }], gold: 0 }, idempotencyKey: 'k' };
const line = (qty) => ({ ...gift, give: { items: [{ itemId: 'sword', qty }], gold: 0 } });

// what is sent → the field that the answer names
const invalid = {
  'nothing where something is due': ['chat:join', undefined, 'channel'],
  'null where something is due': ['chat:join', null, 'channel'],
  'a list': ['chat:join', ['global'], ''],
  'a string': ['chat:join', 'global', ''],
  'a number': ['chat:join', 7, ''],
  'a boolean': ['session:ping', true, ''],
  'a number for a string': ['chat:join', { channel: 7 }, 'channel'],
  'an object for a string': ['chat:message', { channel: 'global', text: { toString: 'x' } }, 'text'],
  'a string for an object': ['trade:execute', { ...gift, give: 'sword' }, 'give'],
  'a string for a list': ['trade:execute', { ...gift, give: { items: 'sword', gold: 0 } }, 'give.items'],
  'a string for a number': ['trade:execute', line('1'), 'give.items[0].qty'],
  'half a sword': ['trade:execute', line(0.5), 'give.items[0].qty'],
  'no sword': ['trade:execute', line(0), 'give.items[0].qty'],
  'less than no sword': ['trade:execute', line(-3), 'give.items[0].qty'],
  'more swords than numbers': ['trade:execute', line(1e30), 'give.items[0].qty'],
  'an unknown field': ['chat:join', { channel: 'global', admin: true }, 'admin'],
  'an unknown field where none is due': ['session:ping', { now: 1 }, 'now'],
  'a prototype': ['chat:join', JSON.parse('{"channel":"global","__proto__":{"roles":["admin"]}}'), '__proto__'],
  'an unknown action': ['combat:action', { combatId: 'x', action: 'cheat' }, 'action'],
  'a long text': ['chat:message', { channel: 'global', text: 'x'.repeat(501) }, 'text'],
  'an empty text': ['chat:message', { channel: 'global', text: '' }, 'text'],
  'a channel that is none': ['chat:join', { channel: 'zone:../../etc' }, 'channel'],
};

for (const way of WAYS) {
  describe(`over ${way.way}`, () => {
    test('an event that does not exist', async () => {
      const ann = await join(gateway, way);
      for (const event of ['chat:shout', 'chat', 'x'.repeat(100), '__proto__', 'constructor', 'Session:ping', '']) {
        assert.equal((await ann.refusal(event, {})).code, 'UNKNOWN_EVENT', event);
      }
      await ann.ask('session:ping');
    });

    for (const [what, [event, payload, field]] of Object.entries(invalid)) {
      test(`${event} with ${what} is INVALID and names ${field || 'no field'}`, async () => {
        const ann = await join(gateway, way);
        await ann.ask('chat:join', { channel: 'global' });
        const error = await (payload === undefined ? ann.refusal(event) : ann.refusal(event, payload));
        assert.deepEqual({ code: error.code, field: error.field }, { code: 'INVALID', field });
        assert.notEqual(error.reason ?? '', '');
      });
    }

    test('absent, null and {} are the same where the table shows none', async () => {
      for (const payload of [[], [null], [{}]]) {
        const ann = await join(gateway, way);
        assert.deepEqual(Object.keys(await ann.ask('session:ping', ...payload)), ['ttlMs', 'serverTime']);
        assert.deepEqual(await ann.ask('inventory:list', ...payload), { items: [], gold: 0 });
        assert.deepEqual(await ann.ask('session:logout', ...payload), {});
        assert.equal((await ann.hears('session:revoked')).code, 'LOGGED_OUT');
      }
    });

    test('two payloads are one too many', async () => {
      const ann = await join(gateway, way);
      for (const payloads of [[{}, {}], [null, null], [{ channel: 'global' }, 1], Array(100).fill({})]) {
        assert.equal((await ann.refusal('session:ping', ...payloads)).code, 'INVALID');
      }
      await ann.ask('session:ping');
    });

    test('binary is INVALID, hurts nobody, and the neighbour keeps chatting', async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      const channel = `zone:${name('z')}`;
      await bob.ask('chat:join', { channel });
      const bytes = Buffer.from([0, 1, 2, 255]);
      for (const payload of [bytes, { channel, text: bytes }, { channel: 'global', text: 'x', blob: [bytes, bytes] }]) {
        assert.equal((await ann.refusal('chat:message', payload)).code, 'INVALID');
      }
      await bob.ask('chat:message', { channel, text: 'still here' });
      assert.equal((await bob.hears('chat:message')).text, 'still here');
      await ann.ask('session:ping');
    });

    test('without an acknowledgement a refusal is the event error, and a success is silent', async () => {
      const ann = await join(gateway, way);
      ann.socket.emit('chat:shout');
      ann.socket.emit('chat:join', { channel: 7 });
      ann.socket.emit('session:ping');
      await ann.ask('session:ping');
      const [unknown, wrong, ...more] = ann.all('error');
      assert.deepEqual(more, []);
      assert.equal(unknown.code, 'UNKNOWN_EVENT');
      assert.deepEqual(wrong, await ann.refusal('chat:join', { channel: 7 }));
    });

    test(`${BURST} quick pings are all answered, in order`, async () => {
      const ann = await join(gateway, way);
      const order = [];
      await Promise.all(Array.from({ length: BURST }, async (_, i) => {
        await ann.ask('session:ping');
        order.push(i);
      }));
      assert.deepEqual(order, Array.from({ length: BURST }, (_, i) => i));
    });

    test('answers of quick and of slow events keep the order of asking', async () => {
      const ann = await join(gateway, way);
      const order = [];
      const asks = Array.from({ length: 100 }, (_, i) => ['session:ping', 'inventory:list', 'chat:shout', 'combat:start'][i % 4]);
      await Promise.all(asks.map(async (event, i) => {
        await ann.answer(event, event === 'combat:start' ? { npc: 'training-dummy' } : {});
        order.push(i);
      }));
      assert.deepEqual(order, asks.map((_, i) => i));
    });
  });
}
