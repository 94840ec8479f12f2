// The gateway under test: the built binary, on a free port, with a Redis of its own.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { learn } from './contract.js';
import { guard } from './guard.js';
import { startRedis } from './redis.js';
import { until } from './wait.js';

const run = promisify(execFile);
const binary = process.env.TEST_GATEWAY_BIN ?? fileURLToPath(new URL('../../../bin/gateway', import.meta.url));

// What a test file does before the limit it is about must not be refused by another.
const ROOMY = ['login=1000/60s', 'connect=1000/10s', 'events=off', 'reads=off', 'rooms=off', 'moderation=off'].flatMap((limit) => ['--limit', limit]);

/** Gateway.start(...flags) serves; stop() fails when the process has died in between. */
export class Gateway {
  static start(...flags) {
    return Gateway.beside(null, ...flags);
  }

  /** beside starts one on the Redis of another, which outlives it. */
  static async beside(other, ...flags) {
    if (!existsSync(binary)) throw new Error(`${binary} is missing: run "make build", or set TEST_GATEWAY_BIN`);
    const g = new Gateway();
    g.redis = other ? { ...other.redis, stop: () => {} } : await startRedis();
    return g.#serve({}, '--redis', g.redis.url, ...flags);
  }

  /** alone starts one without --redis, which starts a Redis of its own, in an environment. Sessions are guests' logins. */
  static alone(env, ...flags) {
    if (!existsSync(binary)) throw new Error(`${binary} is missing: run "make build", or set TEST_GATEWAY_BIN`);
    const g = new Gateway();
    g.redis = { stop: () => {} };
    g.session = (user) => g.login(user);
    return g.#serve(env, ...flags);
  }

  async #serve(env, ...flags) {
    const g = this;
    g.child = spawn(binary, ['serve', '--dev', '--addr', '127.0.0.1:0', '--admin-addr', '127.0.0.1:0', '--drain-for', '0s', '--node', 'node-1', ...ROOMY, ...flags], { env: { ...process.env, ...env } });
    g.unguard = guard(g.child);
    g.out = '';
    g.log = '';
    g.child.stdout.on('data', (d) => { g.out += d; });
    g.child.stderr.on('data', (d) => {
      g.log += d;
      if (process.env.TEST_GATEWAY_LOG) process.stderr.write(d);
    });
    await until(async () => {
      if (g.ended) throw new Error(`the gateway ended:\n${g.log}`);
      g.url ??= /^listening on (https?:\/\/\S+)$/m.exec(g.out)?.[1];
      return g.url && fetch(`${g.url}/health/ready`).then((r) => r.ok, () => false);
    }, 'the gateway to be ready', 20_000);
    g.contract = await learn(g.url);
    return g;
  }

  /** apiURL is where the server API is, of a gateway with --api-addr. */
  get apiURL() {
    return /^server api +(http:\/\/\S+)$/m.exec(this.out)[1];
  }

  /** apiKey makes a key of the server API, adds it to the file of keys, and gives it once it holds. */
  async apiKey(file, scope) {
    const { stdout } = await run(binary, ['api-key', 'create', '--name', 'test', '--scope', scope]);
    const [key, line] = stdout.trim().split('\n');
    await appendFile(file, `${line}\n`);
    await until(() => fetch(`${this.apiURL}limits`, { headers: { Authorization: `Bearer ${key}` } }).then((r) => r.status !== 401), 'the key to hold', 20_000);
    return key;
  }

  get ended() {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async stop() {
    if (this.isGone) {
      await this.redis.stop();
      return;
    }
    const died = this.ended;
    if (!died) {
      const gone = new Promise((done) => this.child.once('exit', done));
      this.child.kill('SIGTERM');
      const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
      await gone;
      clearTimeout(timer);
    }
    this.unguard();
    await this.redis.stop();
    this.contract?.kept();
    assert.ok(!died, `the gateway died on the way:\n${this.log.slice(-4000)}`);
  }

  /** end ends the process with a signal, as part of a test, and leaves its Redis to others. */
  async end(signal) {
    const gone = new Promise((done) => this.child.once('exit', done));
    this.child.kill(signal);
    await gone;
    this.unguard();
    this.contract?.kept();
    this.isGone = true;
  }

  /** cli runs another command of the binary against the same Redis, and gives its standard output. */
  async cli(topic, verb, ...args) {
    const { stdout } = await run(binary, [topic, verb, '--redis', this.redis.url, ...args]);
    return stdout.trim();
  }

  /** revoke ends a session from the command line. The id stands after --, since it may begin with a -. */
  revoke(sessionId) {
    return this.cli('session', 'revoke', '--', sessionId);
  }

  session(name, ...flags) {
    return this.cli('session', 'create', '--user', name, '--username', name, '--character', name, ...flags);
  }

  mint(character, item, qty) {
    return this.cli('trade', 'mint', '--character', character, '--item', item, '--qty', String(qty));
  }

  /** login is the guest's way in over HTTP; it gives the session id. */
  async login(username) {
    const answer = await this.post('/auth/login', { username });
    assert.equal(answer.status, 201, await answer.clone().text());
    return (await answer.json()).sessionId;
  }

  post(path, body, headers = {}) {
    return fetch(this.url + path, { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: body && JSON.stringify(body) });
  }

  /** ttl is what Redis has left of a session, in ms; below 0 when it is gone. */
  ttl(sessionId) {
    return this.redis.command('PTTL', `session:${sessionId}`);
  }
}
