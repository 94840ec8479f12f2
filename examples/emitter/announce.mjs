// Sends one event to players through the Redis of the gateway.
//
//   node announce.mjs everybody                     server:notice '{"text":"Maintenance at 5"}'
//   node announce.mjs channel    guild:red          guild:raid    '{"at":1795409785245}'
//   node announce.mjs user       u7                 mail:new      '{"from":"ann"}'
//   node announce.mjs connection mHqFV0oJkTkdAAAB   quest:hint    '{"step":2}'
//
// REDIS_URL says where Redis is, CLUSTER_PREFIX what the gateway's --cluster-prefix says.
import { Emitter } from '@socket.io/redis-emitter';
import { createClient } from 'redis';

// The names of the gateway's rooms. A wrong one is silent: nobody is in that room.
const rooms = {
  channel: (name) => `chat:${name}`, //      who joined the channel: global, zone:<id>, guild:<id>, party:<id>, combat:<id>
  user: (userId) => `user:${userId}`, //     all connections of a user
  connection: (socketId) => socketId, //     one connection: socket.id of the client
};

const [audience, ...rest] = process.argv.slice(2);
const name = audience === 'everybody' ? undefined : rest.shift();
const [event, json = '{}'] = rest;
if (!event || (audience !== 'everybody' && !(audience in rooms))) {
  console.error('Usage: node announce.mjs everybody|channel|user|connection [NAME] EVENT [JSON]');
  process.exit(2);
}
// An object or a list: a client takes a text that comes last for a position in the stream.
const data = JSON.parse(json);
if (typeof data === 'string') throw new Error('the data must not be a text; put it into an object');

const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';
const redis = createClient(url.startsWith('unix://')
  ? { socket: { path: url.slice('unix://'.length), reconnectStrategy: false } }
  : { url, socket: { reconnectStrategy: false } }); // a command that fails at once, instead of one that waits
redis.on('error', (error) => console.error(`Redis: ${error.message}`));
await redis.connect();

// The emitter does not say whether its PUBLISH succeeded, or how many players it reached.
// This client waits for all commands before it closes.
const players = new Emitter(redis, { key: process.env.CLUSTER_PREFIX ?? 'socket.io' });
(name === undefined ? players : players.to(rooms[audience](name))).emit(event, data);
await redis.close();
