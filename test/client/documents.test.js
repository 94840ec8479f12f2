// The blocks of JavaScript and TypeScript in all documents parse, those in TypeScript also check, and what
// docs/clients.md shows for each language plays.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { WebSocket } from 'ws';
import { Gateway } from './lib/gateway.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const run = promisify(execFile);

let dir;
let gateway;
before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'documents-'));
  symlinkSync(here('node_modules'), join(dir, 'node_modules'));
  copyFileSync(join(root, 'docs/events.d.ts'), join(dir, 'events.d.ts'));
  gateway = await Gateway.start();
});
after(async () => {
  await gateway?.stop();
  rmSync(dir, { recursive: true });
});

/** blocks are the fenced blocks of a language, in one document or in all. */
function blocks(language, document) {
  const documents = document ? [document] : execFileSync('git', ['-C', root, 'ls-files', '-co', '--exclude-standard', '*.md'], { encoding: 'utf8' }).trim().split('\n');
  return documents.flatMap((name) => [...readFileSync(join(root, name), 'utf8').matchAll(new RegExp('^```' + language + '\\n([^]*?)^```', 'gm'))]
    .map(([, text], n) => ({ name: `${name.replaceAll('/', '_')}-${n}`, text })));
}

test('blocks of JavaScript parse, blocks of TypeScript check', async () => {
  const js = blocks('js');
  const ts = blocks('ts');
  assert.ok(js.length > 8 && ts.length > 0, `${js.length} and ${ts.length} blocks`);
  // What a block of a page has from its surroundings.
  const surroundings = 'declare const sessionId: string;\n';
  for (const { name, text } of js) writeFileSync(join(dir, `${name}.mjs`), text);
  for (const { name, text } of ts) writeFileSync(join(dir, `${name}.ts`), surroundings + text);
  for (const { name, text } of blocks('html')) writeFileSync(join(dir, `${name}.mjs`), /<script type="module">([^]*)<\/script>/.exec(text)[1]);
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}');
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { noEmit: true, allowJs: true, checkJs: false, strict: true, target: 'es2022', module: 'preserve', moduleResolution: 'bundler', types: [], lib: ['es2022', 'dom'], skipLibCheck: true },
    include: ['*.mjs', '*.ts'], exclude: ['node_modules'],
  }));
  await run(process.execPath, [here('node_modules/typescript/bin/tsc'), '-p', dir]).catch(({ stdout }) => assert.fail(stdout));
});

test('events that blocks name are events of the gateway, or plainly of a game', () => {
  const known = new Set(readFileSync(join(root, 'docs/EVENTS.md'), 'utf8').match(/`[a-z]+(:[a-z]+)+`/g).map((name) => name.slice(1, -1)));
  assert.ok(known.has('chat:message') && known.size > 40, `${known.size} events`);
  const ours = new Set([...known].map((name) => name.split(':')[0]));
  let named = 0;
  for (const { name, text } of [...blocks('js'), ...blocks('ts'), ...blocks('html'), ...blocks('python')]) {
    for (const [, event] of text.matchAll(/(?:\bon|emit|emitWithAck|call)\(['"]([a-z]+:[a-z:]+)['"]/g)) {
      named++;
      if (ours.has(event.split(':')[0])) assert.ok(known.has(event), `${name}: there is no event ${event}`);
    }
  }
  assert.ok(named > 10, `${named} events`);
});

test('the client for Node', async () => {
  const file = join(dir, 'player.mjs');
  writeFileSync(file, `${blocks('js', 'docs/clients.md')[0].text}\nsetTimeout(() => process.exit(), 2000);\n`);
  const { stdout, stderr } = await run(process.execPath, [file], { env: { ...process.env, GATEWAY_URL: gateway.url } });
  assert.equal(stderr, '');
  assert.deepEqual(stdout.trim().split('\n').sort(), ['ann: Ahoy from Node', 'said']);
});

test('the client for Python', async (t) => {
  const installed = join(root, 'bin/python/usr/lib/python3/dist-packages'); // by scripts/install
  const env = { ...process.env, GATEWAY_URL: gateway.url, PYTHONPATH: existsSync(installed) ? installed : '' };
  if (!(await run('python3', ['-c', 'import socketio, websocket'], { env }).then(() => true, () => false))) {
    t.skip('no python-socketio and websocket-client: scripts/install gets them');
    return;
  }
  const file = join(dir, 'player.py');
  writeFileSync(file, blocks('python', 'docs/clients.md')[0].text);
  const { stdout } = await run('python3', [file], { env });
  assert.match(stdout, /^\{'ok': True, 'data': \{'channel': 'global', 'members': 1\}\}$/m);
  assert.match(stdout, /^ben: Ahoy from Python$/m);
  assert.match(stdout, /^said$/m);
});

test('the client for Go', async () => {
  const { stdout } = await run('go', ['run', '.', '--url', gateway.url, '--for', '2s'], { cwd: join(root, 'examples/client-go') });
  assert.match(stdout, /^joined .*ok:true/m);
  assert.match(stdout, /^gus: Ahoy from Go$/m);
  assert.match(stdout, /^said .*ok:true/m);
});

test('the frames of a client by hand', async () => {
  const text = blocks('text', 'docs/clients.md')[0].text;
  const hand = async (sessionId) => {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    const heard = [];
    let wake = () => {};
    socket.on('message', (data) => { heard.push(String(data)); wake(); });
    const take = async (start) => {
      for (;;) {
        const at = heard.findIndex((packet) => packet.startsWith(start));
        if (at >= 0) return heard.splice(at, 1)[0];
        await new Promise((done) => { wake = done; });
      }
    };
    const open = JSON.parse((await take('0{')).slice(1));
    for (const field of ['sid', 'upgrades', 'pingInterval', 'pingTimeout', 'maxPayload']) {
      assert.ok(field in open && text.includes(`"${field}"`), field);
    }
    assert.ok(text.includes(`"pingInterval":${open.pingInterval},"pingTimeout":${open.pingTimeout},"maxPayload":${open.maxPayload}`), JSON.stringify(open));
    socket.send(`40${JSON.stringify({ sessionId })}`);
    return { socket, take };
  };
  const { socket, take } = await hand(await gateway.login('hana'));
  const { sid, pid } = JSON.parse((await take('40')).slice(2));
  assert.ok(sid && pid);
  const session = JSON.parse((await take('42["session"')).slice(2));
  assert.equal(typeof session.at(-1), 'string', 'the offset');
  socket.send('420["chat:join",{"channel":"global"}]');
  const answer = await take('430');
  assert.ok(text.includes(answer), answer);
  socket.terminate();

  const refused = await hand('nobody');
  const packet = await refused.take('44');
  assert.ok(text.includes(packet), packet);
  refused.socket.terminate();

  // A ping comes after pingInterval, and the end of a session as 41.
  const quick = await Gateway.start('--ping-interval', '300ms', '--ping-timeout', '5s');
  try {
    const sessionId = await quick.login('ida');
    const ida = new WebSocket(`${quick.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    const packets = [];
    ida.on('message', (data) => {
      packets.push(String(data));
      if (packets.at(-1) === '2') ida.send('3');
      if (packets.at(-1).startsWith('0{')) ida.send(`40${JSON.stringify({ sessionId })}`);
    });
    while (packets.filter((p) => p === '2').length < 2) await new Promise((done) => ida.once('message', done));
    await quick.post('/auth/logout', undefined, { Authorization: `Bearer ${sessionId}` });
    while (!packets.includes('41')) await new Promise((done) => ida.once('message', done));
    ida.terminate();
  } finally {
    await quick.stop();
  }
});
