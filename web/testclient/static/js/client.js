// One player's connection: asks and hears, and tells its listeners what went by.
//
// Told to listeners of `on`: every server event by its own name, and
//   'state'  {status, transport, reason}   status: connecting connected reconnecting ended
//   'ended'  {code, reason}                it will not come back by itself
//   'record' a record of one event in or out, new or changed (see #record)
//   'asked'  {event, payload, ok, data, error, ms, sentAt}   after each answer

/** A Refusal is an answer with ok: false. `details` is the whole error object of the contract. */
export class Refusal extends Error {
  constructor(error) {
    super(error.message ?? error.code);
    this.code = error.code;
    this.details = error;
  }
}

const ANSWER_WITHIN_MS = 15_000;

export class Client {
  #listeners = new Map();
  #records = 0;
  #ended = false;
  #revoked = null; // why the session ended; the disconnect comes right after it

  /** io is the official client's; transports as it takes them, undefined for its default. */
  constructor(io, { sessionId, transports }) {
    this.socket = io({ auth: { sessionId }, transports, forceNew: true, autoConnect: false });
    this.state = { status: 'connecting', transport: '', reason: '' };
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
      if (event === 'session:revoked') this.#revoked = args[0];
      this.#tell(event, args[0]);
    });
    socket.on('connect', () => {
      const { engine } = socket.io;
      this.#become('connected', engine.transport.name);
      engine.on('upgrade', (transport) => this.#become('connected', transport.name));
    });
    socket.on('connect_error', (error) => {
      this.#record({ dir: 'in', event: 'connect_error', payload: { message: error.message, data: error.data }, ok: false, code: error.data?.code });
      if (socket.active) this.#become('reconnecting', '', error.message);
      else this.#end({ code: error.data?.code ?? 'REFUSED', reason: error.message });
    });
    socket.on('disconnect', (reason) => {
      if (this.#revoked || !socket.active) this.#end(this.#revoked ?? { code: 'DISCONNECTED', reason });
      else this.#become('reconnecting', '', reason);
    });
    socket.connect();
    return this;
  }

  close() {
    this.#ended = true;
    this.socket.disconnect();
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
    this.#tell('asked', { event, payload, ok, data, error, ms, sentAt });
    if (!ok) throw new Refusal(error);
    return data;
  }

  #become(status, transport, reason = '') {
    if (this.#ended) return;
    this.state = { status, transport, reason };
    this.#tell('state', this.state);
  }

  #end({ code = 'ENDED', reason = '' }) {
    if (this.#ended) return;
    this.#become('ended', '', reason);
    this.#ended = true;
    this.#tell('ended', { code, reason });
  }

  // A record: {id, at, dir: 'in'|'out', event, payload, ms?, ok?, code?, answer?}.
  #record(record) {
    record.id ??= ++this.#records;
    record.at ??= Date.now();
    this.#tell('record', record);
    return record;
  }

  #tell(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) listener(value);
  }
}
