// What redlock costs: so many callers acquire and release without a pause, for so long, with the settings of server.js.
// It prints {decisions, cpuSeconds, seconds} as JSON; a decision is a lock that was had and given back.
// Environment: REDIS, CALLERS, NAMES, SECONDS, WARMUP.
import { Redis } from 'ioredis';
import redlockPkg from 'redlock';

const Redlock = redlockPkg.default ?? redlockPkg;
const { REDIS, CALLERS, NAMES, SECONDS, WARMUP } = process.env;
const [host, port] = REDIS.split(':');
const redis = new Redis({ host, port: Number(port), enableAutoPipelining: true });
const redlock = new Redlock([redis], { retryCount: 10, retryDelay: 20, retryJitter: 20 });
redlock.on('error', () => {});

let decisions = 0;
let over = false;
const caller = async (i) => {
  while (!over) {
    try {
      const lock = await redlock.acquire([`lock:bench:${i % NAMES}`], 3000);
      await lock.release();
      decisions++;
    } catch {} // taken for too long: not counted
  }
};
const callers = Array.from({ length: Number(CALLERS) }, (_, i) => caller(i));
await new Promise((done) => setTimeout(done, WARMUP * 1000));
const [from, cpu, began] = [decisions, process.cpuUsage(), performance.now()];
process.stderr.write('measuring\n');
await new Promise((done) => setTimeout(done, SECONDS * 1000));
const used = process.cpuUsage(cpu);
console.log(JSON.stringify({ decisions: decisions - from, cpuSeconds: (used.user + used.system) / 1e6, seconds: (performance.now() - began) / 1000 }));
over = true;
await Promise.all(callers);
redis.disconnect();
