// Players with the official client, over each of its ways to connect.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { contractOf } from './contract.js';
import { until } from './wait.js';

/** Every test of the contract runs over each of these. */
export const WAYS = [
  { way: 'polling', transports: ['polling'] },
  { way: 'websocket', transports: ['websocket'] },
  { way: 'upgrade', transports: ['polling', 'websocket'] },
];

const ANSWER_WITHIN_MS = 10_000;
const open = new Set();
let names = 0;

/** name makes a user that no other test knows. */
export const name = (prefix = 'p') => `${prefix}${++names}-${process.pid}`;

/** A Player is a client's socket that remembers what it heard, in order: [{event, args}]. */
export class Player {
  constructor(url, { transports }, { client = io, namespace = '/', ...options } = {}) {
    this.transports = transports;
    this.heard = [];
    this.contract = contractOf(url);
    this.namespace = namespace;
    this.socket = client(namespace === '/' ? url : url + namespace, { transports, forceNew: true, reconnection: false, ...options });
    this.socket.onAny((event, ...args) => {
      this.heard.push({ event, args });
      this.contract?.heard(event, args, namespace);
    });
    this.socket.on('disconnect', (reason) => this.heard.push({ event: 'disconnect', args: [reason] }));
    open.add(this);
  }

  /** connected waits for CONNECT, and for the upgrade where one is due. */
  async connected() {
    const { socket } = this;
    await new Promise((ok, fail) => {
      socket.once('connect', ok);
      socket.once('connect_error', fail);
    });
    await until(() => socket.io.engine.transport.name === this.transports.at(-1), `the transport ${this.transports.at(-1)}`);
    return this;
  }

  /** refused waits for the connect_error. */
  refused() {
    return new Promise((ok, fail) => {
      this.socket.once('connect_error', ok);
      this.socket.once('connect', () => fail(new Error('it was let in')));
    });
  }

  /** answer gives the whole acknowledgement. */
  async answer(event, ...args) {
    const answer = await this.socket.timeout(ANSWER_WITHIN_MS).emitWithAck(event, ...args);
    this.contract?.answered(event, answer, this.namespace);
    return answer;
  }

  /** ask gives the data, and fails on a refusal. */
  async ask(event, ...args) {
    const answer = await this.answer(event, ...args);
    assert.equal(answer.ok, true, `${event}: ${JSON.stringify(answer)}`);
    assert.deepEqual(Object.keys(answer), ['ok', 'data']);
    return answer.data;
  }

  /** refusal gives the error, and fails on a success. */
  async refusal(event, ...args) {
    const answer = await this.answer(event, ...args);
    assert.equal(answer.ok, false, `${event}: ${JSON.stringify(answer)}`);
    assert.deepEqual(Object.keys(answer), ['ok', 'error']);
    assert.equal(typeof answer.error.message, 'string');
    assert.notEqual(answer.error.message, '');
    return answer.error;
  }

  /** all gives the first argument of each event of that name, so far. */
  all(event) {
    return this.heard.filter((h) => h.event === event).map((h) => h.args[0]);
  }

  /** hears waits for the nth event of that name. */
  async hears(event, nth = 1) {
    await until(() => this.all(event).length >= nth, `${nth} × ${event}`);
    return this.all(event)[nth - 1];
  }

  close() {
    this.socket.disconnect();
  }
}

/** join logs a new guest in and connects it. */
export async function join(gateway, way, user = name(), options = {}) {
  const sessionId = await gateway.login(user);
  const player = await new Player(gateway.url, way, { auth: { sessionId }, ...options }).connected();
  return Object.assign(player, { sessionId, user });
}

/** beside connects to a further namespace over the connection of a player. */
export function beside(player, namespace, options = {}) {
  const { socket, sessionId, user, contract } = player;
  const client = () => socket.io.socket(namespace, { auth: { sessionId, ...options.auth } });
  const further = new Player(undefined, player, { client, namespace });
  Object.assign(further, { sessionId, user, contract });
  return further;
}

/** closeAll is for the end of a file: a client left open keeps the process alive. */
export function closeAll() {
  for (const player of open) player.close();
  open.clear();
}
