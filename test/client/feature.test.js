// A feature of another Go module (examples/feature), with the official client: questions, binary values, volatile casts,
// and a namespace of its own (/quests).
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import Ajv from 'ajv';
import { learn } from './lib/contract.js';
import { guard } from './lib/guard.js';
import { Player, WAYS, beside, closeAll, join, name } from './lib/player.js';
import { startRedis } from './lib/redis.js';
import { until } from './lib/wait.js';

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const gateway = process.env.TEST_GATEWAY_BIN ?? here('../../bin/gateway');
const source = fileURLToPath(new URL('../../examples/feature', import.meta.url));

/** A Program is one gateway with the features of the example. */
class Program {
  static async start(binary, redis) {
    const p = new Program();
    p.child = spawn(binary, ['--addr', '127.0.0.1:0', '--redis', redis.url, '--dev']);
    p.unguard = guard(p.child);
    p.out = '';
    p.log = '';
    p.child.stdout.on('data', (d) => { p.out += d; });
    p.child.stderr.on('data', (d) => { p.log += d; });
    await until(async () => {
      if (p.child.exitCode !== null) throw new Error(`the program ended:\n${p.log}`);
      p.url ??= /^listening on (http:\/\/\S+)$/m.exec(p.out)?.[1];
      return p.url && fetch(`${p.url}/health/ready`).then((r) => r.ok, () => false);
    }, 'the program to be ready', 20_000);
    p.contract = await learn(p.url);
    return p;
  }

  /** login is the guest's way in over HTTP; it gives the session id. */
  async login(username) {
    const answer = await fetch(`${this.url}/auth/login`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ username }) });
    assert.equal(answer.status, 201, await answer.clone().text());
    return (await answer.json()).sessionId;
  }

  async stop() {
    const gone = new Promise((done) => this.child.once('exit', done));
    this.child.kill('SIGKILL');
    await gone;
    this.unguard();
    this.contract.kept();
  }
}

let folder;
let redis;
const programs = [];

before(async () => {
  folder = await mkdtemp(joinPath(tmpdir(), 'feature-'));
  const binary = joinPath(folder, 'feature');
  await run('go', ['build', '-o', binary, '.'], { cwd: source });
  redis = await startRedis();
  for (const policy of ['login', 'connect', 'chat', 'rooms']) await redis.command('HSET', 'ratelimit:overrides', policy, 'off'); // as gateway limits set does
  for (let i = 0; i < 2; i++) programs.push(await Program.start(binary, redis));
}, { timeout: 300_000 });

after(async () => {
  closeAll();
  try {
    await Promise.all(programs.map((p) => p.stop()));
  } finally {
    await redis?.stop();
    await rm(folder, { recursive: true, force: true });
  }
});

/** quests names the namespace of the feature quests. */
const quests = { namespace: '/quests' };

/** enterBoth connects a new player to / and, over the same connection, to /quests, and has it join a party. */
async function enterBoth(program, way, party, options) {
  const main = await join(program, way, name(), options);
  const own = await beside(main, '/quests').connected();
  await own.ask('quest:join', { party });
  return { main, own, user: main.user };
}

/** ended waits for the end of a player's connection, and gives the reason. */
const ended = (player) => player.hears('disconnect');

/** enter has a new player sit down at a table of a program. */
async function enter(program, way, table, options) {
  const player = await join(program, way, name(), options);
  await player.ask('dice:sit', { table });
  return player;
}

