// One player's console: a connection and the panels that watch it.
import { Client } from './client.js';
import { avatar, refs, tabs } from './dom.js';
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

// A panel is a function (root, client, {tick, show}) that finds its elements by data-ref and
// listens to the client. tick(f) calls f four times a second while the console lives; show(name)
// brings a panel to the front.
const panels = { chat, connection, fight, inspector, items, limits, ranks, send, trade };

/** mountConsole adds a console to host and connects. onEnd({code, reason}) tells that the session is over. */
export function mountConsole(host, io, { sessionId, transports, contract, onName, onEnd }) {
  host.append(document.getElementById('console').content.cloneNode(true));
  const root = host.lastElementChild;
  const client = new Client(io, { sessionId, transports, contract });
  const ticks = [];
  const timer = setInterval(() => ticks.forEach((f) => f()), 250);
  const { stateText, who, avatar: face, logout, logoutEverywhere } = refs(root.querySelector('.bar'));
  const state = root.querySelector('.state');

  client.on('state', ({ status, reason }) => {
    state.dataset.state = status;
    stateText.textContent = status;
    state.title = reason;
    logout.disabled = logoutEverywhere.disabled = status !== 'connected';
  });
  client.on('session', (session) => {
    who.textContent = session.username;
    who.title = `user ${session.userId}, character ${session.characterId || 'none'}${session.roles?.length ? `, ${session.roles.join(', ')}` : ''}`;
    avatar(session.username, face);
    onName(session.username);
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
  const bring = tabs(root.querySelector('.decks'), (name) => root.querySelector(`[data-panel="${name}"]`));
  const show = (name) => {
    bring(name);
    root.querySelector(`[data-panel="${name}"]`).scrollIntoView({ block: 'nearest' });
  };
  root.querySelector('.jumps').addEventListener('click', ({ target: { dataset } }) => {
    if (!dataset.jump) return;
    bring(dataset.jump);
    root.querySelector(`[data-panel="${dataset.jump}"]`).scrollIntoView({ block: 'start' });
  });
  for (const [name, panel] of Object.entries(panels)) panel(root.querySelector(`[data-panel="${name}"]`), client, { tick: (f) => ticks.push(f), show });
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
