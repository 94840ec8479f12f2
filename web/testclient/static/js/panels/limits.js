// The policies as draining bars: what is left in the window, and how long a refusal lasts.
// The bars are this page's own count of what it sent; a refusal's details correct them.
import { el, meter } from '../dom.js';

// Which policy an event spends. The others (`login`, `connect`, `api`) are spent over HTTP: no bar until one refuses.
const spends = {
  'chat:message': 'chat', 'chat:whisper': 'chat',
  'combat:action': 'combat',
  'trade:execute': 'trade', 'trade:propose': 'trade', 'trade:offer': 'trade', 'trade:accept': 'trade',
};
const isSpentHere = ({ name }) => Object.values(spends).includes(name);
const PIPS_UP_TO = 20;

export function limits(root, client, { tick }) {
  const list = root.querySelector('[data-ref="policies"]');
  const rows = new Map();

  client.on('limits', ({ policies }) => {
    if (policies.some((p) => 'remaining' in p)) { // a warning about some, not the whole list
      for (const { name, remaining } of policies) correct(rows.get(name), remaining);
      draw();
      return;
    }
    const before = new Map(rows);
    rows.clear();
    for (const p of policies.toSorted((a, b) => isSpentHere(b) - isSpentHere(a))) rows.set(p.name, { ...p, spent: before.get(p.name)?.spent ?? [], deniedUntil: 0, ui: build(p) });
    list.replaceChildren(...[...rows.values()].map((r) => r.ui.root));
    draw();
  });
  client.on('asked', ({ event, error, sentAt }) => {
    const row = rows.get(error?.policy ?? spends[event]);
    if (!row || error?.code === 'NO_ANSWER') return;
    if (error?.code === 'RATE_LIMITED') row.deniedUntil = Date.now() + error.retryAfterMs;
    else row.spent.push(sentAt);
    draw();
  });

  // What other devices of the player spent was not counted here: it is made up for, as if spent now.
  function correct(row, remaining) {
    for (let n = row ? row.limit - row.spent.length - remaining : 0; n > 0; n--) row.spent.push(Date.now());
  }

  function draw() {
    const now = Date.now();
    for (const row of rows.values()) {
      row.spent = row.spent.filter((at) => at > now - row.windowMs);
      const wait = row.deniedUntil - now;
      const left = Math.max(0, row.limit - row.spent.length);
      const refused = wait > 0;
      row.ui.root.classList.toggle('refused', refused);
      row.ui.root.dataset.left = left;
      row.ui.left.textContent = refused ? `wait ${(wait / 1000).toFixed(1)} s` : row.ui.here ? `${left} left` : '';
      meter(row.ui.bar, refused ? wait / row.windowMs : left / row.limit);
    }
  }
  tick(draw);
}

function build({ name, limit, windowMs, scope }) {
  const left = el('span', { class: 'left' });
  const bar = el('div', { class: limit <= PIPS_UP_TO ? 'meter pips' : 'meter', 'aria-hidden': 'true' }, el('i'));
  bar.style.setProperty('--n', limit);
  const here = isSpentHere({ name });
  const rule = el('small', {}, ` ${limit} in ${windowMs / 1000} s per ${scope}`);
  return { left, bar, here, root: el('li', { class: here ? 'policy' : 'policy elsewhere', 'data-testid': `limit-${name}` }, el('span', {}, el('b', {}, name), rule), left, bar) };
}
