// The scenarios of examples/artillery, by Artillery itself. Its packages are many, so they are not installed
// for this: `make test-artillery` installs them and runs this.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join as path } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, test } from 'node:test';
import { openExample } from './lib/example.js';
import { Gateway } from './lib/gateway.js';
import { WAYS, closeAll, join } from './lib/player.js';

const PLAYERS = 20;
const installed = existsSync(fileURLToPath(new URL('../../examples/artillery/node_modules', import.meta.url)));

describe('examples/artillery', { skip: !installed && 'its packages are not installed: make test-artillery' }, () => {
  let gateway;
  let example;
  before(async () => {
    example = await openExample('artillery');
    gateway = await Gateway.start('--limit', 'connect=off');
    example.env.REDIS_URL = gateway.redis.url;
    example.env.ARTILLERY_DISABLE_TELEMETRY = 'true';
    await example.run(example.lines('for i in')[0]);
  });
  after(async () => {
    closeAll();
    await gateway?.stop();
    await example?.close();
  });

  // play runs a README's line, and gives Artillery's counters and exit status.
  async function play(line) {
    const run = await example.run(`${line} --output report.json`, { 'http://127.0.0.1:8080': gateway.url }).then(() => ({ code: 0 }), (error) => error);
    const { aggregate } = JSON.parse(await readFile(path(example.folder, 'report.json'), 'utf8'));
    return { code: run.code, out: run.stdout, counters: aggregate.counters };
  }

  const errorsOf = (counters) => Object.entries(counters).filter(([name]) => name.startsWith('errors.'));

  for (const file of ['builtin.yml', 'socketio-v3.yml']) {
    const line = () => example.lines('npx artillery run').find((l) => l.endsWith(` ${file}`));

    test(`${file}: every player talks, and is heard`, async () => {
      const witness = await join(gateway, WAYS[1]);
      await witness.ask('chat:join', { channel: 'zone:artillery' });
      const { code, out, counters } = await play(line());
      assert.deepEqual([code, errorsOf(counters), counters['vusers.completed'], counters['vusers.failed']], [0, [], PLAYERS, 0], out);
      await witness.hears('chat:message', 3 * PLAYERS);
      const texts = witness.all('chat:message').map((m) => m.text).sort();
      assert.deepEqual(texts, Array.from({ length: PLAYERS }, (_, i) => Array(3).fill(`hello from bot${i + 1}`)).flat().sort());
      witness.close();
    });

    test(`${file}: with auth in config every player is refused`, async () => {
      const text = await readFile(path(example.folder, file), 'utf8');
      const auth = /^( +)(?:- connect:\n +)?(?:socketio:\n +)?auth:.*\n +sessionId:.*\n/m;
      assert.match(text, auth);
      const wrong = text.replace(auth, '').replace(/^( +)transports:.*\n/m, '$&$1auth: { sessionId: "{{ sessionId }}" }\n');
      await writeFile(path(example.folder, 'wrong.yml'), wrong);
      const { code, counters } = await play(line().replace(file, 'wrong.yml'));
      const [[error, times], ...others] = errorsOf(counters);
      assert.match(error, /No session provided$/);
      assert.deepEqual([code, times, others], [1, PLAYERS, []]);
    });
  }

  test('socketio-v3.yml with Artillery 1.7.9; whose built-in engine is refused', async () => {
    const old = 'node node_modules/artillery-engine-socketio-v3/node_modules/artillery/bin/artillery';
    assert.match(await example.run(`${old} --version`), /1\.7\.9/);
    const witness = await join(gateway, WAYS[1]);
    await witness.ask('chat:join', { channel: 'zone:artillery' });
    await example.run(`${old} run --target ${gateway.url} socketio-v3.yml`);
    await witness.hears('chat:message', 3 * PLAYERS);
    witness.close();
    assert.match(await example.run(`${old} run --target ${gateway.url} builtin.yml`), new RegExp(`Error: websocket error: ${PLAYERS}$`, 'm'));
  });
});
