// The contract that a gateway serves at /asyncapi.json: what it says and what it does are compared, for
// everything that any test hears.
import assert from 'node:assert/strict';
import Ajv from 'ajv';

const contracts = new Map(); // gateway's address → Contract

/** contractOf gives what learn read, or undefined. */
export const contractOf = (url) => contracts.get(url);

/** learn reads the contract of a gateway, and gives it. */
export async function learn(url) {
  const document = await (await fetch(`${url}/asyncapi.json`)).json();
  contracts.set(url, new Contract(document));
  return contracts.get(url);
}

// isOffset tells the second value of events that are recovered, a position.
const isOffset = (value) => typeof value === 'string' && value.length <= 64 && /^.{1,40}-\d+$/.test(value);

class Contract {
  #ajv = new Ajv({ strict: false, allErrors: true, logger: false });
  #compiled = new Map();
  #document;
  #breaches = []; // by what was heard, where no test waits for an error

  /** programs has the names of the events that programs of the game send; they are in no contract. */
  programs;

  constructor(document) {
    this.#document = document;
    exact(document);
    this.#ajv.addSchema(document, 'contract');
  }

  /** answered fails when an acknowledgement is not what the event's answer may be. Unknown events are told so, or that they are too many. */
  answered(event, answer, namespace = '/') {
    if (this.events(namespace).includes(event)) this.#check('answers', event, answer, namespace);
    else assert.match(answer?.error?.code ?? 'none', /^(UNKNOWN_EVENT|RATE_LIMITED)$/, event);
  }

  /** heard remembers an event that is not one that the server may send. */
  heard(event, args, namespace = '/') {
    try {
      const isQuestion = typeof args[1] === 'function' && this.#document.channels[channelOf('replies', namespace)]?.messages[event.replaceAll(':', '.')];
      assert.ok(args.length === 1 || (args.length === 2 && (isQuestion || isOffset(args[1]))), `${event} came with ${args.length} values`);
      if (!this.programs?.test(event)) this.#check('casts', event, args[0], namespace);
    } catch (breach) {
      this.#breaches.push(breach.message);
    }
  }

  /** events gives the names of all that a client may ask in a namespace, sorted. */
  events(namespace = '/') {
    return Object.values(this.#document.channels[channelOf('asks', namespace)]?.messages ?? {}).map((m) => m.name).sort();
  }

  /** kept fails when anything heard broke the contract. */
  kept() {
    assert.deepEqual(this.#breaches, []);
  }

  #check(kind, event, value, namespace) {
    const channel = channelOf(kind, namespace);
    const key = event.replaceAll(':', '.');
    assert.ok(this.#document.channels[channel].messages[key], `${event} is not among the ${channel} of the contract`);
    const at = `${channel}/messages/${key}`;
    if (!this.#compiled.has(at)) this.#compiled.set(at, this.#ajv.compile({ $ref: `contract#/channels/${at}/payload` }));
    const valid = this.#compiled.get(at);
    assert.ok(valid(value), `${channel}: ${event} ${JSON.stringify(value)?.slice(0, 600)} breaks the contract: ${JSON.stringify(valid.errors)?.slice(0, 600)}`);
  }
}

// channelOf names the channel of a kind that a namespace has.
const channelOf = (kind, namespace) => (namespace === '/' ? kind : `${kind}-${namespace.slice(1)}`);

// exact allows no property that is not named, but for the details of a refusal.
function exact(node) {
  if (node === null || typeof node !== 'object') return;
  if (node.type === 'object' && node.properties && !(node.properties.code && node.properties.message)) node.additionalProperties ??= false;
  Object.values(node).forEach(exact);
}
