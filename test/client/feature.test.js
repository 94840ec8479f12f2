// A feature of another Go module (examples/feature), with the official client: questions, binary values, volatile casts.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { learn } from './lib/contract.js';
import { guard } from './lib/guard.js';
import { WAYS, closeAll, join, name } from './lib/player.js';
import { startRedis } from './lib/redis.js';
import { until } from './lib/wait.js';

const run = promisify(execFile);
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
  for (const policy of ['login', 'connect', 'chat']) await redis.command('HSET', 'ratelimit:overrides', policy, 'off'); // as gateway limits set does
  for (let i = 0; i < 2; i++) programs.push(await Program.start(binary, redis));
}, { timeout: 300_000 });

after(async () => {
  closeAll();
  await Promise.all(programs.map((p) => p.stop()));
  await redis?.stop();
  await rm(folder, { recursive: true, force: true });
});

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
      const { id } = ann.socket;
      const closed = new Promise((done) => ann.socket.once('disconnect', done));
      ann.socket.io.engine.close();
      await closed;
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
