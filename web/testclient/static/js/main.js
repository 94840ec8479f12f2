// The page: a login, and a console for each player who is logged in, side by side.
import { mountConsole } from './console.js';
import { readContract } from './contract.js';
import { avatar, el } from './dom.js';
import { explainEnd } from './explain.js';
import { toast } from './toasts.js';

const KEPT = 'gateway.sessions'; // this tab's session ids, so that a reload comes back
const { dev, bundle, adminUi } = document.documentElement.dataset;
const byId = (id) => document.getElementById(id);
const [login, notice, guest, bySession, consoles, strip, players] = ['login', 'login-notice', 'guest', 'by-session', 'consoles', 'strip', 'players'].map(byId);

byId('admin-ui').hidden = adminUi !== 'on';
if (bundle === 'missing') {
  byId('main').replaceChildren(byId('missing').content.cloneNode(true));
} else {
  const [{ io }, contract] = await Promise.all([import('/vendor/socket.io.esm.min.js'), readContract()]);
  start(io, contract);
}

function start(io, contract) {
  const wanted = new URLSearchParams(location.search).get('transport');
  const transports = ['polling', 'websocket'].includes(wanted) ? [wanted] : undefined;
  const open = new Map(); // session id → {console, chip}

  const keep = () => {
    if (open.size) sessionStorage.setItem(KEPT, JSON.stringify([...open.keys()]));
    else sessionStorage.removeItem(KEPT);
    strip.hidden = open.size === 0;
    document.title = open.size === 1 ? `${[...open.values()][0].name.textContent} · Realtime gateway` : 'Realtime gateway';
  };

  const enter = (sessionId) => {
    if (open.has(sessionId)) return;
    putAway();
    const face = avatar('?');
    const name = el('span', {}, '…');
    const chip = el('button', { class: 'chip', 'data-testid': 'player' }, face, name);
    const console = mountConsole(consoles, io, {
      sessionId,
      transports,
      contract,
      onName(username) {
        avatar(username, face);
        name.textContent = username;
        keep();
      },
      onEnd(end) {
        open.delete(sessionId);
        const hasFocus = console.root.contains(document.activeElement);
        console.remove();
        chip.remove();
        keep();
        const why = end.code === 'LOGGED_OUT' ? '' : explainEnd(end);
        if (open.size === 0) return ask(why);
        if (why) toast(end.code, why, { kind: 'bad' }); // the others play on
        if (hasFocus) byId('add').focus();
      },
    });
    chip.addEventListener('click', () => console.root.scrollIntoView({ inline: 'start', block: 'nearest' }));
    players.append(chip);
    open.set(sessionId, { console, chip, name });
    keep();
    console.root.scrollIntoView({ inline: 'start', block: 'nearest' });
    return console.root;
  };

  // The login of another player lies over the consoles: the focus must not get under it.
  const cover = (on) => { consoles.inert = strip.inert = on; };
  const putAway = () => {
    login.hidden = true;
    cover(false);
  };

  const ask = (why = '') => {
    login.hidden = false;
    cover(open.size > 0);
    notice.textContent = why;
    byId('cancel').hidden = open.size === 0;
    login.classList.toggle('over', open.size > 0);
    guest.hidden = dev !== 'true';
    if (guest.hidden) bySession.open = true;
    (guest.hidden ? bySession.querySelector('input') : guest.elements.username).focus();
  };

  const cancel = () => {
    if (open.size === 0 || login.hidden) return;
    putAway();
    byId('add').focus();
  };
  byId('add').addEventListener('click', () => ask());
  byId('cancel').addEventListener('click', cancel);
  document.addEventListener('keydown', (e) => { if (e.key === 'Escape') cancel(); });

  guest.addEventListener('submit', async (e) => {
    e.preventDefault();
    const button = guest.querySelector('button');
    notice.textContent = '';
    button.disabled = true;
    try {
      enter(await logIn(guest.elements.username.value.trim()))?.focus({ preventScroll: true });
      guest.reset();
    } catch (error) {
      notice.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
  byId('token').addEventListener('submit', (e) => {
    e.preventDefault();
    notice.textContent = '';
    enter(e.target.elements.sessionId.value)?.focus({ preventScroll: true });
    e.target.reset();
  });

  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? '[]');
  if (kept.length) kept.forEach(enter);
  else ask();
}

async function logIn(username) {
  let answer;
  try {
    answer = await fetch('/auth/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ username }) });
  } catch {
    throw new Error('The server does not answer.');
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body.sessionId;
  const wait = body.retryAfterMs ? ` Try again in ${Math.ceil(body.retryAfterMs / 1000)} s.` : '';
  const why = body.field ? ` ${body.field}: ${body.reason}.` : '';
  throw new Error(`${body.title ?? `HTTP ${answer.status}`}${why}${wait} (${body.code ?? answer.status})`);
}
