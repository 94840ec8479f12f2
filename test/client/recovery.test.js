// Connection state recovery, with every version of the official client that has it: what is told as
// recovered has missed nothing, and what can not be recovered is a clean new connection.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, name } from './lib/player.js';
import { Relay } from './lib/relay.js';
import { EVERY_TAB, Tabs, connects, texts } from './lib/tabs.js';
import { after as wait, until } from './lib/wait.js';

const FLAGS = ['--limit', 'chat=off', '--limit', 'moderation=off'];
const WEBSOCKET = WAYS[1];
const RETURNS = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 300 };

/** heardSince gives what a player heard since its last connection ended. */
const heardSince = ({ heard }) => heard.slice(heard.findLastIndex((h) => h.event === 'disconnect') + 1);

/** A Talk is somebody who says numbered messages, one after the other, and knows what was acknowledged. */
class Talk {
  acknowledged = [];
  open = new Set(); // whispers of which nobody was told that they will be heard
  #isOver = false;
  #talking;

  /** every gives a talk of a player in the channels, with a whisper to each of the users by turns. */
  static every(ms, speaker, channels, users) {
    const talk = new Talk();
    talk.#talking = (async () => {
      for (let n = 0; !talk.#isOver; n++) {
        const text = `message ${n}`;
        const to = n % 7 === 6 ? users[Math.floor(n / 7) % users.length] : null;
        if (to) {
          const { delivered, kept } = await speaker.ask('chat:whisper', { to, text });
          if (delivered || kept) talk.acknowledged.push({ text, to });
          else talk.open.add(text);
        } else {
          await speaker.ask('chat:message', { channel: channels[n % channels.length], text });
          talk.acknowledged.push({ text });
        }
        await wait(ms);
      }
    })();
    return talk;
  }

  async end() {
    this.#isOver = true;
    await this.#talking;
  }

  /** to gives what a user must have heard. */
  to(user) {
    return this.acknowledged.filter((m) => !m.to || m.to === user).map((m) => m.text);
  }
}

// Each befalls all tabs at once, on the gateway "one", while somebody on "two" talks.
const seconds = (s) => ({ gapMs: s * 1000 });
const FAULTS = {
  'a cut link, 2 s': { ...seconds(2), fall: cutFor },
  'a link that vanishes, of which the gateway sees nothing': { ...seconds(1), fall: (s) => cutFor(s, 'vanish') },
  'a link that vanishes, and a return to another node': { ...seconds(1), fall: (s) => { s.relay.pointTo(s.two.url); return cutFor(s, 'vanish'); } },
  'a tab that is frozen past the ping timeout': {
    ...seconds(3), flags: ['--ping-interval', '1s', '--ping-timeout', '500ms'],
    fall: async (s) => { s.tabs.freeze(); await wait(s.gapMs); s.tabs.thaw(); },
  },
  'SIGTERM with drain': {
    ...seconds(1), flags: ['--drain-for', '500ms'],
    fall: async (s) => { s.relay.pointTo(s.two.url); await s.one.end('SIGTERM'); },
  },
  'kill -9 of the node, and a return to another': {
    ...seconds(1), fall: async (s) => { s.relay.pointTo(s.two.url); await s.one.end('SIGKILL'); },
  },
  ...(process.env.CHAOS ? { 'a cut link, 30 s': { ...seconds(30), fall: cutFor }, 'a cut link, 110 s': { ...seconds(110), fall: cutFor } } : {}),
};

async function cutFor({ relay, gapMs }, how = 'cut') {
  relay[how]();
  await wait(gapMs);
  relay.mend();
}

