// The page: a login, and a console for each player who is logged in.
import { mountConsole } from './console.js';

const KEPT = 'gateway.session'; // this tab's session id, so that a reload comes back
const { dev, bundle } = document.documentElement.dataset;
const login = document.getElementById('login');
const notice = document.getElementById('login-notice');
const guest = document.getElementById('guest');
const bySession = document.getElementById('by-session');
const consoles = document.getElementById('consoles');

if (bundle === 'missing') {
  document.getElementById('main').replaceChildren(document.getElementById('missing').content.cloneNode(true));
} else {
  const { io } = await import('/vendor/socket.io.esm.min.js');
  start(io);
}

function start(io) {
  const wanted = new URLSearchParams(location.search).get('transport');
  const transports = ['polling', 'websocket'].includes(wanted) ? [wanted] : undefined;

  const open = (sessionId) => {
    sessionStorage.setItem(KEPT, sessionId);
    login.hidden = true;
    const console = mountConsole(consoles, io, {
      sessionId,
      transports,
      onEnd({ code, reason }) {
        sessionStorage.removeItem(KEPT);
        console.remove();
        ask(code === 'LOGGED_OUT' ? '' : `${reason || 'The session ended.'} (${code})`);
      },
    });
  };

  const ask = (why = '') => {
    login.hidden = false;
    notice.textContent = why;
    guest.hidden = dev !== 'true';
    if (guest.hidden) bySession.open = true;
    (guest.hidden ? bySession.querySelector('input') : guest.elements.username).focus();
  };

  guest.addEventListener('submit', async (e) => {
    e.preventDefault();
    const button = guest.querySelector('button');
    notice.textContent = '';
    button.disabled = true;
    try {
      open(await logIn(guest.elements.username.value.trim()));
    } catch (error) {
      notice.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
  document.getElementById('token').addEventListener('submit', (e) => {
    e.preventDefault();
    notice.textContent = '';
    open(e.target.elements.sessionId.value);
    e.target.reset();
  });

  const kept = sessionStorage.getItem(KEPT);
  if (kept) open(kept);
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