for (const way of WAYS) {
  describe(way.way, () => {
    test('players on two gateways answer a question, and the caller is one of them', async () => {
      const table = name('table');
      const ann = await enter(programs[0], way, table);
      const bob = await enter(programs[1], way, table);
      const cho = await enter(programs[1], way, table);
      ann.socket.on('dice:ready', (asked, answer) => answer({ ready: asked.table === table }));
      bob.socket.on('dice:ready', (asked, answer) => answer({ ready: true }));
      cho.socket.on('dice:ready', (asked, answer) => answer({ ready: 'perhaps' })); // it is no answer
      const called = await ann.ask('dice:call', { table });
      assert.equal(called.asked, 3);
      assert.deepEqual(called.ready.sort(), [ann.user, bob.user].sort());

      bob.socket.off('dice:ready');
      bob.socket.on('dice:ready', () => bob.close()); // it leaves: nobody waits for it
      assert.deepEqual((await ann.ask('dice:call', { table })).ready, [ann.user]);
    });

    test('binary values go to a route that has them, in answers and to both gateways, in order', async () => {
      const table = name('table');
      const ann = await enter(programs[0], way, table);
      const bob = await enter(programs[1], way, table);
      for (const [i, size] of [0, 1, 16384].entries()) {
        const picture = Buffer.alloc(size, i);
        const painted = await ann.ask('dice:paint', { table, picture });
        assert.deepEqual(Buffer.from(painted.picture), picture);
        await ann.ask('dice:roll', { table, dice: 1 });
        assert.deepEqual(Buffer.from((await bob.hears('dice:painted', i + 1)).picture), picture);
        await bob.hears('dice:rolled', i + 1);
      }
      const order = bob.heard.map((h) => h.event).filter((e) => e.startsWith('dice:'));
      assert.deepEqual(order, Array(3).fill(['dice:painted', 'dice:rolled']).flat());
      assert.deepEqual(await ann.ask('dice:paint', { table, picture: new Uint8Array([1, 2]).buffer }), { by: ann.user, picture: Buffer.from([1, 2]) });

      const cho = await enter(programs[1], way, table); // with limits of its own
      const bad = {
        'too many bytes': [{ picture: Buffer.alloc(16385) }, 'picture', 'at most 16384 bytes'],
        'no binary value': [{ picture: 'AQID' }, 'picture', 'expected a binary value'],
        'a placeholder of nothing': [{ picture: { _placeholder: true, num: 0 } }, 'picture', 'expected a binary value'],
        'none': [{}, 'picture', 'required'],
        'binary where text is due': [{ table: Buffer.from('x'), picture: Buffer.from('x') }, 'table', 'expected a string'],
        'one more': [{ picture: Buffer.from('x'), more: Buffer.from('x') }, 'more', 'unknown field'],
      };
      for (const [what, [payload, field, reason]] of Object.entries(bad)) {
        const error = await cho.refusal('dice:paint', { table, ...payload });
        assert.deepEqual([error.code, error.field, error.reason], ['INVALID', field, reason], what);
      }
      const refused = await cho.refusal('dice:sit', { table: Buffer.from('x') });
      assert.deepEqual([refused.code, refused.reason], ['INVALID', 'binary values are not taken']);
    });

    test('a client that comes back gets the binary casts that it missed, and no volatile one and no question', async () => {
      const table = name('table');
      const ann = await enter(programs[0], way, table);
      const bob = await enter(programs[1], way, table);
      ann.socket.on('dice:ready', (asked, answer) => answer({ ready: true }));
      await ann.ask('dice:roll', { table, dice: 1 });
      await ann.hears('dice:rolled'); // a client that heard nothing has no offset to come back with
      const { id } = ann.socket;
      const closed = new Promise((done) => ann.socket.once('disconnect', done));
      ann.socket.io.engine.close();
      await closed;
      // Her gateway learns of it a moment later than she does. Bob answers, so that nobody is waited for.
      bob.socket.on('dice:ready', (asked, answer) => answer({ ready: true }));
      await until(async () => (await bob.ask('dice:call', { table })).asked === 1, 'her gateway to know that she is gone');
      bob.socket.off('dice:ready');
      const pictures = [Buffer.from('one'), Buffer.from('two')];
      for (const picture of pictures) {
        await bob.ask('dice:paint', { table, picture });
        await bob.ask('dice:shake', { table, angle: 1 });
      }
      assert.deepEqual(await bob.ask('dice:call', { table }), { asked: 1, ready: [] }); // bob himself, who is silent
      ann.socket.connect();
      await ann.connected();
      assert.deepEqual([ann.socket.recovered, ann.socket.id], [true, id]);
      await bob.ask('dice:roll', { table, dice: 1 });
      await ann.hears('dice:rolled', 2);
      assert.deepEqual(ann.all('dice:painted').map((p) => Buffer.from(p.picture)), pictures);
      assert.deepEqual(ann.heard.map((h) => h.event).filter((e) => /shaken|ready/.test(e)), []);
    });

    test('a namespace of its own: casts, questions, binary and volatile values reach it on both gateways, and nothing else', async () => {
      const party = name('party');
      const ann = await enterBoth(programs[0], way, party);
      const bob = await enterBoth(programs[1], way, party);
      const cho = await join(programs[1], way, name(), quests); // alone in /quests
      await cho.ask('quest:join', { party });
      assert.equal(ann.main.socket.io, ann.own.socket.io, 'one connection');
      for (const one of [ann.own, bob.own, cho]) {
        assert.equal((await one.hears('session')).userId, one.user);
        assert.ok((await one.hears('limits')).policies.length > 0);
      }
      // Rooms of the same name in / are others.
      await ann.main.ask('dice:sit', { table: party });
      await bob.main.ask('dice:sit', { table: party });
      await ann.main.ask('dice:roll', { table: party, dice: 1 });
      await ann.own.ask('quest:mark', { party, place: 'tower' });
      for (const one of [ann.own, bob.own, cho]) assert.deepEqual(await one.hears('quest:marked'), { party, place: 'tower' });
      await ann.own.ask('quest:draw', { party, map: Buffer.from('map') });
      for (const one of [bob.own, cho]) assert.deepEqual(Buffer.from((await one.hears('quest:drawn')).map), Buffer.from('map'));
      for (const one of [ann.own, bob.own, cho]) one.socket.on('quest:ready', (asked, answer) => answer({ yes: one !== cho }));
      assert.deepEqual(await ann.own.ask('quest:vote', { party }), { asked: 3, yes: 2 });
      await until(async () => {
        await ann.own.ask('quest:point', { party, place: 'gate' });
        return bob.own.all('quest:pointed').length > 0 && cho.all('quest:pointed').length > 0;
      }, 'a volatile cast');
      assert.deepEqual(await ann.own.ask('quest:tell', { to: bob.user, word: 'hello' }), { reached: 1 });
      assert.deepEqual(await bob.own.hears('quest:told'), { from: ann.user, word: 'hello' });
      // Every node, and every player, has its own: ask once more, so that what was sent before has come.
      for (const one of [ann.main, bob.main, ann.own, bob.own, cho]) await one.ask('session:ping');
      for (const one of [ann.main, bob.main]) assert.deepEqual(one.heard.filter((h) => h.event.startsWith('quest:')), []);
      for (const one of [ann.own, bob.own, cho]) assert.deepEqual(one.heard.filter((h) => h.event.startsWith('dice:')), []);
      assert.deepEqual(ann.own.all('quest:drawn'), [], 'but the one who drew it');
      assert.deepEqual(cho.all('quest:told'), []);
    });

    test('answers in a namespace are those of /: unknown events, errors, keys, and the session\'s events', async () => {
      const party = name('party');
      const { main, own } = await enterBoth(programs[0], way, party);
      assert.equal((await main.refusal('quest:join', { party })).code, 'UNKNOWN_EVENT');
      for (const event of ['dice:sit', 'chat:join', 'quest:nothing']) assert.equal((await own.refusal(event, {})).code, 'UNKNOWN_EVENT', event);
      const outside = await own.socket.emitWithAck('quest:mark', { party: 'another', place: 'x' });
      assert.deepEqual(outside, { ok: false, error: { code: 'QUEST_NOT_IN_PARTY', message: 'Join the party first.' } });
      const bad = await own.refusal('quest:mark', { party, place: 7 });
      assert.deepEqual([bad.code, bad.field], ['INVALID', 'place']);
      const key = name('key');
      for (let i = 0; i < 2; i++) await own.ask('quest:mark', { party, place: 'tower', idempotencyKey: key });
      assert.equal((await own.socket.emitWithAck('quest:mark', { party, place: 'gate', idempotencyKey: key })).error.code, 'CONFLICT');
      await own.ask('session:ping');
      assert.equal(own.all('quest:marked').length, 1);
      assert.ok((await own.ask('session:time')).serverTimeUs > 0);
      own.socket.emit('quest:mark', { party, place: 7 });
      assert.equal((await own.hears('error')).code, 'INVALID');
      assert.deepEqual(main.all('error'), []);
    });

    test('who is refused a namespace: one that is unknown, no session, another session', async () => {
      const ann = await join(programs[0], way);
      const unknown = await beside(ann, '/nowhere').refused();
      assert.equal(unknown.message, 'Invalid namespace');
      const foreign = await programs[0].login(name());
      const other = await beside(ann, '/quests', { auth: { sessionId: foreign } }).refused();
      assert.deepEqual([other.message, other.data.code], ['This connection belongs to another session.', 'OTHER_SESSION']);
      await ann.ask('session:ping'); // it goes on
      const guest = await new Player(programs[0].url, way, quests).refused();
      assert.deepEqual([guest.message, guest.data.code], ['No session provided', 'SESSION_REQUIRED']);
      const nobody = await new Player(programs[0].url, way, { ...quests, auth: { sessionId: 'nobody' } }).refused();
      assert.equal(nobody.data.code, 'SESSION_INVALID');
    });

    test('to leave one namespace keeps the others, and one can come again', async () => {
      const party = name('party');
      for (const leaves of ['own', 'main']) {
        const ann = await enterBoth(programs[0], way, party);
        const bob = await enterBoth(programs[1], way, party);
        const stays = leaves === 'own' ? 'main' : 'own';
        ann[leaves].socket.disconnect();
        assert.equal(await ended(ann[leaves]), 'io client disconnect');
        await ann[stays].ask('session:ping');
        if (stays === 'own') {
          await bob.own.ask('quest:mark', { party, place: 'tower' });
          assert.equal((await ann.own.hears('quest:marked')).place, 'tower');
        }
        assert.deepEqual(await bob.own.ask('quest:tell', { to: ann.user, word: 'still there?' }), { reached: stays === 'own' ? 1 : 0 });
        const again = new Promise((done) => ann[leaves].socket.once('connect', done));
        ann[leaves].socket.connect();
        await again;
        await ann[leaves].ask('session:ping');
        assert.deepEqual(await bob.own.ask('quest:tell', { to: ann.user, word: 'again' }), { reached: 1 });
        ann.main.socket.disconnect();
        ann.own.socket.disconnect();
      }
    });

    test('the end of a session ends all namespaces: a logout in either of them, and on the other gateway', async () => {
      for (const where of ['own', 'main', 'elsewhere']) {
        const ann = await enterBoth(programs[0], way, name('party'));
        const elsewhere = await new Player(programs[1].url, way, { ...quests, auth: { sessionId: ann.main.sessionId } }).connected();
        const all = { ...ann, elsewhere };
        await all[where].ask('session:logout');
        for (const one of [ann.main, ann.own, elsewhere]) {
          assert.equal((await one.hears('session:revoked')).code, 'LOGGED_OUT');
          await ended(one);
          assert.equal(one.socket.active, false, 'it does not come back by itself');
          assert.equal(one.all('session:revoked').length, 1);
        }
      }
    });

    test('what ends a session elsewhere ends all namespaces: a ban, and a revocation', async () => {
      const ways = {
        BANNED: (ann) => run(gateway, ['user', 'ban', ann.user, '--for', '1h', '--redis', redis.url]),
        SESSION_REVOKED: (ann) => run(gateway, ['session', 'revoke', '--redis', redis.url, '--', ann.main.sessionId]),
      };
      for (const [code, end] of Object.entries(ways)) {
        const ann = await enterBoth(programs[0], way, name('party'));
        await end(ann);
        for (const one of [ann.main, ann.own]) {
          assert.equal((await one.hears('session:revoked')).code, code);
          await ended(one);
          assert.equal(one.socket.active, false, 'it does not come back by itself');
        }
      }
    });

    test('namespaces of one connection share its limits', async () => {
      const { main, own } = await enterBoth(programs[0], way, name('party'));
      const flood = [];
      for (let i = 0; i < 160; i++) for (const one of [main, own]) flood.push(one.socket.timeout(10_000).emitWithAck('session:ping'));
      const refused = (await Promise.all(flood)).filter((a) => !a.ok);
      assert.ok(refused.length >= 10 && refused.length <= 30, `320 events, of which 300 are free: ${refused.length} were refused`);
      assert.ok(refused.every((a) => a.error.code === 'RATE_LIMITED' && a.error.policy === 'events'));
      const next = await enterBoth(programs[0], way, name('party')); // unknown events spend `errors`: 20 for each connection
      const codes = [];
      for (let i = 0; i < 11; i++) for (const one of [next.main, next.own]) codes.push((await one.refusal('nothing:at:all')).code);
      assert.deepEqual(codes, [...Array(20).fill('UNKNOWN_EVENT'), 'RATE_LIMITED', 'RATE_LIMITED']);
    });

    test('a client that comes back goes on in each namespace, and is sent what it missed', async () => {
      const party = name('party');
      const ann = await enterBoth(programs[0], way, party);
      const bob = await enterBoth(programs[1], way, party);
      await ann.main.ask('dice:sit', { table: party });
      await bob.main.ask('dice:sit', { table: party });
      await bob.own.ask('quest:mark', { party, place: 'one' });
      await bob.main.ask('dice:roll', { table: party, dice: 1 });
      await Promise.all([ann.own.hears('quest:marked'), ann.main.hears('dice:rolled')]);
      const ids = [ann.main.socket.id, ann.own.socket.id];
      ann.main.socket.io.engine.close();
      await Promise.all([ended(ann.main), ended(ann.own)]);
      await bob.own.ask('quest:mark', { party, place: 'two' });
      await bob.main.ask('dice:roll', { table: party, dice: 1 });
      ann.main.socket.connect();
      ann.own.socket.connect();
      await Promise.all([ann.main.connected(), ann.own.connected()]);
      assert.deepEqual([ann.main.socket.recovered, ann.own.socket.recovered, ann.main.socket.id, ann.own.socket.id], [true, true, ...ids]);
      assert.equal((await ann.own.hears('quest:marked', 2)).place, 'two');
      await ann.main.hears('dice:rolled', 2);
      await bob.own.ask('quest:mark', { party, place: 'three' });
      assert.equal((await ann.own.hears('quest:marked', 3)).place, 'three');
    });

    test('volatile casts come on both gateways, without an offset', async () => {
      const table = name('table');
      const ann = await enter(programs[0], way, table);
      const bob = await enter(programs[1], way, table);
      await until(async () => {
        await ann.ask('dice:shake', { table, angle: 7 });
        return bob.all('dice:shaken').length > 0 && ann.all('dice:shaken').length > 0;
      }, 'a volatile cast');
      assert.deepEqual(bob.heard.find((h) => h.event === 'dice:shaken').args, [{ by: ann.user, angle: 7 }]);
    });
  });
}

