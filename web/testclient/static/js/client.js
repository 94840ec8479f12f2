// One player's connection: asks and hears, and tells its listeners what went by.
//
// Told to listeners of `on`: every server event by its own name, and
//   'state'  {status, transport, reason, retryAt}   status: connecting connected reconnecting offline ended
//   'welcome' {session, recovered}         the first session of each connection; recovered: all that was missed follows
//   'recovered' {late, awayMs}             what was missed has come: so many events
//   'ended'  {code, reason, until}         it will not come back by itself
//   'record' a record of one event in or out, new or changed (see #record)
//   'asked'  {event, payload, ok, data, error, ms, sentAt}   after each answer
// Panels tell each other more: 'inventory' what is owned, and what the player wants of somebody:
// 'want:fight' {characterId}, 'want:trade' {userId}, 'want:whisper' {userId, username}.

import { explainLoss, retryAfter } from './explain.js';

/** A Refusal is an answer with ok: false. `details` is the whole error object of the contract. */
export class Refusal extends Error {
  constructor(error) {
    super(error.message ?? error.code);
    this.code = error.code;
    this.details = error;
  }
}

const ANSWER_WITHIN_MS = 15_000;

const SLOW_POLL_MS = 4000;

export class Client {
  /** What this player has at hand, by the names of payloads' properties: the newest combatId, a channel, and so on. */
  known = {};
  #listeners = new Map();
  #records = 0;
  #ended = false;
  #revoked = null; // why the session ended; the disconnect comes right after it
  #slow = false;
  #away = false; // by our own wish
  #closing = null; // what the server said before it closed the connection
  #waitMs = 0; // how long the server asked to wait
  #isWelcome = false; // whether this connection has had its session
  #late = null; // how many events have come that were missed; null: none come
  #lostAt = 0;

