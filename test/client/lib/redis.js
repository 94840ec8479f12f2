// A real redis-server for a test file, and just enough of its protocol to look inside.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guard } from './guard.js';
import { until } from './wait.js';

/** startRedis spawns a server on a private unix socket. {url, command(...words), stop()} */
export async function startRedis() {
  const dir = mkdtempSync(join(tmpdir(), 'client-tests-'));
  const path = join(dir, 'redis.sock');
  const child = spawn('redis-server', ['--port', '0', '--unixsocket', path, '--dir', dir, '--save', '', '--appendonly', 'no'], { stdio: 'ignore' });
  const dead = new Promise((_, fail) => child.on('error', (e) => fail(new Error(`redis-server: ${e.message}; install it (apt install redis-server)`))));
  const unguard = child.pid ? guard(child) : () => {};
  const answers = () => command(path, ['PING']).then((a) => a === 'PONG', () => false);
  await Promise.race([dead, until(answers, 'redis-server to answer')]);
  return {
    url: `unix://${path}`,
    command: (...words) => command(path, words),
    async stop() {
      const gone = new Promise((done) => child.once('exit', done));
      child.kill('SIGKILL');
      await gone;
      unguard();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

// One connection a command: slow, simple, and never in the way of another test.
function command(path, words) {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let data = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('redis closed the connection')));
    socket.on('data', (chunk) => {
      data = Buffer.concat([data, chunk]);
      const parsed = parse(data, 0);
      if (!parsed) return;
      socket.destroy();
      if (parsed.value instanceof Error) reject(parsed.value);
      else resolve(parsed.value);
    });
    socket.write(`*${words.length}\r\n${words.map((w) => `$${Buffer.byteLength(String(w))}\r\n${w}\r\n`).join('')}`);
  });
}

// parse gives {value, next}, or null while the reply is not whole.
function parse(data, at) {
  const eol = data.indexOf('\r\n', at);
  if (eol < 0) return null;
  const line = data.toString('utf8', at + 1, eol);
  const next = eol + 2;
  switch (String.fromCharCode(data[at])) {
    case '+': return { value: line, next };
    case '-': return { value: new Error(line), next };
    case ':': return { value: Number(line), next };
    case '$': {
      const size = Number(line);
      if (size < 0) return { value: null, next };
      return data.length < next + size + 2 ? null : { value: data.toString('utf8', next, next + size), next: next + size + 2 };
    }
    case '*': {
      const value = [];
      let from = next;
      for (let i = 0; i < Number(line); i++) {
        const item = parse(data, from);
        if (!item) return null;
        value.push(item.value);
        from = item.next;
      }
      return { value, next: from };
    }
  }
  throw new Error(`redis: unknown reply ${line}`);
}
