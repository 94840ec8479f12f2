// Measures what a Node limiter costs: CALLERS callers ask it without a pause for SECONDS, through
// ioredis with auto-pipelining. It prints {decisions, cpuSeconds, seconds} as JSON.
// Environment: REDIS, LIMITER=lua|flexible, CALLERS, SECONDS, WARMUP, SUBJECTS, LIMIT, WINDOW_MS.
import { Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { measure } from './measure.js';

const { REDIS, LIMITER, SUBJECTS, LIMIT, WINDOW_MS } = process.env;
const [host, port] = REDIS.split(':');
const redis = new Redis({ host, port: Number(port), enableAutoPipelining: true });

// The window is copied from server.js, because importing that file would start a server.
redis.defineCommand('slidingWindow', {
  numberOfKeys: 1,
  lua: `
local now, win, lim = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - win)
local n = redis.call('ZCARD', KEYS[1])
if n >= lim then
  local o = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return {0, tonumber(o[2]) + win - now}
end
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('PEXPIRE', KEYS[1], win)
return {1, lim - n - 1}`,
});
const flexible = new RateLimiterRedis({ storeClient: redis, keyPrefix: 'rl', points: Number(LIMIT), duration: WINDOW_MS / 1000 });

let uniq = 0;
const spend = LIMITER === 'flexible'
  ? (who) => flexible.consume(who, 1).catch((e) => { if (e instanceof Error) throw e; })
  : (who) => { const now = Date.now(); return redis.slidingWindow(`rl:${who}`, now, WINDOW_MS, LIMIT, `${now}-${++uniq}`); };

let next = 0;
await measure(async () => {
  await spend(`u${next++ % SUBJECTS}`);
  return 1;
});
redis.disconnect();
