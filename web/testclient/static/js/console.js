// One player's console: a connection and the panels that watch it.
import { Client } from './client.js';
import { announce } from './announce.js';
import { avatar, disable, hide, refs, setText, tabs } from './dom.js';
import { toast } from './toasts.js';
import { chat } from './panels/chat.js';
import { connection } from './panels/connection.js';
import { fight } from './panels/fight.js';
import { inspector } from './panels/inspector.js';
import { items } from './panels/items.js';
import { limits } from './panels/limits.js';
import { ranks } from './panels/ranks.js';
import { send } from './panels/send.js';
import { trade } from './panels/trade.js';

// A panel is a function (root, client, {tick, show, suggest}) that finds its elements by data-ref and
// listens to the client. tick(f) calls f four times a second while the console lives. show(name)
// brings a panel to the front, because the reader wants it. suggest(name, words) is for what other
// players begin: it takes nothing away from the reader, and says the words.
const panels = { chat, connection, fight, inspector, items, limits, ranks, send, trade };

const NEWS_MS = 8000;

/** mountConsole adds a console to host and connects. onEnd({code, reason, until}) tells that the session is over. */
export function mountConsole(host, io, { sessionId, transports, contract, onName, onEnd }) {
  host.append(document.getElementById('console').content.cloneNode(true));
  const root = host.lastElementChild;
  const client = new Client(io, { sessionId, transports, contract });
  const ticks = [];
  const timer = setInterval(() => ticks.forEach((f) => f()), 250);
  const { stateText, who, avatar: face, logout, logoutEverywhere } = refs(root.querySelector('.bar'));
  const banner = { root: root.querySelector('.banner'), ...refs(root.querySelector('.banner')) };
  const state = root.querySelector('.state');
  let name = 'The player';
  let hideAt = 0; // when the banner has been read

  client.on('state', ({ status, reason }) => {
    if (state.dataset.state !== status && (status !== 'connecting' || reason)) announce(`${name}: ${status}. ${reason}`);
    state.dataset.state = status;
    stateText.textContent = status;
    for (const button of [logout, logoutEverywhere]) disable(button, status !== 'connected');
    drawBanner();
  });
  client.on('recovered', ({ late, awayMs }) => {
    const words = `Back after ${(awayMs / 1000).toFixed(1)} s, and nothing is missing: ${late === 0 ? 'no event' : late === 1 ? '1 event' : `${late.toLocaleString()} events`} came late.`;
    say('recovered', words);
  });
  client.on('welcome', ({ recovered }) => {
    if (!recovered && root.dataset.wasHere) say('anew', 'Back, as a new connection. What was said meanwhile is read again; other events may be missing.');
    root.dataset.wasHere = true;
  });

  // The banner says what is wrong for as long as it is, and good news for eight seconds.
  function say(kind, words) {
    banner.root.dataset.kind = kind;
    setText(banner.text, words);
    hideAt = Date.now() + NEWS_MS;
    announce(`${name}: ${words}`);
    drawBanner();
  }
  function drawBanner() {
    const { status, reason, retryAt } = client.state;
    const isAway = status === 'reconnecting' || status === 'offline';
    if (isAway) {
      const left = Math.ceil((retryAt - Date.now()) / 1000);
      banner.root.dataset.kind = status;
      setText(banner.text, status === 'offline' ? `${reason} Nothing is received until you connect.` : `${reason} ${left > 0 ? `Trying again in ${left} s.` : 'Trying again …'}`);
      setText(banner.now, status === 'offline' ? 'Connect' : 'Try now');
      hideAt = 0;
    }
    hide(banner.now, !isAway, () => state);
    hide(banner.root, !isAway && Date.now() > hideAt, () => state);
  }
  ticks.push(drawBanner);
  banner.now.addEventListener('click', () => {
    client.reconnect();
    state.focus();
  });

  client.on('session', (session) => {
    who.textContent = session.username;
    who.title = `user ${session.userId}, character ${session.characterId || 'none'}${session.roles?.length ? `, ${session.roles.join(', ')}` : ''}`;
    avatar(session.username, face);
    name = session.username;
    for (const panel of root.querySelectorAll('[data-panel]')) panel.setAttribute('aria-label', `${panel.dataset.label ??= panel.getAttribute('aria-label')} of ${name}`);
    root.setAttribute('aria-label', `Console of ${name}`);
    root.querySelector('.jumps').setAttribute('aria-label', `Panels of ${name}`);
    onName(name);
  });
  client.on('asked', ({ event, ok, error }) => {
    if (!ok) toast(error.code, `${error.message}${error.field ? ` ${error.field}: ${error.reason}.` : ''}`, { kind: error.code === 'RATE_LIMITED' ? 'warn' : 'bad', waitMs: error.retryAfterMs });
  });
  client.on('error', (error) => toast(error.code, error.message, { kind: 'bad' }));
  client.on('session:expiring', ({ expiresInMs }) => toast('session:expiring', 'Do something, or the session ends.', { kind: 'warn', waitMs: expiresInMs }));
  client.on('gateway:closing', ({ code, reconnectInMs }) => toast(code, 'The server closes this connection.', { kind: 'warn', waitMs: reconnectInMs }));
  client.on('gateway:status', (features) => {
    const ill = Object.entries(features ?? {}).filter(([, how]) => how !== 'ok');
    if (ill.length) toast('gateway:status', ill.map(([name, how]) => `${name}: ${how}`).join(', '), { kind: 'warn' });
    else toast('gateway:status', 'Everything works again.');
  });
  client.on('ended', onEnd);

  logout.addEventListener('click', () => client.ask('session:logout').catch(() => {}));
  logoutEverywhere.addEventListener('click', () => client.ask('session:logout', { everywhere: true }).catch(() => {}));
  const panelOf = (name) => root.querySelector(`[data-panel="${name}"]`);
  const decks = tabs(root.querySelector('.decks'), panelOf);
  const show = (name) => {
    decks.show(name);
    panelOf(name).scrollIntoView({ block: 'nearest' });
  };
  const suggest = (name, words) => {
    decks.suggest(name);
    if (isInSight(panelOf(name))) announce(words);
    else toast(name, words);
  };
  root.querySelector('.jumps').addEventListener('click', ({ target: { dataset } }) => {
    if (!dataset.jump) return;
    decks.show(dataset.jump);
    panelOf(dataset.jump).scrollIntoView({ block: 'start' });
  });
  for (const [name, panel] of Object.entries(panels)) panel(panelOf(name), client, { tick: (f) => ticks.push(f), show, suggest });
  client.open();

  return {
    root,
    remove() {
      clearInterval(timer);
      client.close();
      root.remove();
    },
  };
}

const SEEN_PX = 80; // so much of a panel is enough to notice what is new at its top

function isInSight(panel) {
  const { top, left, right } = panel.getBoundingClientRect();
  return panel.checkVisibility() && top >= 0 && top < innerHeight - SEEN_PX && left < innerWidth && right > 0;
}
