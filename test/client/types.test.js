// The generated contract: the types compile and hold, the document is AsyncAPI.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { after, before, test } from 'node:test';
import Ajv from 'ajv';
import { Gateway } from './lib/gateway.js';
import { name } from './lib/player.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const require = createRequire(import.meta.url);

let gateway;
before(async () => { gateway = await Gateway.start(); });
after(() => gateway.stop());

test('a game in TypeScript compiles against /events.d.ts, and plays', async () => {
  const served = await (await fetch(`${gateway.url}/events.d.ts`)).text();
  assert.equal(served, await readFile(here('../../docs/events.d.ts'), 'utf8'), 'docs/events.d.ts is stale: make generate');
  const tsc = promisify(execFile)(process.execPath, [here('node_modules/typescript/bin/tsc'), '-p', here('tsconfig.json')]);
  await tsc.catch(({ stdout }) => assert.fail(stdout));

  const { play } = await import('./build/test/client/types.js');
  const { members, heard, waited } = await play(gateway.url, await gateway.login(name('typed')));
  assert.equal(members, 1);
  assert.equal(heard, 'hello');
  assert.ok(waited > 0 && waited <= 5000, `told to wait for ${waited} ms`);
});

test('/asyncapi.json is a valid AsyncAPI 3.0 document, and every $ref in it leads somewhere', async () => {
  const document = await (await fetch(`${gateway.url}/asyncapi.json`)).json();
  const ajv = new Ajv({ strict: false, validateFormats: false, logger: false });
  const valid = ajv.compile(require('@asyncapi/specs/schemas/3.0.0-without-$id.json'));
  assert.ok(valid(document), JSON.stringify(valid.errors?.slice(0, 5), null, 2));

  let refs = 0;
  JSON.stringify(document, (key, value) => {
    if (key === '$ref') {
      refs++;
      const target = value.slice(2).split('/').reduce((at, step) => at?.[step], document);
      assert.ok(target, `${value} leads nowhere`);
    }
    return value;
  });
  assert.ok(refs > 50, `${refs} references`);
});
