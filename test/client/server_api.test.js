// The server API: its document is linted, and a client that is generated from it makes every call.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { after, before, test } from 'node:test';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import openapiTS, { astToString } from 'openapi-typescript';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, name } from './lib/player.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

let gateway;
let folder;
let key;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'api-'));
  const file = join(folder, 'keys');
  await writeFile(file, '');
  gateway = await Gateway.start('--api-addr', '127.0.0.1:0', '--api-keys-file', file);
  gateway.contract.programs = /^quest:/;
  key = await gateway.apiKey(file, 'cast,connections,presence,history,sessions,moderation,goods,limits');
});
after(async () => {
  closeAll();
  await gateway.stop();
  await rm(folder, { recursive: true });
});

test('the OpenAPI document that a node serves has no fault that a linter finds', async () => {
  const served = await (await fetch(new URL('openapi.json', gateway.apiURL))).text();
  assert.equal(served, await readFile(here('../../docs/openapi.json'), 'utf8'), 'docs/openapi.json is stale: make generate');
  const config = await createConfig({ extends: ['recommended-strict'] });
  const lint = async (source) => (await lintFromString({ source, config, absoluteRef: '/openapi.json' })).map((p) => `${p.ruleId}: ${p.message}`);
  assert.deepEqual(await lint(served), []);
  assert.notDeepEqual(await lint(served.replace('"operationId": "cast"', '"operationId": "history"')), [], 'the linter lints');
});

test('a client that is generated from the document makes every call', async () => {
  const served = await (await fetch(new URL('openapi.json', gateway.apiURL))).text();
  await writeFile(here('openapi.ts'), astToString(await openapiTS(served)));
  const options = ['--target', 'es2022', '--module', 'nodenext', '--strict', '--noUnusedLocals', '--exactOptionalPropertyTypes', '--skipLibCheck', '--outDir', here('build/api')];
  const tsc = promisify(execFile)(process.execPath, [here('node_modules/typescript/bin/tsc'), ...options, here('server_api.ts')]);
  await tsc.catch(({ stdout }) => assert.fail(stdout));

  const user = name('api');
  const player = await new Player(gateway.url, WAYS[0], { auth: { sessionId: await gateway.login(user) } }).connected();
  const made = new Set();
  const { play } = await import('./build/api/server_api.js');
  const got = await play(new URL('/', gateway.apiURL).href.slice(0, -1), key, user, (operation) => made.add(operation));

  const all = Object.entries(JSON.parse(served).paths).flatMap(([path, item]) => Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`));
  assert.deepEqual([...made].sort(), all.sort(), 'every call, and no other');
  assert.equal(all.length, 23);

  assert.deepEqual(got.cast, { reached: 1, missing: 0, recoverable: true, local: false });
  assert.deepEqual(got.again, got.cast);
  assert.deepEqual(await player.hears('quest:done'), { id: 7 });
  assert.equal(await player.hears('quest:step'), 1);
  assert.equal(got.connections[0].userId, user);
  assert.deepEqual(got.silent, []);
  assert.deepEqual([got.entered.done, got.left.done, got.gone.done, got.ended.ended], [1, 1, 1, 1]);
  assert.equal(got.presence.userId, user);
  assert.deepEqual([got.channel.total, got.history.messages], [0, []]);
  assert.equal(got.shown.sessions[0].userId, 'kim');
  assert.ok(got.login.sessionId);
  assert.equal(got.ban.reason, 'spam');
  assert.equal(got.sanctions.sanctions[0].kind, 'mute');
  assert.deepEqual(got.owned, { items: [{ itemId: 'sword', qty: 2 }], gold: 5 });
  assert.ok(got.minted.ref);
  assert.ok(got.limits.policies.some((p) => p.overrides.includes('chat@vip=50/10s')));
  assert.deepEqual([got.refusal.code, got.foreign.code, got.wrong.code, got.wrong.field], ['NOT_FOUND', 'FORBIDDEN', 'INVALID', 'event']);
  assert.deepEqual(got.batch.answers.map((a) => a.status), [200, 200, 400]);
});
