// Fights, and the limit on them.
import assert from 'node:assert/strict';
import { after as afterAll, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { WAYS, closeAll, join, name } from './lib/player.js';
import { after } from './lib/wait.js';

const LIMIT = 10;
const WINDOW = 5000;
const CLOCK = 50; // what the clocks of this process and of Redis may differ by in reading the same one

let gateway;
before(async () => { gateway = await Gateway.start(); });
afterAll(() => {
  closeAll();
  return gateway.stop();
});

for (const way of WAYS) {
  describe(`over ${way.way}`, { concurrency: true }, () => {
    test('a fight against the dummy: state, action, update, end', async () => {
      const ann = await join(gateway, way);
      const start = await ann.ask('combat:start', { npc: 'training-dummy' });
      const { combatId } = start;
      assert.equal(start.status, 'active');
      assert.equal(start.version, 1);
      const [me, dummy] = start.participants;
      assert.equal(me.id, ann.user);
      assert.equal(dummy.kind, 'npc');
      assert.deepEqual(await ann.ask('combat:state', { combatId }), start);

      const { event, state } = await ann.ask('combat:action', { combatId, action: 'attack' });
      assert.deepEqual({ by: event.by, action: event.action, turn: event.turn }, { by: ann.user, action: 'attack', turn: 1 });
      assert.equal(state.version, 2);
      const lost = event.acts.filter((a) => a.target === dummy.id).reduce((sum, a) => sum + (a.damage ?? 0), 0);
      assert.equal(state.participants[1].hp, dummy.maxHp - lost);
      assert.deepEqual(await ann.hears('combat:update'), { combatId, event, state });

      let last = state;
      while (last.status === 'active') { // fleeing may fail
        const answer = await ann.answer('combat:action', { combatId, action: 'flee' });
        if (answer.ok) last = answer.data.state;
        else {
          assert.equal(answer.error.code, 'RATE_LIMITED');
          await after(answer.error.retryAfterMs);
        }
      }
      const end = await ann.hears('combat:ended');
      assert.deepEqual({ combatId: end.combatId, winner: end.winner }, { combatId, winner: dummy.id });
      const versions = ann.all('combat:update').map((u) => u.state.version);
      assert.deepEqual(versions, versions.map((_, i) => i + 2), 'each update once, in order');
      assert.equal((await ann.refusal('combat:action', { combatId, action: 'attack' })).code, 'COMBAT_OVER');
    });

    test(`the ${LIMIT + 1}th action is refused for as long as it says, on every device of the user`, async () => {
      const user = name('quick');
      const [ann, tablet] = [await join(gateway, way, user), await join(gateway, way, user)];
      const { combatId } = await ann.ask('combat:start', { npc: 'training-dummy' });
      const act = { combatId, action: 'defend' };
      const sent = Date.now();
      await ann.ask('combat:action', act);
      const answered = Date.now();
      for (let i = 1; i < LIMIT; i++) await ann.ask('combat:action', act);

      const asked = Date.now();
      const { message, retryAfterMs, ...error } = await ann.refusal('combat:action', act);
      const refused = Date.now();
      assert.deepEqual(error, { code: 'RATE_LIMITED', policy: 'combat', scope: 'user', limit: LIMIT, remaining: 0, windowMs: WINDOW });
      const [least, most] = [WINDOW - (refused - sent) - CLOCK, WINDOW - (asked - answered) + CLOCK];
      assert.ok(retryAfterMs >= least && retryAfterMs <= most, `retryAfterMs ${retryAfterMs} is not in ${least}…${most}: ${message}`);

      assert.equal((await tablet.refusal('combat:action', act)).code, 'RATE_LIMITED');
      await tablet.ask('session:ping');
      await ann.ask('combat:state', { combatId }); // free
      assert.equal((await ann.refusal('combat:action', act)).code, 'RATE_LIMITED', 'a refusal spends nothing and forgives nothing');

      await after(retryAfterMs - (Date.now() - refused));
      await ann.ask('combat:action', act);
    });

    test('nobody acts in the fight of another', async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      const { combatId, version } = await ann.ask('combat:start', { npc: 'training-dummy' });
      assert.equal((await bob.refusal('combat:action', { combatId, action: 'attack' })).code, 'FORBIDDEN');
      assert.equal((await ann.ask('combat:state', { combatId })).version, version);
      assert.equal((await ann.refusal('combat:action', { combatId: name('none'), action: 'attack' })).code, 'NOT_FOUND');
    });
  });
}
