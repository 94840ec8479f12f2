// Gifts: what moves, and that it moves once.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { WAYS, closeAll, join, name } from './lib/player.js';

let gateway;
before(async () => { gateway = await Gateway.start('--limit', 'trade=off'); });
after(async () => {
  closeAll();
  try {
    await gateway.cli('trade', 'audit'); // exits 1 when anything was made or lost on the way
  } finally {
    await gateway.stop();
  }
});

const holds = async (player) => Object.fromEntries((await player.ask('inventory:list')).items.map((i) => [i.itemId, i.qty]));

for (const way of WAYS) {
  describe(`over ${way.way}`, { concurrency: true }, () => {
    test('a gift moves, and the same key again does not move it again', async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      assert.deepEqual(await ann.ask('inventory:list'), { items: [], gold: 0 });
      await gateway.mint(ann.user, 'sword', 3);
      assert.deepEqual(await ann.ask('inventory:list'), { items: [{ itemId: 'sword', qty: 3 }], gold: 0 });

      const gift = { to: bob.user, give: { items: [{ itemId: 'sword', qty: 2 }], gold: 0 }, idempotencyKey: name('key') };
      const trade = await ann.ask('trade:execute', gift);
      const { tradeId, createdAt, expiresAt, version, parties, ...rest } = trade;
      assert.deepEqual(rest, { status: 'completed' });
      assert.ok(tradeId && Number.isInteger(version) && Math.abs(createdAt - Date.now()) < 10_000 && expiresAt >= createdAt);
      assert.deepEqual(parties, [
        { userId: ann.user, characterId: ann.user, offer: gift.give, accepted: true },
        { userId: bob.user, characterId: bob.user, offer: { items: [], gold: 0 }, accepted: true },
      ]);
      assert.deepEqual([await holds(ann), await holds(bob)], [{ sword: 1 }, { sword: 2 }]);
      for (const player of [ann, bob]) assert.deepEqual(await player.hears('trade:completed'), trade);

      assert.deepEqual(await ann.ask('trade:execute', gift), trade);
      assert.deepEqual([await holds(ann), await holds(bob)], [{ sword: 1 }, { sword: 2 }]);
      assert.equal(bob.all('trade:completed').length, 1);

      const other = { ...gift, give: { items: [{ itemId: 'sword', qty: 1 }], gold: 0 } };
      assert.equal((await ann.refusal('trade:execute', other)).code, 'CONFLICT');
      assert.deepEqual(await holds(ann), { sword: 1 });
    });

    test('the same gift from two devices at once moves once', async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      const tablet = await join(gateway, way, ann.user);
      await gateway.mint(ann.user, 'potion', 9);
      const gift = { to: bob.user, give: { items: [{ itemId: 'potion', qty: 4 }], gold: 0 }, idempotencyKey: name('key') };
      const ids = await Promise.all([ann, tablet, ann, tablet].map(async (p) => (await p.ask('trade:execute', gift)).tradeId));
      assert.equal(new Set(ids).size, 1);
      assert.deepEqual([await holds(ann), await holds(bob)], [{ potion: 5 }, { potion: 4 }]);
    });

    test('nobody gives what they do not have, however fast they ask', async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      await gateway.mint(ann.user, 'bow', 3);
      const give = { items: [{ itemId: 'bow', qty: 1 }], gold: 0 };
      const answers = await Promise.all(Array.from({ length: 6 }, () => ann.answer('trade:execute', { to: bob.user, give, idempotencyKey: name('key') })));
      assert.equal(answers.filter((a) => a.ok).length, 3);
      for (const { error } of answers.filter((a) => !a.ok)) assert.equal(error.code, 'INSUFFICIENT_ITEMS');
      assert.deepEqual([await holds(ann), await holds(bob)], [{}, { bow: 3 }]);
    });
  });
}
