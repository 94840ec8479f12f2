// Measures what redlock costs: CALLERS callers acquire and release locks without a pause for
// SECONDS, with the settings of server.js. It prints {decisions, cpuSeconds, seconds} as JSON; a
// decision is a lock that was acquired and released.
// Environment: REDIS, CALLERS, NAMES, SECONDS, WARMUP.
import { Redis } from 'ioredis';
import redlockPkg from 'redlock';
import { measure } from './measure.js';

const Redlock = redlockPkg.default ?? redlockPkg;
const { REDIS, NAMES } = process.env;
const [host, port] = REDIS.split(':');
const redis = new Redis({ host, port: Number(port), enableAutoPipelining: true });
const redlock = new Redlock([redis], { retryCount: 10, retryDelay: 20, retryJitter: 20 });
redlock.on('error', () => {});

await measure(async (i) => {
  try {
    const lock = await redlock.acquire([`lock:bench:${i % NAMES}`], 3000);
    await lock.release();
    return 1;
  } catch { // another caller held the lock for too long: not counted
    return 0;
  }
});
redis.disconnect();