for (const [what, { fall, gapMs, flags = [] }] of Object.entries(FAULTS)) {
  test(`recovered after ${what}`, { timeout: 200_000 }, async (t) => {
    const one = await Gateway.start(...FLAGS, '--node', 'one', ...flags);
    const two = await Gateway.beside(one, ...FLAGS, '--node', 'two', ...flags);
    const relay = await Relay.start(one.url);
    const users = EVERY_TAB.map(() => name('tab'));
    const ids = [];
    for (const user of users) ids.push(await one.session(user));
    const channels = [`zone:${name('z')}`, `zone:${name('z')}`];
    const speaker = await new Player(two.url, WEBSOCKET, { auth: { sessionId: await one.session(name('speaker')) } }).connected();
    const tabs = await Tabs.open(users.map(() => relay.url), { users, ids, gateway: one }, channels);
    try {
      for (const channel of channels) await speaker.ask('chat:join', { channel });
      const talk = Talk.every(Math.max(15, gapMs / 300), speaker, channels, users);
      await until(() => tabs.all.every((tab) => texts(tab).length > 5), 'all tabs to hear');
      const before = speaker.heard.length;
      await fall({ one, two, relay, tabs, gapMs });
      await until(() => tabs.all.every((tab) => connects(tab).length > 1), 'all tabs to be back', 20_000);
      await talk.end();
      const isComplete = (tab) => texts(tab).length >= talk.to(tab.user).length;
      await until(() => tabs.all.every(isComplete), 'all tabs to hear all').catch(() => {}); // told below, of each
      await wait(300); // nothing may come in this time
      for (const tab of tabs.all) {
        await t.test(`socket.io-client ${tab.version} over ${tab.way}`, () => {
          const [first, ...returns] = connects(tab);
          for (const back of returns) assert.deepEqual(back, { recovered: true, id: first.id });
          assert.deepEqual(texts(tab).filter((text) => !talk.open.has(text)), talk.to(tab.user), 'what was acknowledged, in order, once');
          const lastConnect = tab.events.findLastIndex((e) => e.kind === 'connect');
          const [session, limits] = tab.events.slice(lastConnect + 1).filter((e) => e.kind === 'heard').map((e) => e.rest);
          assert.deepEqual([session[0], session[1].recovered, session[1].userId], ['session', true, tab.user]);
          assert.equal(limits[0], 'limits');
        });
      }
      if (gapMs < 5000) {
        const moves = speaker.heard.slice(before).filter((h) => h.event.startsWith('presence:'));
        assert.deepEqual(moves, [], 'whoever is back within five seconds has neither left nor joined');
      }
    } finally {
      await tabs.close();
      speaker.close();
      await relay.stop();
      await two.stop();
      await one.stop();
    }
  });
}

const high = (offset) => offset.replace(/\d+$/, '999999999999');

