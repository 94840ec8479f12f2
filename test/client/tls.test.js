// A gateway that serves TLS itself, with the official client.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rename } from 'node:fs/promises';
import { connect as connectTLS } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Gateway } from './lib/gateway.js';
import { Player, WAYS, closeAll, name } from './lib/player.js';
import { lackingOpenSSL } from './lib/proxy.js';
import { until } from './lib/wait.js';

const BURST = 100;

describe('TLS of the gateway itself', { skip: lackingOpenSSL() }, () => {
  let gateway;
  let folder;
  let ca;

  /** issue writes a certificate and its key, and then renames them into place. */
  async function issue() {
    const [cert, key] = ['cert.pem', 'key.pem'].map((file) => join(folder, file));
    await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=game',
      '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', `${key}.new`, '-out', `${cert}.new`]);
    await rename(`${key}.new`, key);
    await rename(`${cert}.new`, cert);
    return { cert, key, text: await readFile(cert) };
  }

  before(async () => {
    // fetch, by which the harness asks whether the gateway is ready, can be given no authority. The players check.
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    folder = await mkdtemp(join(tmpdir(), 'tls-'));
    const { cert, key, text } = await issue();
    ca = text;
    gateway = await Gateway.start('--limit', 'chat=off', '--tls-cert', cert, '--tls-key', key);
  });
  after(async () => {
    closeAll();
    await gateway.stop();
  });

  for (const way of WAYS) {
    test(`players hear all, in order, over ${way.way}`, async () => {
      const channel = `zone:${name('z')}`;
      const players = [];
      for (let i = 0; i < 2; i++) {
        const player = await new Player(gateway.url, way, { auth: { sessionId: await gateway.login(name()) }, ca, rejectUnauthorized: true }).connected();
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

  test('a certificate that is replaced is served to new clients, and connected ones stay', async () => {
    const player = await new Player(gateway.url, WAYS[1], { auth: { sessionId: await gateway.login(name()) }, ca, rejectUnauthorized: true }).connected();
    const { text } = await issue();
    const { host } = new URL(gateway.url);
    const [address, port] = host.split(':');
    const isTrusted = () => new Promise((done) => {
      const socket = connectTLS({ host: address, port, ca: text, rejectUnauthorized: true }, () => { socket.end(); done(true); });
      socket.on('error', () => done(false));
    });
    await until(isTrusted, 'the new certificate to be served');
    await player.ask('session:ping', {});
    const next = await new Player(gateway.url, WAYS[2], { auth: { sessionId: await gateway.login(name()) }, ca: text, rejectUnauthorized: true }).connected();
    next.close();
    player.close();
  });
});