  /** io is the official client's; transports as it takes them, undefined for its default. contract is readContract's. */
  constructor(io, { sessionId, transports, contract }) {
    this.contract = contract;
    this.socket = io({ path: document.documentElement.dataset.path, auth: { sessionId }, transports, forceNew: true, autoConnect: false });
    this.state = { status: 'connecting', transport: '', reason: '', retryAt: 0 };
    this.#watchRetries();
  }

  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, []);
    this.#listeners.get(name).push(listener);
    return this;
  }

  /** open starts connecting. Call it once every listener is attached: the first events come at once. */
  open() {
    const { socket } = this;
    socket.onAny((event, ...args) => {
      this.#record({ dir: 'in', event, payload: args[0] });
      if (this.#late !== null && event !== 'limits') this.#late++;
      if (event === 'session:revoked') this.#revoked = args[0];
      if (event === 'gateway:closing') this.#closing = args[0];
      this.tell(event, args[0]);
      if (event === 'session' && !this.#isWelcome) this.#welcome(args[0]);
    });
    socket.io.on('open', () => this.#throttle());
    socket.on('connect', () => {
      const { engine } = socket.io;
      this.#closing = null;
      this.#become('connected', engine.transport.name);
      engine.on('upgrade', (transport) => this.#become('connected', transport.name));
    });
    socket.on('connect_error', (error) => {
      this.#record({ dir: 'in', event: 'connect_error', payload: { message: error.message, data: error.data }, ok: false, code: error.data?.code });
      this.#waitMs = retryAfter(error);
      if (socket.active) this.#become('reconnecting', '', explainLoss(error.message, { error, closing: this.#closing }));
      else this.#end({ code: 'REFUSED', reason: error.message, ...error.data });
    });
    socket.on('disconnect', (reason) => {
      this.#isWelcome = false;
      this.#late = null;
      this.#lostAt = Date.now();
      this.#waitMs = this.#closing?.reconnectInMs ?? 0;
      if (this.#away) this.#become('offline', '', 'You have disconnected.');
      else if (this.#revoked || !socket.active) this.#end(this.#revoked ?? { code: 'DISCONNECTED', reason: 'The server has disconnected this player.' });
      else this.#become('reconnecting', '', explainLoss(reason, { closing: this.#closing }));
    });
    socket.connect();
    return this;
  }

  // What was missed comes before the answer to the first event of the new connection.
  async #welcome(session) {
    this.#isWelcome = true;
    const recovered = this.socket.recovered && session.recovered !== false;
    if (recovered) this.#late = 0;
    this.tell('welcome', { session, recovered });
    if (!recovered) return;
    await this.ask('session:ping').catch(() => {});
    if (this.#late !== null) this.tell('recovered', { late: this.#late, awayMs: Date.now() - this.#lostAt });
    this.#late = null;
  }

  // The client waits longer after each attempt, and at least as long as the server asked for. The listeners hear until when.
  #watchRetries() {
    const { backoff } = this.socket.io;
    const duration = backoff.duration.bind(backoff);
    backoff.duration = () => {
      const ms = Math.max(duration(), this.#waitMs);
      this.#waitMs = 0;
      this.#become('reconnecting', '', this.state.reason, Date.now() + ms);
      return ms;
    };
  }

  close() {
    this.#ended = true;
    this.socket.disconnect();
  }

  /** serves tells whether this server knows an event. */
  serves(event) {
    return this.contract.asks.has(event);
  }

  /** drop ends the transport without a word, as a bad network does; the client comes back by itself. */
  drop() {
    this.socket.io.engine.close();
  }

  /** leave disconnects, and stays away until reconnect. */
  leave() {
    this.#away = true;
    this.socket.disconnect();
  }

  /** reconnect begins anew: over these transports, or as before. slow polls only every four seconds. */
  reconnect({ transports, slow = this.#slow } = {}) {
    const { socket } = this;
    this.#slow = slow;
    this.#away = true;
    socket.disconnect();
    if (slow) socket.io.opts.transports = ['polling'];
    else if (transports) socket.io.opts.transports = transports;
    this.#away = false;
    this.#become('connecting', '');
    socket.connect();
  }

  // A slow reader fetches late what waits for it, so that the server has to keep it.
  #throttle() {
    const { transport } = this.socket.io.engine;
    if (!this.#slow || !transport.doPoll) return;
    const poll = transport.doPoll.bind(transport);
    transport.doPoll = () => setTimeout(() => transport.readyState !== 'closed' && poll(), SLOW_POLL_MS);
  }

  /** ask sends an event and gives its data. Throws a Refusal, or an Error when no answer comes. */
  async ask(event, payload) {
    const sentAt = Date.now();
    const started = performance.now();
    const record = this.#record({ dir: 'out', event, payload });
    let answer;
    try {
      const socket = this.socket.timeout(ANSWER_WITHIN_MS);
      answer = await (payload === undefined ? socket.emitWithAck(event) : socket.emitWithAck(event, payload));
    } catch {
      answer = { ok: false, error: { code: 'NO_ANSWER', message: 'No answer came.' } };
    }
    const ms = performance.now() - started;
    const { ok, data, error } = answer ?? { ok: false, error: { code: 'NO_ANSWER', message: 'The answer was empty.' } };
    this.#record(Object.assign(record, { ms, ok, code: error?.code, answer }));
    this.tell('asked', { event, payload, ok, data, error, ms, sentAt });
    if (!ok) throw new Refusal(error);
    return data;
  }

  #become(status, transport, reason = '', retryAt = 0) {
    if (this.#ended) return;
    this.state = { status, transport, reason, retryAt };
    this.tell('state', this.state);
  }

  #end({ code = 'ENDED', reason = '', until }) {
    if (this.#ended) return;
    this.#become('ended', '', reason);
    this.#ended = true;
    this.tell('ended', { code, reason, until });
  }

  // A record: {id, at, dir: 'in'|'out', event, payload, ms?, ok?, code?, answer?}.
  #record(record) {
    record.id ??= ++this.#records;
    record.at ??= Date.now();
    this.tell('record', record);
    return record;
  }

  /** tell calls the listeners of a name. */
  tell(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) listener(value);
  }
}
