// Any event, with a payload that begins as its schema says.
import { announce } from '../announce.js';
import { disable, el, refs } from '../dom.js';
import { template, wrong } from '../contract.js';

export function send(root, client) {
  const ui = refs(root);
  const { event, payload } = ui.form.elements;
  let touched = false;

  for (const [feature, names] of Object.entries(Object.groupBy(client.contract.asks.keys(), (name) => name.split(':')[0]))) {
    event.append(el('optgroup', { label: feature }, ...names.map((name) => el('option', {}, name))));
  }
  client.on('asked', () => { if (!touched && !ui.form.contains(document.activeElement)) begin(); }); // the first answers tell what this player has at hand
  client.on('state', ({ status }) => { disable(ui.send, status !== 'connected'); });

  if (client.contract.problem) ui.about.textContent = `Which events there are could not be read from /asyncapi.json (${client.contract.problem}).`;
  const chosen = () => client.contract.asks.get(event.value);

  function begin() {
    const ask = chosen();
    if (!ask) return;
    payload.value = ask.schema ? JSON.stringify(template(ask.schema, client.known), null, 2) : '';
    payload.rows = Math.min(9, Math.max(3, payload.value.split('\n').length));
    ui.about.textContent = [ask.about, ask.limits.length ? `Limit: ${ask.limits.join(', ')}.` : '', ask.roles.length ? `For ${ask.roles.join(' or ')} only.` : ''].filter(Boolean).join(' ');
    ui.fields.replaceChildren(...fields(ask.schema));
    ui.outcome.textContent = '';
    check();
  }

  // check judges the payload as the server will; what is not valid may be sent all the same.
  function check() {
    const problem = touched ? read().problem : '';
    ui.problem.textContent = problem;
    payload.setAttribute('aria-invalid', problem !== '');
  }

  function read() {
    const text = payload.value.trim();
    if (text === '') return { value: undefined, problem: chosen()?.schema?.required?.length ? `${chosen().schema.required[0]}: required` : '' };
    try {
      const value = JSON.parse(text);
      return { value, problem: wrong(chosen()?.schema ?? { type: 'object', properties: {}, additionalProperties: false }, value) };
    } catch {
      return { value: text, problem: 'This is not JSON: it will be sent as a text.' };
    }
  }

  ui.form.addEventListener('input', () => { touched = true; }, { capture: true });
  event.addEventListener('change', () => { touched = true; begin(); });
  payload.addEventListener('input', check);
  payload.addEventListener('keydown', (e) => {
    if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) ui.form.requestSubmit();
  });
  ui.reset.addEventListener('click', begin);
  ui.form.addEventListener('submit', async (e) => {
    e.preventDefault();
    touched = true;
    try {
      const data = await client.ask(event.value, read().value);
      ui.outcome.className = 'outcome good';
      announce(`${event.value}: ok`);
      ui.outcome.textContent = `ok ${JSON.stringify(data, (k, v) => (k === 'sessionId' ? '…' : v))}`;
    } catch (refusal) {
      ui.outcome.className = 'outcome bad';
      ui.outcome.textContent = `${refusal.code}: ${refusal.details?.field ? `${refusal.details.field} ${refusal.details.reason}` : refusal.message}`;
    }
    ui.outcome.title = ui.outcome.textContent;
  });
  if (client.serves('chat:message')) event.value = 'chat:message';
  begin();
}

function fields(schema) {
  return Object.entries(schema?.properties ?? {}).map(([name, property]) =>
    el('li', {}, el('code', {}, name + (schema.required?.includes(name) ? '' : '?')), ` ${property.enum?.join(' | ') ?? [property.type ?? []].flat().join(' | ')}`, property.description ? el('small', {}, ` ${property.description}`) : null));
}
