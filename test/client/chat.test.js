// Channels: who hears what.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { WAYS, closeAll, join, name } from './lib/player.js';

const BURST = 500;

let gateway;
before(async () => { gateway = await Gateway.start('--limit', 'chat=off'); });
after(() => {
  closeAll();
  return gateway.stop();
});

for (const way of WAYS) {
  describe(`over ${way.way}`, () => {
    test('two players talk, and each hears both', async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      const channel = `zone:${name('z')}`;
      assert.deepEqual(await ann.ask('chat:join', { channel }), { channel, members: 1 });
      assert.deepEqual(await bob.ask('chat:join', { channel }), { channel, members: 2 });

      const first = await ann.ask('chat:message', { channel, text: 'Ahoj "Bob" \\ 👋🏽 مرحبا <b>', clientId: 'c-1' });
      const second = await bob.ask('chat:message', { channel, text: 'hi' });
      const from = ({ user }) => ({ userId: user, username: user, characterId: user });
      for (const player of [ann, bob]) {
        await player.hears('chat:message', 2);
        assert.deepEqual(player.all('chat:message'), [
          { id: first.id, channel, from: from(ann), text: 'Ahoj "Bob" \\ 👋🏽 مرحبا <b>', at: first.at, clientId: 'c-1' },
          { id: second.id, channel, from: from(bob), text: 'hi', at: second.at },
        ]);
      }
      assert.deepEqual(Object.keys(first), ['id', 'at']);
      assert.ok(Math.abs(first.at - Date.now()) < 5000);
    });

    test('joining twice is once, and who left hears nothing more', async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      const channel = `party:${name('p')}`;
      await ann.ask('chat:join', { channel });
      assert.equal((await ann.ask('chat:join', { channel })).members, 1);
      assert.equal((await bob.ask('chat:join', { channel })).members, 2);
      assert.deepEqual(await bob.ask('chat:leave', { channel }), { channel, members: 1 });
      assert.equal((await bob.ask('chat:leave', { channel })).members, 1);

      await ann.ask('chat:message', { channel, text: 'gone?' });
      await ann.hears('chat:message');
      await bob.ask('session:ping'); // whatever was sent to bob has arrived before this answer
      assert.deepEqual(bob.all('chat:message'), []);
      assert.equal((await bob.refusal('chat:message', { channel, text: 'me too' })).code, 'NOT_IN_CHANNEL');
    });

    test('who closes the tab is no member any more', async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      const channel = `zone:${name('z')}`;
      await bob.ask('chat:join', { channel });
      assert.equal((await ann.ask('chat:join', { channel })).members, 2);
      bob.close();
      let members;
      do ({ members } = await ann.ask('chat:join', { channel })); while (members !== 1);
    });

    test('channels do not hear each other', async () => {
      const ann = await join(gateway, way);
      const bob = await join(gateway, way);
      await ann.ask('chat:join', { channel: 'global' });
      await bob.ask('chat:join', { channel: 'zone:elsewhere' });
      await ann.ask('chat:message', { channel: 'global', text: 'hello?' });
      await ann.hears('chat:message');
      await bob.ask('session:ping');
      assert.deepEqual(bob.all('chat:message'), []);
    });

    test(`${BURST} quick messages arrive, each once and in order`, async () => {
      const [ann, bob] = [await join(gateway, way), await join(gateway, way)];
      const channel = `zone:${name('z')}`;
      await ann.ask('chat:join', { channel });
      await bob.ask('chat:join', { channel });
      const answers = await Promise.all(Array.from({ length: BURST }, (_, i) => ann.ask('chat:message', { channel, text: `${i}` })));
      for (const player of [ann, bob]) {
        await player.hears('chat:message', BURST);
        assert.deepEqual(player.all('chat:message').map((m) => m.text), answers.map((_, i) => `${i}`));
        assert.deepEqual(player.all('chat:message').map((m) => m.id), answers.map((a) => a.id));
      }
    });
  });
}

test('players on different transports share a channel', async () => {
  const channel = `zone:${name('z')}`;
  const players = [];
  for (const way of WAYS) players.push(await join(gateway, way));
  for (const player of players) await player.ask('chat:join', { channel });
  for (const player of players) await player.ask('chat:message', { channel, text: player.user });
  for (const player of players) {
    await player.hears('chat:message', players.length);
    assert.deepEqual(player.all('chat:message').map((m) => m.text), players.map((p) => p.user));
  }
});
