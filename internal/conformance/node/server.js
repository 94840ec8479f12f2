// A node of a cluster as Node makes it: the official server, adapter and emitter. It serves
// the same GET /op as ../op.go, and the operations em-emit, em-emitbin, em-join, em-leave,
// em-disc and em-sse through the emitter, which is no node at all.
// Usage: node server.js <redis [user:password@]host:port> [emitter | other | sharded | streams]; it prints its own port when it is ready. With
// "emitter" it is no node of the cluster, and only the operations of the emitter concern others. With "other",
// "sharded" and "streams" it has an adapter that does not hear ours: another key, or another of Socket.IO's adapters.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { Redis } from 'ioredis';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { createAdapter as createStreamsAdapter } from '@socket.io/redis-streams-adapter';
import { Emitter } from '@socket.io/redis-emitter';

const { hostname: host, port, username, password } = new URL(`redis://${process.argv[2]}`);
const client = () => {
  const c = new Redis({ host, port: Number(port), username, password, retryStrategy: (n) => Math.min(20 * n, 200), maxRetriesPerRequest: null });
  c.on('error', () => {});
  return c;
};
process.on('unhandledRejection', () => {}); // Redis refuses what the emitter may not do, and nobody waits for its answer
const pub = client();
const http = createServer();
const adapters = {
  emitter: () => undefined,
  other: () => createAdapter(pub, client(), { key: 'elsewhere' }),
  sharded: () => createShardedAdapter(pub, client()),
  streams: () => createStreamsAdapter(pub),
};
const adapter = (adapters[process.argv[3]] ?? (() => createAdapter(pub, client())))();
const io = new Server(http, { serveClient: false, ...(adapter && { adapter }) });
const emitter = new Emitter(pub);

let last = [];
io.on('connection', (s) => {
  s.data = { srv: 'node' };
  s.emit('auth', s.handshake.auth);
  s.on('join', (room, ack) => { s.join(room); ack?.('joined'); });
  s.on('burst-room', (room, n) => { for (let i = 0; i < n; i++) io.to(room).emit('b', i); });
});
io.on('sse', (...args) => {
  if (typeof args.at(-1) === 'function') args.pop()('node-pong');
  last = args;
});

const list = (s) => (s ?? '').split(',').filter(Boolean);
const target = (of, q) => {
  let to = of;
  for (const r of list(q.get('room'))) to = to.to(r);
  for (const r of list(q.get('except'))) to = to.except(r);
  return to;
};
const both = (start) => new Promise((ok) => start((err, values) => ok([values ?? null, err ? err.message : 'null'])));

const ops = {
  emit: (to, v) => to.emit('ev', v, { k: [1, true] }) && true,
  emitbin: (to) => to.emit('evb', Buffer.from([1, 2, 3])) && true,
  emitack: (to) => both((done) => to.timeout(1500).emit('question', 'q', done)),
  fetch: async (to) => {
    try {
      const all = await to.fetchSockets();
      return [all.map((s) => ({ id: s.id, rooms: [...s.rooms].sort(), data: s.data, hs: s.handshake?.issued > 0 })), 'null'];
    } catch (e) {
      return [null, e.message];
    }
  },
  join: (to, v) => (to.socketsJoin(v), true),
  joinemit: (to, v, of) => (to.socketsJoin(v), of.to(v).emit('ev', v, { k: [1, true] }), true),
  leave: (to, v) => (to.socketsLeave(v), true),
  disc: (to, v) => (to.disconnectSockets(v === '1'), true),
  sse: (to, v) => (io.serverSideEmit('sse', v), true),
  sseack: (to, v) => both((done) => io.serverSideEmit('sse', v, done)),
  count: () => io.of('/').adapter.serverCount(),
  lastsse: () => JSON.stringify(last),
  rooms: () => [...io.of('/').adapter.rooms.keys()].sort(),
  allrooms: async () => [...(await io.of('/').adapter.allRooms())].sort(),
};
const viaEmitter = {
  'em-emit': ops.emit,
  'em-emitbin': ops.emitbin,
  'em-join': ops.join,
  'em-joinemit': ops.joinemit,
  'em-leave': ops.leave,
  'em-disc': ops.disc,
  'em-sse': (to, v) => (emitter.serverSideEmit('sse', v), true),
};

http.on('request', async (req, res) => {
  const url = new URL(req.url, 'http://node');
  if (url.pathname !== '/op') return;
  const q = url.searchParams;
  const op = q.get('op');
  const run = ops[op] ?? viaEmitter[op];
  const of = op in viaEmitter ? emitter : io.of('/');
  const answer = run ? await run(target(of, q), q.get('v') ?? '', of) : null;
  res.statusCode = run ? 200 : 400;
  res.end(JSON.stringify(answer));
});

http.listen(0, '127.0.0.1', () => console.log(http.address().port));
process.stdin.on('end', () => process.exit()).resume(); // it ends with the test that started it
