// Fights between two players, each on a gateway of their own.
import assert from 'node:assert/strict';
import { after as afterAll, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { WAYS, closeAll, join, name } from './lib/player.js';
import { after, until } from './lib/wait.js';

const TIMEOUT = 2000;
const CLOCK = 50; // what the clocks of this process and of the gateways may differ by in reading the same one

let one;
let two;
before(async () => {
  const flags = ['--limit', 'combat=off', '--combat-timeout', `${TIMEOUT}ms`];
  one = await Gateway.start(...flags);
  two = await Gateway.beside(one, '--node', 'node-2', ...flags);
});
afterAll(async () => {
  closeAll();
  try {
    await one.cli('trade', 'audit'); // every reward is in the ledger
  } finally {
    await two.stop();
    await one.stop();
  }
});

const versions = (player, combatId) => player.all('combat:update').filter((u) => u.combatId === combatId).map((u) => u.state.version);
const inOrder = (n) => Array.from({ length: n }, (_, i) => i + 2);

// strike attacks as soon as the server lets the player, and gives the state, or null once the fight is over.
async function strike(player, combatId) {
  for (;;) {
    const answer = await player.answer('combat:action', { combatId, action: 'attack' });
    if (answer.ok) return answer.data.state;
    if (answer.error.code === 'COMBAT_OVER') return null;
    assert.ok(['COMBAT_TOO_SOON', 'LOCKED'].includes(answer.error.code), JSON.stringify(answer));
    await after(answer.error.retryAfterMs);
  }
}

/** duel lets ann challenge bob, who accepts. */
async function duel(ann, bob) {
  const { challengeId } = await ann.ask('combat:start', { opponentId: bob.user });
  return bob.ask('combat:accept', { challengeId });
}

async function fightOut(ann, bob, combatId) {
  let state;
  const play = async (player) => {
    for (let s; (s = await strike(player, combatId));) if (s.status === 'ended') state = s;
  };
  await Promise.all([play(ann), play(bob)]);
  return state;
}

for (const way of WAYS) {
  describe(`over ${way.way}`, { concurrency: true }, () => {
    test('two players on two nodes fight to the end: all who follow hear all of it in order, the winner is paid and counted', async () => {
      const [ann, bob, eve] = [await join(one, way), await join(two, way), await join(two, way)];
      const tablet = await join(one, way, bob.user);
      const { challengeId, expiresInMs } = await ann.ask('combat:start', { opponentId: bob.user });
      assert.equal(expiresInMs, 30_000);
      for (const player of [bob, tablet]) {
        assert.deepEqual(await player.hears('combat:challenged'), { challengeId, from: { userId: ann.user, characterId: ann.user, name: ann.user }, opponentId: bob.user, expiresInMs });
        assert.deepEqual(player.all('combat:started'), []);
      }
      const start = await tablet.ask('combat:accept', { challengeId });
      const { combatId } = start;
      assert.deepEqual(start.participants.map((p) => [p.id, p.kind, p.userId]), [[ann.user, 'player', ann.user], [bob.user, 'player', bob.user]]);
      for (const player of [ann, bob, tablet]) assert.deepEqual(await player.hears('combat:started'), { combatId, challengeId, state: start });
      assert.deepEqual((await bob.ask('combat:list')).combats, [start]);
      await eve.ask('chat:join', { channel: `combat:${combatId}` }); // a spectator
      await bob.ask('chat:join', { channel: `combat:${combatId}` }); // hears nothing twice

      const last = await fightOut(ann, bob, combatId);
      assert.equal(last.outcome, 'defeated');
      const winner = [ann, bob].find((p) => p.user === last.winner);
      for (const player of [ann, bob, tablet, eve]) {
        const end = await player.hears('combat:ended');
        assert.deepEqual(end, { combatId, winner: winner.user, outcome: 'defeated', rewards: { items: [], gold: 10 }, version: last.version });
        assert.deepEqual(versions(player, combatId), inOrder(last.version - 1), 'each update once, in order');
        assert.equal(player.heard.findLast((h) => h.event.startsWith('combat:')).event, 'combat:ended', 'nothing comes after it');
      }
      assert.deepEqual(await winner.ask('inventory:list'), { items: [], gold: 10 });
      const { rank, score } = await winner.ask('leaderboard:rank', { name: 'weekly' });
      assert.ok(rank >= 1 && score === 10);
      const loser = winner === ann ? bob : ann;
      assert.equal((await loser.ask('leaderboard:rank', { name: 'global' })).rank, undefined);
      assert.deepEqual((await loser.ask('combat:list')).combats, []);
      assert.equal((await loser.refusal('combat:action', { combatId, action: 'attack' })).code, 'COMBAT_OVER');
      assert.equal((await ann.ask('combat:state', { combatId })).winner, winner.user);
    });

    test('a player acts only in their own fight, on a living target, and not before nextActionAt', async () => {
      const [ann, bob, eve] = [await join(one, way), await join(two, way), await join(two, way)];
      const { combatId } = await duel(ann, bob);
      const { state } = await ann.ask('combat:action', { combatId, action: 'defend' });
      assert.equal(state.participants[0].guarding, true);
      const early = await ann.refusal('combat:action', { combatId, action: 'attack' });
      assert.equal(early.code, 'COMBAT_TOO_SOON');
      assert.equal(early.nextActionAt, state.participants[0].nextActionAt);
      assert.ok(early.retryAfterMs > 0 && early.retryAfterMs <= 2000);
      await bob.ask('combat:action', { combatId, action: 'skill', target: ann.user });
      assert.equal((await eve.refusal('combat:action', { combatId, action: 'attack' })).code, 'FORBIDDEN');
      await until(() => Date.now() > early.nextActionAt + CLOCK, 'the next action');
      for (const target of [ann.user, eve.user]) {
        assert.deepEqual(await ann.refusal('combat:action', { combatId, action: 'attack', target }), {
          code: 'INVALID', message: 'The request is not valid.', field: 'target', reason: 'no living opponent',
        });
      }
      assert.equal((await ann.ask('combat:action', { combatId, action: 'flee' })).event.by, ann.user);
    });

    test('challenges that are refused', async () => {
      const [ann, bob] = [await join(one, way), await join(two, way)];
      assert.equal((await ann.refusal('combat:start', { opponentId: ann.user })).field, 'opponentId');
      assert.equal((await ann.refusal('combat:start', { opponentId: bob.user, npc: 'goblin' })).code, 'INVALID');
      assert.equal((await ann.refusal('combat:start')).code, 'INVALID');
      assert.equal((await ann.refusal('combat:start', { opponentId: 'nobody' })).code, 'NOT_FOUND');
      const away = await ann.refusal('combat:start', { opponentId: name('away') });
      assert.equal(away.code, 'COMBAT_OPPONENT_UNAVAILABLE');
      assert.ok(away.retryAfterMs > 0);
      const sent = await ann.ask('combat:start', { opponentId: bob.user });
      const again = await ann.refusal('combat:start', { opponentId: bob.user });
      assert.deepEqual([again.code, again.challengeId], ['COMBAT_CHALLENGED', sent.challengeId]);
      assert.ok(again.expiresInMs > 0 && again.expiresInMs <= 30_000);
      assert.equal((await ann.refusal('combat:accept', sent)).field, 'expiresInMs');
      const { challengeId } = sent;
      for (const event of ['combat:accept', 'combat:decline']) assert.equal((await ann.refusal(event, { challengeId })).code, 'COMBAT_CHALLENGE_OVER');
      const { combatId } = await bob.ask('combat:accept', { challengeId });
      assert.equal((await bob.refusal('combat:start', { opponentId: ann.user })).combatId, combatId);
      assert.equal((await bob.refusal('combat:list', { of: ann.user })).field, 'of');
    });

    test('a challenge is declined; nobody has to react; whoever comes back is told again, on another node too; two devices accept one fight', async () => {
      const [ann, bob] = [await join(one, way), await join(two, way)];
      const first = await ann.ask('combat:start', { opponentId: bob.user });
      assert.deepEqual(await bob.ask('combat:decline', { challengeId: first.challengeId }), { challengeId: first.challengeId });
      for (const player of [ann, bob]) assert.deepEqual(await player.hears('combat:cancelled'), { challengeId: first.challengeId, reason: 'declined' });
      assert.equal((await bob.refusal('combat:accept', { challengeId: first.challengeId })).code, 'COMBAT_CHALLENGE_OVER');

      const { challengeId } = await ann.ask('combat:start', { opponentId: bob.user });
      await bob.hears('combat:challenged', 2);
      bob.socket.io.engine.close(); // no goodbye
      const back = await join(one, way, bob.user);
      const told = await back.hears('combat:challenged');
      assert.equal(told.challengeId, challengeId);
      assert.ok(told.expiresInMs > 0 && told.expiresInMs <= 30_000);
      const phone = await join(two, way, bob.user);
      const accepted = await Promise.all([back, phone].map((player) => player.answer('combat:accept', { challengeId })));
      const fights = accepted.filter((answer) => answer.ok).map((answer) => answer.data.combatId);
      assert.ok(fights.length > 0 && new Set(fights).size === 1, JSON.stringify(accepted));
      for (const answer of accepted) if (!answer.ok) assert.equal(answer.error.code, 'LOCKED');
      for (const player of [ann, back, phone]) assert.equal((await player.hears('combat:started')).combatId, fights[0]);
    });

    test('a player who lets all in is not asked; whom she ignores is not heard', async () => {
      const [ann, bob, eve] = [await join(one, way), await join(two, way), await join(one, way)];
      assert.deepEqual(await bob.ask('combat:duels'), { open: false });
      assert.deepEqual(await bob.ask('combat:duels', { open: true }), { open: true });
      await bob.ask('user:ignore', { userId: eve.user });
      const { challengeId, expiresInMs } = await eve.ask('combat:start', { opponentId: bob.user });
      assert.deepEqual([typeof challengeId, expiresInMs], ['string', 30_000]);
      const { combatId, status } = await ann.ask('combat:start', { opponentId: bob.user });
      assert.equal(status, 'active');
      assert.equal((await bob.hears('combat:started')).combatId, combatId);
      assert.deepEqual([bob.all('combat:challenged'), bob.all('combat:started').length], [[], 1]);
      assert.equal((await bob.refusal('combat:accept', { challengeId })).code, 'COMBAT_CHALLENGE_OVER');
    });

    test('who loses the connection comes back to the fight, on another node too', async () => {
      const [ann, bob] = [await join(one, way), await join(two, way)];
      const { combatId } = await duel(ann, bob);
      await bob.hears('combat:started');
      bob.socket.io.engine.close(); // no goodbye
      await ann.ask('combat:action', { combatId, action: 'attack' });
      const back = await join(one, way, bob.user);
      const [state] = (await back.ask('combat:list')).combats;
      assert.equal(state.combatId, combatId);
      assert.equal(state.version, 2);
      await back.ask('combat:action', { combatId, action: 'attack' });
      for (const player of [ann, back]) await until(() => versions(player, combatId).at(-1) === 3, 'the update');
      assert.deepEqual(versions(back, combatId), [3]);
    });

    test('an abandoned fight ends by itself, and nobody wins', async () => {
      const [ann, bob] = [await join(one, way), await join(two, way)];
      const { combatId } = await duel(ann, bob);
      const dummy = await ann.ask('combat:start', { npc: 'training-dummy' });
      await ann.ask('combat:action', { combatId, action: 'defend' });
      for (const player of [ann, bob]) {
        await until(() => player.all('combat:ended').some((e) => e.combatId === combatId), 'the end');
        assert.deepEqual(player.all('combat:ended').find((e) => e.combatId === combatId), { combatId, winner: '', outcome: 'abandoned', rewards: { items: [], gold: 0 }, version: 3 });
        const { event, state } = player.all('combat:update').findLast((u) => u.combatId === combatId);
        assert.equal(event.action, 'timeout');
        assert.equal(state.status, 'ended');
        assert.deepEqual(versions(player, combatId), [2, 3]);
      }
      await until(() => ann.all('combat:ended').some((e) => e.combatId === dummy.combatId), 'the end of the other');
      assert.deepEqual(await ann.ask('inventory:list'), { items: [], gold: 0 });
    });
  });
}

test('victories over goblins and wolves are paid once and counted once', async () => {
  const ann = await join(one, WAYS[1]);
  const tally = { gold: 0, pelts: 0, score: 0 };
  for (let fights = 0; fights < 6; fights++) {
    const npc = fights % 2 ? 'wolf' : 'goblin';
    const { combatId } = await ann.ask('combat:start', { npc });
    let last;
    for (let s; (s = await strike(ann, combatId));) last = s;
    const end = await ann.hears('combat:ended', fights + 1);
    if (last.winner !== ann.user) {
      assert.deepEqual(end.rewards, { items: [], gold: 0 });
      continue;
    }
    tally.gold += npc === 'wolf' ? 15 : 5;
    tally.pelts += npc === 'wolf' ? 1 : 0;
    tally.score += npc === 'wolf' ? 3 : 1;
    assert.deepEqual(end.rewards, npc === 'wolf' ? { items: [{ itemId: 'wolf-pelt', qty: 1 }], gold: 15 } : { items: [], gold: 5 });
  }
  const { items, gold } = await ann.ask('inventory:list');
  assert.deepEqual([gold, items], [tally.gold, tally.pelts ? [{ itemId: 'wolf-pelt', qty: tally.pelts }] : []]);
  assert.equal((await ann.ask('leaderboard:rank', { name: 'global' })).score ?? 0, tally.score);
});