describe('one connection', { concurrency: 4 }, () => {
  let one, two, speaker;
  before(async () => {
    one = await Gateway.start(...FLAGS, '--node', 'one');
    two = await Gateway.beside(one, ...FLAGS, '--node', 'two');
    speaker = await new Player(two.url, WEBSOCKET, { auth: { sessionId: await one.session(name('speaker'), '--role', 'moderator') } }).connected();
  });
  after(async () => {
    closeAll();
    await two.stop();
    await one.stop();
  });

  /** A Scene is a player behind a relay, in two channels with the speaker. */
  class Scene {
    static async set({ gateway = one, teller = speaker, channels = [`zone:${name('z')}`, `zone:${name('z')}`], user = name('p') } = {}) {
      const s = Object.assign(new Scene(), { gateway, teller, channels, user });
      s.relay = await Relay.start(gateway.url);
      s.sessionId = await gateway.session(user);
      s.player = await new Player(s.relay.url, WEBSOCKET, { auth: { sessionId: s.sessionId }, ...RETURNS }).connected();
      for (const channel of channels) {
        for (const p of [s.player, teller]) await p.ask('chat:join', { channel });
      }
      await s.say('before the gap');
      await until(() => s.texts().length === channels.length, 'the player to hear');
      s.id = s.player.socket.id;
      s.pid = s.player.socket._pid;
      s.offset = s.player.socket._lastOffset;
      assert.ok(s.pid && s.offset, `the client has a pid and an offset: ${s.pid} ${s.offset}`);
      return s;
    }

    async say(text) {
      for (const channel of this.channels) await this.teller.ask('chat:message', { channel, text });
    }

    texts() {
      return this.player.all('chat:message').map((m) => m.text);
    }

    /** comeBack cuts the link, lets something happen, and waits until the player is back or refused. */
    async comeBack(happens = () => {}) {
      const { socket } = this.player;
      const gone = new Promise((ok) => { socket.once('disconnect', ok); });
      this.relay.cut();
      await gone;
      await this.say('in the gap');
      await happens();
      const isBack = new Promise((ok) => {
        socket.once('connect', () => ok('connect'));
        socket.on('connect_error', (e) => { if (e.data) ok(e.data.code); }); // without data it is the link
      });
      this.relay.mend();
      return isBack;
    }

    /** isNew fails when the connection is not a clean new one. */
    async isNew(user = this.user) {
      const { socket } = this.player;
      assert.equal(socket.recovered, false);
      assert.notEqual(socket.id, this.id);
      assert.notEqual(socket._pid, this.pid);
      await until(() => heardSince(this.player).length >= 2, 'session and limits');
      for (const channel of this.channels) await this.player.ask('chat:join', { channel });
      await this.say('after the gap');
      await until(() => this.texts().filter((t) => t === 'after the gap').length === this.channels.length, 'the player to hear again');
      const [session, limits, ...rest] = heardSince(this.player);
      assert.deepEqual([session.event, session.args[0].recovered, session.args[0].userId, limits.event], ['session', false, user, 'limits']);
      const isOld = (h) => h.event === 'error' || (h.event === 'chat:message' && h.args[0].text !== 'after the gap');
      assert.deepEqual(rest.filter(isOld), []);
    }

    /** isRecovered fails when it is not the old connection, with the messages of the gap from these channels. */
    async isRecovered(channels = this.channels) {
      const { socket } = this.player;
      assert.equal(socket.recovered, true);
      assert.equal(socket.id, this.id);
      assert.equal(socket._pid, this.pid);
      await this.say('after the gap');
      const isAfter = (h) => h.args[0]?.text === 'after the gap';
      await until(() => heardSince(this.player).filter(isAfter).length === channels.length, 'the player to hear again');
      const heard = heardSince(this.player).filter((h) => h.event === 'chat:message').map((h) => `${h.args[0].channel} ${h.args[0].text}`);
      assert.deepEqual(heard, ['in the gap', 'after the gap'].flatMap((text) => channels.map((channel) => `${channel} ${text}`)));
    }

    async end() {
      for (const channel of this.channels) await this.teller.answer('chat:leave', { channel });
      this.player.close();
      await this.relay.stop();
    }
  }

  /** scene is a test with a Scene. */
  const scene = (what, play, options) => test(what, { timeout: 60_000 }, async () => {
    const s = await Scene.set(await options?.());
    try {
      await play(s);
    } finally {
      await s.end();
    }
  });

  scene('is recovered', async (s) => {
    assert.equal(await s.comeBack(), 'connect');
    await s.isRecovered();
    assert.equal(await s.comeBack(), 'connect', 'and once more');
    assert.equal(s.player.socket.recovered, true);
  });

  scene('is recovered with a session that was renewed', async (s) => {
    assert.equal(await s.comeBack(async () => {
      const answer = await s.gateway.post('/auth/renew', {}, { Authorization: `Bearer ${s.sessionId}` });
      assert.equal(answer.status, 200);
      s.player.socket.auth = { sessionId: (await answer.json()).sessionId };
    }), 'connect');
    await s.isRecovered();
  });

  describe('is a clean new one', { concurrency: 4 }, () => {
    scene('of another user with the old pid', async (s) => {
      const other = name('other');
      s.player.socket.auth = { sessionId: await s.gateway.session(other) };
      assert.equal(await s.comeBack(), 'connect');
      await s.isNew(other);
    });

    scene('of another login of the same user', async (s) => {
      s.player.socket.auth = { sessionId: await s.gateway.session(s.user) };
      assert.equal(await s.comeBack(), 'connect');
      await s.isNew();
    });

    scene('with another character', async (s) => {
      assert.equal(await s.comeBack(async () => {
        const tablet = await new Player(two.url, WEBSOCKET, { auth: { sessionId: s.sessionId } }).connected();
        await tablet.ask('session:character', { characterId: `${s.user}-2` });
        tablet.close();
      }), 'connect');
      await s.isNew();
    });

    scene('after disconnect()', async (s) => {
      s.player.socket.disconnect();
      await s.say('in the gap');
      const isBack = new Promise((ok) => { s.player.socket.once('connect', ok); });
      s.player.socket.connect();
      await isBack;
      await s.isNew();
    });

    scene('after a logout', async (s) => {
      const fresh = await s.gateway.session(s.user);
      await s.player.ask('session:logout');
      await s.player.hears('disconnect');
      s.player.socket.auth = { sessionId: fresh };
      await s.say('in the gap');
      const isBack = new Promise((ok) => { s.player.socket.once('connect', ok); });
      s.player.socket.connect();
      await isBack;
      await s.isNew();
    });

    const ends = {
      'a logout in the gap': [async (s) => {
        const tablet = await new Player(two.url, WEBSOCKET, { auth: { sessionId: s.sessionId } }).connected();
        await tablet.ask('session:logout');
      }, 'SESSION_INVALID'],
      'a revocation in the gap': [(s) => s.gateway.revoke(s.sessionId), 'SESSION_INVALID'],
      'a ban in the gap': [(s) => s.gateway.cli('user', 'ban', s.user, '--for', '1h'), 'SESSION_INVALID', (s) => s.gateway.cli('user', 'unban', s.user)],
    };
    for (const [what, [happens, code, forgive = () => {}]] of Object.entries(ends)) {
      scene(`after ${what}`, async (s) => {
        assert.equal(await s.comeBack(() => happens(s)), code);
        await forgive(s);
        s.player.socket.auth = { sessionId: await s.gateway.session(s.user) };
        const isBack = new Promise((ok) => { s.player.socket.once('connect', ok); });
        s.player.socket.connect();
        await isBack;
        await s.isNew();
      });
    }

    const ends2 = {
      'a revocation while it is connected': (s) => s.gateway.revoke(s.sessionId),
      'a ban while it is connected': (s) => s.gateway.cli('user', 'ban', s.user, '--for', '1h'),
    };
    for (const [what, happens] of Object.entries(ends2)) {
      scene(`after ${what}`, async (s) => {
        await happens(s);
        assert.equal(await s.player.hears('disconnect'), 'io server disconnect');
        await s.gateway.cli('user', 'unban', s.user).catch(() => {}); // not all were banned
        s.player.socket.auth = { sessionId: await s.gateway.session(s.user) };
        await s.say('in the gap');
        const isBack = new Promise((ok) => { s.player.socket.once('connect', ok); });
        s.player.socket.connect();
        await isBack;
        await s.isNew();
      });
    }

    const forged = {
      'a pid that was guessed': { _pid: () => 'A'.repeat(22) },
      'an empty pid of another type': { _pid: () => ({}) },
      'a number as its pid': { _pid: () => 7 },
      'a list as its pid': { _pid: (pid) => [pid] },
      'a pid of 10 KB': { _pid: (pid) => pid.repeat(500) },
      'no offset': { _lastOffset: () => undefined },
      'an empty offset': { _lastOffset: () => '' },
      'an offset of another type': { _lastOffset: (o) => [o] },
      'a number as its offset': { _lastOffset: () => 12 },
      'a malformed offset': { _lastOffset: (o) => `${o} ` },
      'a negative offset': { _lastOffset: (o) => o.replace(/\d+$/, '-1') },
      'an offset with a fraction': { _lastOffset: (o) => `${o}.5` },
      'an offset of 10 KB': { _lastOffset: (o) => o + '0'.repeat(10_000) },
      'an offset beyond 64 bits': { _lastOffset: (o) => o.replace(/\d+$/, '9'.repeat(30)) },
      'an offset that is too high': { _lastOffset: high },
      'an offset of another epoch': { _lastOffset: (o) => o.replace(/^[^-]+/, (e) => [...e].reverse().join('')) },
      'a foreign offset': { _lastOffset: () => '1690000000000-0' },
    };
    for (const [what, state] of Object.entries(forged)) {
      scene(`with ${what}`, async (s) => {
        const done = s.comeBack(() => {
          for (const [field, forge] of Object.entries(state)) s.player.socket[field] = forge(s.player.socket[field]);
        });
        assert.equal(await done, 'connect');
        await s.isNew();
      });
    }

    scene("with another player's pid", async (s) => {
      const victim = await Scene.set();
      assert.equal(await s.comeBack(() => { s.player.socket._pid = victim.pid; }), 'connect');
      await s.isNew();
      assert.equal(await victim.comeBack(), 'connect');
      await victim.isRecovered(); // it lost nothing by the attempt
      await victim.end();
    });

    scene('after more than 1,000 messages, none of which was cut from its log', async (s) => {
      assert.equal(await s.comeBack(async () => {
        const [a, b] = s.channels;
        for (let n = 0; n < 510; n++) await Promise.all([a, b].map((channel) => s.teller.ask('chat:message', { channel, text: 'in the gap' })));
      }), 'connect');
      await s.isNew();
    });
  });

  describe('whose gateway has other settings', { concurrency: 4 }, () => {
    const started = [];
    after(async () => {
      for (const g of started.reverse()) await g.stop();
    });
    /** alone starts a gateway with a Redis of its own, and a speaker on it. */
    const alone = (...flags) => async () => {
      const gateway = await Gateway.start(...FLAGS, ...flags);
      started.push(gateway);
      const teller = await new Player(gateway.url, WEBSOCKET, { auth: { sessionId: await gateway.session(name('speaker'), '--role', 'moderator') } }).connected();
      return { gateway, teller };
    };

    scene('is new when its offset is too old', async (s) => {
      assert.equal(await s.comeBack(() => wait(4000)), 'connect');
      await s.isNew();
    }, alone('--recovery', '2s'));

    scene('is new when its log was cut', async (s) => {
      const text = '🌊'.repeat(480);
      assert.equal(await s.comeBack(async () => {
        for (let n = 0; n < 700; n++) await s.teller.ask('chat:message', { channel: s.channels[0], text });
      }), 'connect');
      await s.isNew();
    }, alone('--outbound-queue', '16777216'));

    scene('is new when more than half of its queue was said', async (s) => {
      assert.equal(await s.comeBack(async () => {
        for (let n = 0; n < 90; n++) await s.teller.ask('chat:message', { channel: s.channels[0], text: 'x'.repeat(400) });
      }), 'connect');
      await s.isNew();
    }, alone('--outbound-queue', '65536'));

    test('has no pid without a log', async () => {
      const gateway = await Gateway.start(...FLAGS, '--recovery', '0');
      started.push(gateway);
      const sessionId = await gateway.session(name('p'));
      const player = await new Player(gateway.url, WEBSOCKET, { auth: { sessionId }, ...RETURNS }).connected();
      assert.equal(player.socket._pid, undefined, 'no pid');
      assert.equal((await player.hears('session')).recovered, false);
      player.close();
    });

    scene('is new while a node writes no log, and recovered when that has gone', async (s) => {
      const old = await Gateway.beside(s.gateway, ...FLAGS, '--node', 'old', '--recovery', '0');
      assert.equal(await s.comeBack(), 'connect');
      await s.isNew();
      await old.end('SIGTERM');
      await until(async () => {
        const { socket } = s.player;
        Object.assign(s, { id: socket.id, pid: socket._pid });
        assert.equal(await s.comeBack(), 'connect');
        if (socket.recovered) return true;
        for (const channel of s.channels) await s.player.ask('chat:join', { channel });
        return false;
      }, 'the player to be recovered again');
      await s.isRecovered();
    }, alone());

    test('and who was kicked from a guild hears chat:left and nothing of the gap', async () => {
      const gateway = await Gateway.start(...FLAGS, '--dev=false', '--page');
      started.push(gateway);
      const guild = name('g');
      const [user, boss] = [name('p'), name('boss')];
      await gateway.redis.command('SADD', `guild:${guild}:members`, user, boss);
      const teller = await new Player(gateway.url, WEBSOCKET, { auth: { sessionId: await gateway.session(boss) } }).connected();
      const channels = [`guild:${guild}`, `zone:${name('z')}`];
      const s = await Scene.set({ gateway, teller, user, channels });
      assert.equal(await s.comeBack(async () => {
        await gateway.redis.command('SREM', `guild:${guild}:members`, user);
        await gateway.redis.command('PUBLISH', 'rights:changes', JSON.stringify({ channel: channels[0] }));
      }), 'connect');
      await s.isRecovered(channels.slice(1));
      assert.deepEqual(s.player.all('chat:left'), [{ channel: channels[0], code: 'NOT_IN_CHANNEL' }]);
      assert.equal((await s.player.refusal('chat:message', { channel: channels[0], text: 'hello?' })).code, 'NOT_IN_CHANNEL');
      await s.end();
    });
  });

  for (const [what, env] of Object.entries({ 'a Redis of its own': {}, 'no redis-server on the machine': { PATH: '' } })) {
    test(`is recovered on a gateway with ${what}`, { timeout: 60_000 }, async () => {
      const gateway = await Gateway.alone(env, ...FLAGS);
      const teller = await new Player(gateway.url, WEBSOCKET, { auth: { sessionId: await gateway.session(name('speaker')) } }).connected();
      try {
        const [s, forger] = [await Scene.set({ gateway, teller }), await Scene.set({ gateway, teller })];
        assert.equal(await s.comeBack(), 'connect');
        await s.isRecovered();
        assert.equal(await forger.comeBack(() => { forger.player.socket._lastOffset = high(forger.offset); }), 'connect');
        await forger.isNew();
        for (const each of [s, forger]) await each.end();
      } finally {
        teller.close();
        await gateway.stop();
      }
    });
  }

  scene('that was banned from a channel in the gap hears chat:left and nothing of it', async (s) => {
    assert.equal(await s.comeBack(async () => {
      await s.teller.ask('chat:ban', { userId: s.user, channel: s.channels[0], forMs: 3_600_000 });
      await wait(1100); // a ban is in force on every node within a second
    }), 'connect');
    await s.isRecovered(s.channels.slice(1));
    assert.deepEqual(s.player.all('chat:left'), [{ channel: s.channels[0], code: 'CHAT_BANNED' }]);
  });

  for (const how of ['cut', 'vanish']) {
    test(`and two that present its pid at once, after its link ${how === 'cut' ? 'was cut' : 'vanished'}: one has it`, { timeout: 60_000 }, async () => {
      for (let turn = 0; turn < 10; turn++) {
        const s = await Scene.set();
        const watcher = await new Player(two.url, WEBSOCKET, { auth: { sessionId: await one.session(name('w')) } }).connected();
        for (const channel of s.channels) await watcher.ask('chat:join', { channel });
        const gone = new Promise((ok) => { s.player.socket.once('disconnect', ok); });
        s.relay[how]();
        await gone;
        s.player.close();
        await s.say('in the gap');
        const twins = [one, two].map((g) => {
          const twin = new Player(g.url, WEBSOCKET, { auth: { sessionId: s.sessionId }, autoConnect: false });
          Object.assign(twin.socket, { _pid: s.pid, _lastOffset: s.offset });
          return twin;
        });
        await Promise.all(twins.map((twin) => { const connected = twin.connected(); twin.socket.connect(); return connected; }));
        const [winner, loser] = twins[0].socket.recovered ? twins : twins.toReversed();
        assert.deepEqual([winner.socket.recovered, loser.socket.recovered], [true, false]);
        assert.equal(winner.socket.id, s.id);
        assert.ok(loser.socket.id !== s.id && loser.socket._pid !== s.pid);
        await s.say('after the gap');
        await winner.hears('chat:message', 4);
        await loser.ask('session:ping');
        assert.deepEqual(winner.all('chat:message').map((m) => m.text), ['in the gap', 'in the gap', 'after the gap', 'after the gap']);
        assert.deepEqual(loser.all('chat:message'), []);
        assert.deepEqual(watcher.heard.filter((h) => h.event.startsWith('presence:') && h.args[0].user.userId === s.user), []);
        for (const p of [winner, loser, watcher]) p.close();
        await s.end();
      }
    });
  }

  test('takes one seat, however often it comes back', async () => {
    const gateway = await Gateway.start(...FLAGS, '--devices', 'oldest:1');
    const teller = await new Player(gateway.url, WEBSOCKET, { auth: { sessionId: await gateway.session(name('speaker')) } }).connected();
    try {
      const s = await Scene.set({ gateway, teller });
      const seats = () => gateway.redis.command('HLEN', `user:${s.user}:devices`);
      const taken = await seats();
      for (let turn = 0; turn < 3; turn++) {
        s.relay.vanish();
        await until(() => !s.player.socket.connected, 'the end', 60_000);
        s.relay.mend();
        await until(() => s.player.socket.connected, 'the return');
        assert.equal(s.player.socket.recovered, true);
        assert.equal(await seats(), taken);
      }
      const refused = new Player(gateway.url, WEBSOCKET, { auth: { sessionId: await gateway.session(s.user) } });
      assert.equal((await refused.refused()).data.code, 'TOO_MANY_CONNECTIONS');
      await s.end();
      const next = await gateway.session(s.user);
      await until(async () => {
        const p = new Player(gateway.url, WEBSOCKET, { auth: { sessionId: next } });
        return p.connected().then(() => true, () => false);
      }, 'the seat to be free');
    } finally {
      teller.close();
      await gateway.stop();
    }
  });
});
