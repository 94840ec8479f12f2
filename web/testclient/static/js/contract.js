// What the server serves, from its own /asyncapi.json: which events there are, what they take, what limits them.

const SHALLOW = 4; // a type may hold itself

/** readContract gives the events of a server: {asks: Map(name → ask), casts: Set(name), problem?}. An ask is {event, about, limits, roles, codes, schema}. */
export async function readContract() {
  let document;
  try {
    const answer = await fetch('/asyncapi.json');
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    document = await answer.json();
  } catch (error) {
    return { asks: new Map(), casts: new Set(), problem: error.message };
  }
  const asks = new Map();
  for (const [key, { name, payload }] of Object.entries(document.channels.asks.messages)) {
    const operation = document.operations[key];
    asks.set(name, {
      event: name,
      about: [operation.summary, operation.description].filter(Boolean).join(' '),
      limits: operation['x-limits'] ?? [],
      roles: operation['x-roles'] ?? [],
      codes: operation['x-codes'] ?? [],
      schema: payload && resolve(payload, document, SHALLOW),
    });
  }
  return { asks, casts: new Set(Object.values(document.channels.casts.messages).map((m) => m.name)) };
}

// resolve writes out what $ref points to.
function resolve(schema, document, depth) {
  if (!schema.$ref) {
    const copy = { ...schema };
    if (schema.items) copy.items = resolve(schema.items, document, depth);
    if (schema.properties) copy.properties = Object.fromEntries(Object.entries(schema.properties).map(([k, v]) => [k, resolve(v, document, depth)]));
    return copy;
  }
  if (depth === 0) return {};
  const target = schema.$ref.slice(2).split('/').reduce((at, step) => at?.[step], document) ?? {};
  return { ...resolve(target, document, depth - 1), ...(schema.description && { description: schema.description }) };
}

/** template makes a payload to begin with. known holds what this player would put there, by property. */
export function template(schema, known = {}) {
  if (!schema) return undefined;
  if ('const' in schema) return schema.const;
  if ('default' in schema) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.oneOf ?? schema.anyOf) return template((schema.oneOf ?? schema.anyOf)[0], known);
  const [type] = typesOf(schema);
  if (type === 'array') return [template(schema.items ?? {}, known)];
  if (type === 'integer' || type === 'number') return Math.max(schema.minimum ?? 0, Math.min(1, schema.maximum ?? 1));
  if (type === 'boolean') return false;
  if (type === 'string') return '';
  if (type === 'null') return null;
  const out = {};
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    if (schema.required?.includes(name)) out[name] = known[name] ?? template(property, known);
    else if (known[name] !== undefined) out[name] = known[name];
  }
  return out;
}

// typesOf gives the types that a schema allows: none is any.
const typesOf = (schema) => [schema.type ?? []].flat();

const NAMES = { array: 'a list', object: 'an object', string: 'a text', boolean: 'true or false', number: 'a number', integer: 'a whole number', null: 'null' };

/** wrong says what a schema has against a value, or ''. Of a backend's schema it knows the usual part: the server judges the rest. */
export function wrong(schema, value, path = '') {
  const at = path ? `${path}: ` : '';
  const kind = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
  const types = typesOf(schema);
  if (types.length && !types.some((type) => (type === 'integer' ? Number.isInteger(value) : type === kind))) return `${at}${types.map((type) => NAMES[type]).join(' or ')} is expected`;
  if (schema.enum && !schema.enum.includes(value)) return `${at}one of ${schema.enum.join(', ')}`;
  if (kind === 'string' && [...value].length < (schema.minLength ?? 0)) return `${at}is empty`;
  if (kind === 'string' && [...value].length > (schema.maxLength ?? Infinity)) return `${at}at most ${schema.maxLength} characters`;
  if (kind === 'number' && (value < (schema.minimum ?? -Infinity) || value > (schema.maximum ?? Infinity))) return `${at}${schema.minimum ?? '…'} to ${schema.maximum ?? '…'}`;
  if (kind === 'array') return value.map((entry, i) => wrong(schema.items ?? {}, entry, `${path}[${i}]`)).find(Boolean) ?? '';
  if (kind !== 'object' || !schema.properties) return '';
  const below = (name) => (path ? `${path}.${name}` : name);
  for (const name of schema.required ?? []) if (value[name] === undefined) return `${below(name)}: required`;
  for (const [name, entry] of Object.entries(value)) {
    const property = schema.properties[name];
    if (!property && schema.additionalProperties === false) return `${below(name)}: unknown field`;
    if (!property) continue;
    const problem = wrong(property, entry, below(name));
    if (problem) return problem;
  }
  return '';
}
