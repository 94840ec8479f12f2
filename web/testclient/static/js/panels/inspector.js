// Every event in and out, newest first, with its time and how long its answer took.
import { clock, el, refs } from '../dom.js';

const MOST = 300;
const SECRETS = new Set(['sessionId', 'token']);

export function inspector(root, client) {
  const ui = refs(root);
  const shown = new Map(); // record id → row

  client.on('record', (record) => {
    const row = shown.get(record.id);
    if (row) return row.update(record);
    if (ui.pause.checked) return;
    const fresh = build(record);
    fresh.root.hidden = !matches(record.event);
    shown.set(record.id, fresh);
    ui.rows.prepend(fresh.root);
    if (shown.size > MOST) {
      const [oldest, { root: last }] = shown.entries().next().value;
      shown.delete(oldest);
      last.remove();
    }
  });

  const matches = (event) => event.includes(ui.filter.value.trim());
  ui.filter.addEventListener('input', () => {
    for (const row of shown.values()) row.root.hidden = !matches(row.root.dataset.event);
  });
  ui.clear.addEventListener('click', () => {
    shown.clear();
    ui.rows.replaceChildren();
  });
}

function build(record) {
  const result = el('span', { class: 'result' });
  const ms = el('span', { class: 'ms' });
  const root = el('details', { class: 'event', 'data-testid': 'event', dataset: { dir: record.dir, event: record.event } },
    el('summary', {},
      el('time', {}, `${clock(record.at)}`),
      el('span', { class: 'arrow', 'aria-label': record.dir }, record.dir === 'in' ? '↓' : '↑'),
      el('span', { class: 'name' }, record.event),
      el('span', { class: 'body' }, text(record.payload)),
      result, ms));
  let latest = record;
  root.addEventListener('toggle', () => {
    root.querySelector('pre')?.remove();
    if (root.open) root.append(el('pre', {}, whole(latest)));
  });
  const row = {
    root,
    update(now) {
      latest = now;
      if (now.ok !== undefined) {
        result.textContent = now.ok ? 'ok' : now.code ?? 'refused';
        result.classList.add(now.ok ? 'ok' : 'no');
        root.dataset.result = result.textContent;
      }
      if (now.ms !== undefined) ms.textContent = `${now.ms.toFixed(1)} ms`;
      if (root.open) root.querySelector('pre').textContent = whole(now);
    },
  };
  row.update(record);
  return row;
}

// What opens a session is not shown: this page is also looked at over shoulders.
const veil = (key, value) => (SECRETS.has(key) && typeof value === 'string' ? `${value.slice(0, 4)}…` : value);
const text = (payload) => (payload === undefined ? '' : JSON.stringify(payload, veil).slice(0, 300));

function whole({ payload, answer }) {
  const parts = [];
  if (payload !== undefined) parts.push(JSON.stringify(payload, veil, 2));
  if (answer !== undefined) parts.push(`answer ${JSON.stringify(answer, veil, 2)}`);
  return parts.join('\n\n') || 'no payload';
}
