// Players with the official client and its retries, who give every event an idempotency key. Each
// pair gives, trades and fights, and writes each answer to standard output, a line of JSON:
// {event, key, sends, answer}. An event that is refused for now, or not answered within the client's
// retries, is sent again with its key.
//
// Usage: node --experimental-websocket once.mjs CLIENT '{"url", "emits", "seed", "players": [{"user", "session"}, …]}'
import { pathToFileURL } from 'node:url';

const { io } = await import(pathToFileURL(process.argv[2]).href);
const { url, players, emits, seed } = JSON.parse(process.argv[3]);

// After these nothing was done, or it is not known.
const PASSING = ['RATE_LIMITED', 'UNAVAILABLE', 'TIMEOUT', 'LOCKED', 'UNAUTHENTICATED'];

let state = seed >>> 0;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};

let left = emits;
let keys = 0;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Player {
  constructor({ user, session }) {
    this.user = user;
    this.sends = new Map(); // by key
    this.socket = io(url, {
      transports: ['websocket'], auth: { sessionId: session }, forceNew: true,
      retries: 3, ackTimeout: 400, reconnectionDelay: 50, reconnectionDelayMax: 300, timeout: 3000,
    });
    const send = this.socket.packet.bind(this.socket);
    this.socket.packet = (packet) => {
      const key = packet.data?.[1]?.idempotencyKey;
      if (key) this.sends.set(key, (this.sends.get(key) ?? 0) + 1);
      return send(packet);
    };
    // After a refusal of the handshake the client does not come back by itself.
    this.socket.on('connect_error', () => { if (!this.socket.active) setTimeout(() => this.socket.connect(), 200); });
    this.socket.on('disconnect', (why) => { if (why === 'io server disconnect') this.socket.connect(); });
  }

  /** ask sends an event until it has its answer, and gives the answer's data. */
  async ask(event, payload) {
    left--;
    const key = `${this.user}.${++keys}`;
    for (;;) {
      const answer = await new Promise((done) => {
        this.socket.emit(event, { ...payload, idempotencyKey: key }, (late, given) => done(late ? undefined : given));
      });
      if (answer && !PASSING.includes(answer.error?.code)) {
        console.log(JSON.stringify({ event, key, sends: this.sends.get(key), answer }));
        this.sends.delete(key);
        if (!answer.ok) throw new Error(`${event} ${key}: ${JSON.stringify(answer.error)}`);
        return answer.data;
      }
      if (answer) await sleep(Math.min(answer.error.retryAfterMs ?? 100, 300));
    }
  }
}

const apples = (qty) => ({ items: [{ itemId: 'apple', qty }], gold: 0 });

// What a pair does, in turn.
const deeds = [
  async (a, b) => {
    await a.ask('trade:execute', { to: b.user, give: apples(1 + below(3)) });
  },
  async (a, b) => {
    const { tradeId } = await a.ask('trade:propose', { to: b.user });
    await a.ask('trade:offer', { tradeId, version: 1, ...apples(3) });
    await b.ask('trade:offer', { tradeId, version: 2, ...apples(1) });
    await a.ask('trade:accept', { tradeId, version: 3 });
    await b.ask('trade:accept', { tradeId, version: 3 });
  },
  async (a, b) => {
    const { tradeId } = await a.ask('trade:propose', { to: b.user });
    await b.ask('trade:offer', { tradeId, version: 1, ...apples(2) });
    await (below(2) ? a : b).ask('trade:cancel', { tradeId });
  },
  async (a) => {
    let fight = await a.ask('combat:start', { npc: 'goblin' });
    for (let turn = 0; fight.status === 'active' && left > 0; turn++) {
      const action = turn < 4 ? ['attack', 'defend'][below(2)] : 'flee';
      fight = (await a.ask('combat:action', { combatId: fight.combatId, action })).state;
    }
  },
];

const all = players.map((p) => new Player(p));
const pairs = [];
for (let i = 0; i + 1 < all.length; i += 2) {
  pairs.push((async () => {
    const [a, b] = [all[i], all[i + 1]];
    for (let n = i / 2; left > 0; n++) await (below(2) ? deeds[n % deeds.length](a, b) : deeds[n % deeds.length](b, a));
  })());
}
const ends = await Promise.allSettled(pairs);
for (const e of ends) if (e.status === 'rejected') console.error(e.reason.message);
for (const p of all) p.socket.disconnect();
