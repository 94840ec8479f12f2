// The policies as draining bars: what is left in the window, and how long a refusal lasts.
// The bars are this page's own count of what it sent; what the server says of them corrects it.
import { el, meter, setText } from '../dom.js';

const PIPS_UP_TO = 20;
const EACH = 'events'; // every event spends this one, also one that is refused

export function limits(root, client, { tick }) {
  const list = root.querySelector('[data-ref="policies"]');
  const rows = new Map();
  // The others (`login`, `connect`, `api`) are spent over HTTP: no bar until one refuses.
  const spent = new Set([...client.contract.asks.values()].flatMap((ask) => ask.limits)).add(EACH);
  const isSpentHere = ({ name }) => spent.has(name);

  client.on('limits', ({ policies }) => {
    const warned = policies.filter((p) => p.remaining !== undefined); // only of what is nearly spent
    for (const { name, remaining } of warned) correct(rows.get(name), remaining);
    if (warned.length) return draw();
    root.querySelector('[data-ref="note"]').hidden = policies.length > 0;
    const before = new Map(rows);
    rows.clear();
    for (const p of policies.toSorted((a, b) => isSpentHere(b) - isSpentHere(a))) rows.set(p.name, { ...p, spent: before.get(p.name)?.spent ?? [], deniedUntil: 0, ui: build(p, isSpentHere(p)) });
    list.replaceChildren(...[...rows.values()].map((r) => r.ui.root));
    draw();
  });
  client.on('asked', ({ event, error, sentAt }) => {
    if (error?.code === 'NO_ANSWER') return;
    rows.get(EACH)?.spent.push(sentAt);
    if (error?.code === 'RATE_LIMITED') {
      const row = rows.get(error.policy);
      if (row) row.deniedUntil = Date.now() + error.retryAfterMs;
    } else {
      for (const name of client.contract.asks.get(event)?.limits ?? []) rows.get(name)?.spent.push(sentAt);
    }
    draw();
  });

  // The same user may have spent more elsewhere.
  function correct(row, remaining) {
    for (let n = row ? row.limit - remaining - row.spent.length : 0; n > 0; n--) row.spent.push(Date.now());
  }

  function draw() {
    const now = Date.now();
    for (const row of rows.values()) {
      row.spent = row.spent.filter((at) => at > now - row.windowMs);
      const wait = row.deniedUntil - now;
      const left = Math.max(0, row.limit - row.spent.length);
      const refused = wait > 0;
      if (row.ui.root.dataset.left !== String(left)) row.ui.root.dataset.left = left;
      row.ui.root.classList.toggle('refused', refused);
      setText(row.ui.left, refused ? `wait ${(wait / 1000).toFixed(1)} s` : row.ui.here ? `${left} left` : '');
      meter(row.ui.bar, refused ? wait / row.windowMs : left / row.limit);
    }
  }
  tick(draw);
}

function build({ name, limit, windowMs, scope }, here) {
  const left = el('span', { class: 'left' });
  const bar = el('div', { class: limit <= PIPS_UP_TO ? 'meter pips' : 'meter', 'aria-hidden': 'true' }, el('i'));
  bar.style.setProperty('--n', limit);
  const rule = el('small', {}, ` ${limit} in ${windowMs / 1000} s per ${scope}`);
  return { left, bar, here, root: el('li', { class: here ? 'policy' : 'policy elsewhere', 'data-testid': `limit-${name}` }, el('span', {}, el('b', {}, name), rule), left, bar) };
}