test('the contract names the events of each namespace: in types that compile, and in a valid AsyncAPI document', async () => {
  const { url } = programs[0];
  const build = here('build/feature');
  await mkdir(build, { recursive: true });
  await writeFile(joinPath(build, 'events.d.ts'), await (await fetch(`${url}/events.d.ts`)).text());
  const compile = async (...lines) => {
    const text = `import { io, type Socket } from 'socket.io-client';
import type { ServerToClientEventsOf, ClientToServerEventsOf } from './events.js';
const quests: Socket<ServerToClientEventsOf['/quests'], ClientToServerEventsOf['/quests']> = io('/quests');
${lines.join('\n')}
`;
    await writeFile(joinPath(build, 'quests.ts'), text);
    return run(process.execPath, [here('node_modules/typescript/bin/tsc'), '--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--moduleResolution', 'nodenext', '--target', 'es2022', joinPath(build, 'quests.ts')])
      .then(() => '', ({ stdout }) => stdout);
  };
  const good = ["quests.on('quest:marked', ({ place }) => place.length);", "quests.on('session', ({ userId }) => userId.length);",
    "quests.on('quest:ready', (party, answer) => answer({ yes: party.party !== '' }));", "quests.emit('quest:mark', { party: 'a', place: 'b' }, (answer) => answer.ok);", "quests.emit('session:ping', (answer) => answer.ok);"];
  assert.equal(await compile(...good), '');
  for (const bad of ["quests.emit('dice:sit', { table: 'a' }, () => {});", "quests.emit('quest:mark', { party: 'a' }, () => {});", "quests.on('dice:rolled', () => {});"]) {
    assert.match(await compile(bad), /error TS/, bad);
  }

  const document = await (await fetch(`${url}/asyncapi.json`)).json();
  const valid = new Ajv({ strict: false, validateFormats: false, logger: false }).compile(createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0-without-$id.json'));
  assert.ok(valid(document), JSON.stringify(valid.errors?.slice(0, 5), null, 2));
  assert.equal(document.channels['asks-quests'].address, '/quests');
  assert.equal(document.operations['quest.mark'].channel.$ref, '#/channels/asks-quests');
  assert.ok(document.channels['asks-quests'].messages['session.ping'] && document.channels['casts-quests'].messages['session.revoked']);
  assert.equal(document.channels.asks.messages['quest.mark'], undefined);
});
