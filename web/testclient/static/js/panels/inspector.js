// Every event in and out, newest first. Records are kept apart from rows: a row exists while it is in sight.
//
// The list follows what comes, until the reader scrolls, chooses a row or pauses. Then it stands still, and what comes is counted.
import { clock, el, refs, setText, uid } from '../dom.js';
import { drawLater } from '../frames.js';
import { virtualRows } from '../rows.js';

const KEPT = 1000; // records; older ones go
const SLACK = 200; // they go by so many at once
const SECRETS = new Set(['sessionId', 'token']);
const TOUCH_ROW = 44;
const ROW = 26;

export function inspector(root, client) {
  const ui = refs(root);
  const name = `event-${uid()}`; // rows need ids of their own on the page
  const touched = matchMedia('(pointer: coarse), (max-width: 719px)');
  let kept = []; // records, oldest first
  let listed = []; // those of them that the filter lets through
  let held = null; // what is shown instead while the list stands still
  let chosen = null; // a record
  let passed = 0; // how many were listed, ever
  let drawnUpTo = 0; // how many of them there were at the last draw
  let undrawn = 0; // how many came and went between two draws

  const rows = virtualRows(ui.rows, { rowHeight: () => (touched.matches ? TOUCH_ROW : ROW), keyOf: (record) => record.id, build, refresh });
  const shown = () => held ?? listed;
  const draw = drawLater(() => {
    const list = shown();
    if (!held) {
      const fresh = passed - drawnUpTo;
      undrawn += Math.max(0, fresh - rows.draw(list.length, (i) => list[list.length - 1 - i]));
      drawnUpTo = passed;
    } else {
      rows.draw(list.length, (i) => list[list.length - 1 - i]);
    }
    const row = chosen && document.getElementById(`${name}-${chosen.id}`);
    if (row) {
      ui.rows.setAttribute('aria-activedescendant', row.id);
      row.ariaSetSize = list.length; // few of them have rows
      row.ariaPosInSet = list.length - list.indexOf(chosen);
    } else {
      ui.rows.removeAttribute('aria-activedescendant');
    }
    count();
    detail();
  });

  function count() {
    const words = ui.filter.value.trim() ? `${listed.length} match` : `${passed.toLocaleString()} ${passed === 1 ? 'event' : 'events'}`;
    setText(ui.count, undrawn ? `${words}, ${undrawn.toLocaleString()} not drawn` : words);
    const fresh = passed - drawnUpTo;
    ui.follow.hidden = !held;
    setText(ui.follow, fresh ? `${fresh.toLocaleString()} new` : 'Follow');
    ui.empty.hidden = shown().length > 0;
    setText(ui.empty, kept.length ? 'No event matches the filter.' : 'Every event in and out is listed here.');
  }

  client.on('record', (record) => {
    record.changes = (record.changes ?? 0) + 1;
    if (record.changes === 1) {
      kept.push(record);
      if (kept.length >= KEPT + SLACK) kept = kept.slice(-KEPT);
    }
    if (matches(record)) list(record);
    draw();
  });

  // An answer may let a record through that stood behind newer ones.
  function list(record) {
    let i = listed.length;
    while (i > 0 && listed[i - 1].id > record.id) i--;
    if (listed[i - 1] === record || record.id < kept[0].id) return;
    listed.splice(i, 0, record);
    passed++;
    if (listed.length >= KEPT + SLACK) listed = listed.slice(-KEPT);
  }

  // Each word of the filter is in the event's name, or is how it was answered.
  let words = [];
  const matches = ({ event, ok, code }) => words.every((word) => event.includes(word) || (ok ? 'ok' : code ?? '').startsWith(word));
  ui.filter.addEventListener('input', () => {
    words = ui.filter.value.trim().split(/\s+/).filter(Boolean);
    held = null;
    listed = kept.filter(matches);
    passed = drawnUpTo = words.length ? listed.length : kept.at(-1)?.id ?? 0;
    choose(null);
    rows.toTop();
  });

  function hold() {
    held ??= [...listed];
    draw();
  }

  function follow() {
    held = null;
    ui.pause.checked = false;
    choose(null);
    rows.toTop();
  }

  function choose(record) {
    chosen = record;
    if (record) hold();
    draw();
  }

  ui.rows.addEventListener('scroll', () => {
    if (!rows.isAtTop) hold();
    else if (held && !chosen && !ui.pause.checked) follow();
    draw();
  });
  ui.pause.addEventListener('change', () => (ui.pause.checked ? hold() : follow()));
  ui.follow.addEventListener('click', () => {
    follow();
    ui.rows.focus();
  });
  ui.clear.addEventListener('click', () => {
    kept = [];
    listed = [];
    passed = drawnUpTo = undrawn = 0;
    follow();
  });
  ui.rows.addEventListener('click', (e) => {
    const id = e.target.closest('[role="option"]')?.key;
    if (id !== undefined) choose(shown().find((record) => record.id === id) ?? null);
  });
  ui.rows.addEventListener('keydown', (e) => {
    const list = shown();
    const at = chosen ? list.length - 1 - list.indexOf(chosen) : -1;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + rows.rowsInSight, PageUp: at - rows.rowsInSight, Home: 0, End: list.length - 1 }[e.key];
    if (e.key === 'Escape') follow();
    else if (e.key === 'Enter' && chosen) ui.detail.focus();
    else if (to === undefined || list.length === 0) return;
    else {
      const i = Math.max(0, Math.min(list.length - 1, to));
      choose(list[list.length - 1 - i]);
      rows.reveal(i);
    }
    e.preventDefault();
  });
  ui.detail.addEventListener('keydown', (e) => { if (e.key === 'Escape') close(); });
  ui.close.addEventListener('click', close);
  function close() {
    follow();
    ui.rows.focus();
  }

  function detail() {
    ui.detailBox.hidden = !chosen;
    if (chosen && ui.detail.written !== `${chosen.id} ${chosen.changes}`) {
      ui.detail.written = `${chosen.id} ${chosen.changes}`;
      ui.detailName.textContent = chosen.event;
      ui.detail.textContent = whole(chosen);
    }
  }

  function build(record) {
    const row = el('div', { class: 'event', role: 'option', id: `${name}-${record.id}`, 'data-testid': 'event', dataset: { dir: record.dir, event: record.event } },
      el('time', {}, clock(record.at)), el('span', { class: 'arrow' }, record.dir === 'in' ? '↓' : '↑'), el('span', { class: 'name' }, record.event), el('span', { class: 'body' }, text(record.payload)), el('span', { class: 'result' }), el('span', { class: 'ms' }));
    refresh(row, record);
    return row;
  }

  function refresh(row, record) {
    if (row.ariaSelected !== String(record === chosen)) row.ariaSelected = record === chosen;
    if (row.changes === record.changes) return;
    row.changes = record.changes;
    const [result, ms] = [...row.children].slice(-2);
    if (record.ok !== undefined) {
      row.dataset.result = result.textContent = record.ok ? 'ok' : record.code ?? 'refused';
      result.className = record.ok ? 'result ok' : 'result no';
    }
    if (record.ms !== undefined) ms.textContent = `${record.ms.toFixed(1)} ms`;
  }
  count();
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
