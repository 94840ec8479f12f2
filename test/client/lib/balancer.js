// HAProxy with the configuration that deploy/ offers, before gateways that run already.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { guard } from './guard.js';
import { until } from './wait.js';

const config = fileURLToPath(new URL('../../../deploy/haproxy.cfg', import.meta.url));

async function freePort() {
  const server = createServer();
  await new Promise((ok) => server.listen(0, '127.0.0.1', ok));
  const { port } = server.address();
  await new Promise((ok) => server.close(ok));
  return port;
}

/** startBalancer gives {url, stop()}, once it passes requests on. */
export async function startBalancer(gateways) {
  const listen = `127.0.0.1:${await freePort()}`;
  const env = { ...process.env, LISTEN: listen };
  gateways.forEach((g, i) => { env[`GATEWAY_${i + 1}`] = g.url.replace('http://', ''); });
  const child = spawn('haproxy', ['-db', '-f', config], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (d) => { log += d; });
  const dead = new Promise((_, fail) => child.on('error', (e) => fail(new Error(`haproxy: ${e.message}; install it (apt install haproxy)`))));
  const unguard = child.pid ? guard(child) : () => {};
  const url = `http://${listen}`;
  const passes = () => {
    if (child.exitCode !== null) throw new Error(`haproxy ended:\n${log}`);
    return fetch(`${url}/health/ready`).then((r) => r.ok, () => false);
  };
  await Promise.race([dead, until(passes, 'haproxy to pass requests on')]);
  return {
    url,
    async stop() {
      const gone = new Promise((done) => child.once('exit', done));
      child.kill('SIGTERM');
      await gone;
      unguard();
    },
  };
}
