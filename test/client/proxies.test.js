// The gateway behind each proxy of examples/proxies, with TLS.
import assert from 'node:assert/strict';
import { connect, constants } from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, name } from './lib/player.js';
import { PROXIES, lacking, startProxy } from './lib/proxy.js';

const BURST = 100;

let gateway;
before(async () => { gateway = await Gateway.start('--limit', 'chat=off', '--trusted-proxies', '127.0.0.1/32'); });
after(async () => {
  closeAll();
  await gateway.stop();
});

/** ask sends a request by HTTP/2, and gives {status, body, protocol}. */
function ask(session, headers, body) {
  return new Promise((done, fail) => {
    const stream = session.request(headers);
    let status;
    let text = '';
    stream.on('response', (h) => { status = h[constants.HTTP2_HEADER_STATUS]; });
    stream.setEncoding('utf8').on('data', (d) => { text += d; });
    stream.on('end', () => done({ status, body: text })).on('error', fail);
    stream.end(body);
  });
}

for (const kind of PROXIES) {
  describe(`behind ${kind.name}`, { skip: lacking(kind) }, () => {
    let proxy;
    before(async () => { proxy = await startProxy(kind, gateway); });
    after(() => proxy?.stop());

    for (const way of WAYS) {
      test(`players hear all, in order, over ${way.way}`, async () => {
        const channel = `zone:${name('z')}`;
        const players = [];
        for (let i = 0; i < 2; i++) {
          const user = name();
          const player = await new Player(proxy.url, way, { auth: { sessionId: await gateway.login(user) }, ca: proxy.ca }).connected();
          await player.ask('chat:join', { channel });
          players.push(player);
        }
        for (let i = 0; i < BURST; i++) players[0].socket.emit('chat:message', { channel, text: `${i}` });
        for (const p of players) {
          await p.hears('chat:message', BURST);
          assert.deepEqual(p.all('chat:message').map((m) => m.text), Array.from({ length: BURST }, (_, i) => `${i}`));
        }
        players.forEach((p) => p.close());
      });
    }

    test('a login and a poll by HTTP/2, of a player whose address is the one that the proxy saw', async () => {
      const session = connect(proxy.url, { ca: proxy.ca });
      assert.equal(await new Promise((ok, no) => { session.once('connect', (s) => ok(s.socket.alpnProtocol)).once('error', no); }), 'h2');
      const login = await ask(session, { ':method': 'POST', ':path': '/auth/login', 'content-type': 'application/json', 'x-forwarded-for': '203.0.113.7' }, JSON.stringify({ username: name() }));
      assert.equal(login.status, 201, login.body);
      const { sessionId } = JSON.parse(login.body);
      const opened = await ask(session, { ':path': '/socket.io/?EIO=4&transport=polling', 'x-forwarded-for': '203.0.113.7' });
      assert.equal(opened.status, 200, opened.body);
      const path = `/socket.io/?EIO=4&transport=polling&sid=${JSON.parse(opened.body.slice(1)).sid}`;
      assert.equal((await ask(session, { ':method': 'POST', ':path': path, 'content-type': 'text/plain' }, `40${JSON.stringify({ sessionId })}`)).body, 'ok');
      assert.match((await ask(session, { ':path': path })).body, /^40\{"sid":/);
      const { connections } = JSON.parse(await gateway.cli('connections', '--json'));
      assert.ok(connections.length > 0);
      assert.deepEqual([...new Set(connections.map((c) => c.addr))], ['127.0.0.1'], 'what the client claims is not believed');
      session.destroy();
    });
  });
}
