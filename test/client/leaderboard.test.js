// The boards, as players read them.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { WAYS, closeAll, join } from './lib/player.js';

const BOARD = 'leaderboard:global:scores';

let gateway;
before(async () => { gateway = await Gateway.start(); });
after(() => {
  closeAll();
  return gateway.stop();
});

for (const way of WAYS) {
  describe(`over ${way.way}`, () => {
    test('the top, around me, and my rank', async () => {
      await gateway.redis.command('DEL', BOARD);
      for (let i = 1; i <= 30; i++) await gateway.redis.command('ZADD', BOARD, String(i * 10), `c${i}`);
      const ann = await join(gateway, way);
      assert.deepEqual(await ann.ask('leaderboard:rank', { name: 'global' }), { name: 'global', total: 30 });
      assert.deepEqual(await ann.ask('leaderboard:around', { name: 'global' }), { name: 'global', total: 30, entries: [] });
      await gateway.redis.command('ZADD', BOARD, '155', ann.user);

      const top = await ann.ask('leaderboard:top', { name: 'global', limit: 2 });
      assert.deepEqual(top, {
        name: 'global', total: 31,
        entries: [{ rank: 1, id: 'c30', name: 'c30', score: 300 }, { rank: 2, id: 'c29', name: 'c29', score: 290 }],
      });
      assert.equal((await ann.ask('leaderboard:top', { name: 'global' })).entries.length, 10);
      assert.deepEqual(await ann.ask('leaderboard:rank', { name: 'global' }), { name: 'global', total: 31, rank: 16, score: 155 });
      const around = await ann.ask('leaderboard:around', { name: 'global', span: 1 });
      assert.deepEqual(around.entries.map((e) => [e.rank, e.id]), [[15, 'c16'], [16, ann.user], [17, 'c15']]);
    });

    test('the week begins on a Monday at midnight UTC, and last week can still be read', async () => {
      const ann = await join(gateway, way);
      const { from, until, entries } = await ann.ask('leaderboard:top', { name: 'weekly' });
      assert.equal(new Date(from).toUTCString().slice(0, 3), 'Mon');
      assert.equal(from % 86_400_000, 0);
      assert.equal(until - from, 7 * 86_400_000);
      assert.ok(from <= Date.now() && Date.now() < until);
      assert.deepEqual(entries, []);
      const day = (ms) => new Date(ms).toISOString().slice(0, 10);
      assert.equal((await ann.ask('leaderboard:top', { name: `weekly:${day(from - 7 * 86_400_000)}` })).until, from);
      assert.equal((await ann.refusal('leaderboard:top', { name: `weekly:${day(until)}` })).code, 'NOT_FOUND');
      assert.equal((await ann.refusal('leaderboard:top', { name: `weekly:${day(from - 9 * 7 * 86_400_000)}` })).code, 'NOT_FOUND');
    });

    test('what is refused', async () => {
      const ann = await join(gateway, way);
      for (const [event, payload, code, field] of [
        ['leaderboard:top', undefined, 'INVALID', 'name'],
        ['leaderboard:top', { name: 'monthly' }, 'NOT_FOUND'],
        ['leaderboard:top', { name: 'global', limit: 101 }, 'INVALID', 'limit'],
        ['leaderboard:around', { name: 'global', span: 51 }, 'INVALID', 'span'],
        ['leaderboard:around', { name: 'global', who: 'c1' }, 'INVALID', 'who'],
        ['leaderboard:rank', { name: 7 }, 'INVALID', 'name'],
        ['leaderboard:rank', { name: 'global:scores' }, 'NOT_FOUND'],
      ]) {
        const error = await ann.refusal(event, payload);
        assert.deepEqual([error.code, error.field], [code, field], `${event} ${JSON.stringify(payload)}`);
      }
    });
  });
}
