// A proxy with a configuration of examples/proxies, before a gateway, with a certificate of its own.
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { guard } from './guard.js';
import { until } from './wait.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const extracted = here('../../../bin/proxies'); // where scripts/install puts what the system has not
const libraries = join(extracted, 'usr/lib/x86_64-linux-gnu');

/** PROXIES are the proxies that have a file, and how each is run with it. */
export const PROXIES = [
  { name: 'nginx', file: 'nginx.conf', program: 'nginx', args: (file, folder) => ['-p', folder, '-e', 'stderr', '-c', file, '-g', 'daemon off;'] },
  { name: 'Caddy', file: 'Caddyfile', program: 'caddy', args: (file) => ['run', '--adapter', 'caddyfile', '--config', file] },
  { name: 'Apache', file: 'apache.conf', program: 'apache2', args: (file, folder) => ['-DFOREGROUND', '-d', folder, '-f', file, '-e', 'warn'] },
  { name: 'HAProxy', file: 'haproxy.cfg', program: 'haproxy', args: (file) => ['-db', '-f', file], oneFile: true },
];

/** find gives the path of a program, or undefined. */
function find(program) {
  const folders = [...process.env.PATH.split(delimiter), '/usr/sbin', join(extracted, 'usr/sbin'), join(extracted, 'usr/bin')];
  return folders.map((f) => join(f, program)).find(existsSync);
}

/** lacking says what a proxy needs that this machine has not, where no package manager could give it; or false. */
export function lacking({ program }) {
  const missing = [program, 'openssl'].filter((needed) => !find(needed));
  return missing.length > 0 && `missing: ${missing.join(' and ')}; run scripts/install, or install it`;
}

async function freePort() {
  const server = createServer();
  await new Promise((ok) => server.listen(0, '127.0.0.1', ok));
  const { port } = server.address();
  await new Promise((ok) => server.close(ok));
  return port;
}

/** lackingOpenSSL is lacking for what makes a certificate alone. */
export function lackingOpenSSL() {
  return !find('openssl') && 'missing: openssl';
}

/** startProxy gives {url, stop()}, once it passes requests on. */
export async function startProxy({ name, file, program, args, oneFile }, gateway) {
  const binary = find(program);
  const folder = await mkdtemp(join(tmpdir(), 'proxy-'));
  const cert = join(folder, 'cert.pem');
  const key = join(folder, 'key.pem');
  await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=game',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]);
  const both = join(folder, 'both.pem');
  if (oneFile) await writeFile(both, `${await readFile(cert, 'utf8')}${await readFile(key, 'utf8')}`);
  const listen = `127.0.0.1:${await freePort()}`;
  let text = await readFile(here(`../../../examples/proxies/${file}`), 'utf8');
  const modules = [join(extracted, 'usr/lib/apache2/modules'), '/usr/lib/apache2/modules'].find(existsSync);
  for (const [from, to] of [
    ['127.0.0.1:8443', listen], ['127.0.0.1:8080', gateway.url.replace('http://', '')],
    ...(oneFile ? [['/etc/ssl/game.pem', both]] : [['/etc/ssl/game.pem', cert], ['/etc/ssl/game.key', key]]),
    ...(program === 'apache2' ? [[' modules/', ` ${modules}/`]] : []),
  ]) {
    if (!text.includes(from)) throw new Error(`${file} has no ${from}`);
    text = text.replaceAll(from, to);
  }
  if (program === 'nginx') { // what it keeps beside, in our folder, which is ours alone
    const kept = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((what) => `${what}_temp_path ${folder}/${what};`);
    text = text.replace('http {', `http {\n${kept.join('\n')}`);
    if (process.getuid() === 0) text = `user root;\n${text}`;
  }
  const config = join(folder, file);
  await writeFile(config, text);
  const env = { ...process.env, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder, ...(binary.startsWith(extracted) && { LD_LIBRARY_PATH: libraries }) };
  const child = spawn(binary, args(config, folder), { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const unguard = guard(child);
  let log = '';
  for (const out of [child.stdout, child.stderr]) out.on('data', (d) => { log = (log + d).slice(-20_000); });
  const url = `https://${listen}`;
  const passes = () => {
    if (child.exitCode !== null) throw new Error(`${name} ended:\n${log}`);
    return new Promise((done) => {
      request(`${url}/health/ready`, { rejectUnauthorized: false }, (r) => { r.resume(); done(r.statusCode === 200); }).on('error', () => done(false)).end();
    });
  };
  await until(passes, `${name} to pass requests on`, 30_000);
  return {
    url, ca: await readFile(cert),
    async stop() {
      const gone = new Promise((done) => child.once('exit', done));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await gone;
      clearTimeout(timer);
      unguard();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
