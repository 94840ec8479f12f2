// Channels and whispers: what is said in them, what was said before, and who is there.
import { addTo, avatar, clock, el, refs, uid } from '../dom.js';
import { people } from './people.js';

const HOME = 'global';
const KEPT = 200;
const PAGE = 30;

export function chat(root, client) {
  const ui = refs(root);
  const channels = new Map(); // name, or @user for whispers → {list: [node], seen: Set(id), unread, members, tab, to?, before?}
  const pending = new Map(); // clientId → node
  const there = people(root, client);
  let current = '';
  let self = '';

  client.on('session', async (session) => {
    self = session.userId;
    const joined = [...channels.keys()].filter((name) => !channels.get(name).to);
    const again = joined.length ? joined : [HOME];
    for (const name of again) await join(name, !current).catch(() => {});
  });
  client.on('state', ({ status }) => {
    for (const control of root.querySelectorAll('form button')) control.disabled = status !== 'connected';
  });

  function channel(name, to) {
    if (!channels.has(name)) channels.set(name, { list: [], seen: new Set(), unread: 0, to, tab: tab(name) });
    return channels.get(name);
  }

  async function join(name, show) {
    const { members } = await client.ask('chat:join', { channel: name });
    const fresh = !channels.has(name);
    channel(name).members = members;
    if (fresh) await earlier(name);
    if (show) select(name);
    else if (name === current) there.look(name);
    draw();
  }

  // earlier puts a page of what was said before on top.
  async function earlier(name) {
    if (!client.serves('chat:history')) return;
    const c = channels.get(name);
    const { messages, next } = await client.ask('chat:history', { channel: name, limit: PAGE, ...(c.before && { before: c.before }) });
    c.before = next;
    const nodes = messages.filter((m) => !c.seen.has(m.id)).map((m) => {
      c.seen.add(m.id);
      return message(m, m.from.userId === self);
    });
    c.list.unshift(...nodes);
    if (name !== current) return;
    const below = ui.messages.scrollHeight - ui.messages.scrollTop;
    ui.messages.prepend(...nodes);
    ui.messages.scrollTop = ui.messages.scrollHeight - below;
    draw();
  }

  async function leave() {
    const name = current;
    if (!channels.get(name).to) await client.ask('chat:leave', { channel: name });
    channels.get(name).tab.remove();
    channels.delete(name);
    select(channels.keys().next().value ?? '');
  }

  function hear(name, m) {
    const c = channels.get(name);
    if (!c || c.seen.has(m.id)) return;
    c.seen.add(m.id);
    const waiting = m.from.userId === self && pending.get(m.clientId);
    if (waiting) {
      pending.delete(m.clientId);
      waiting.classList.remove('pending');
      waiting.dataset.id = m.id;
      return;
    }
    put(name, message(m, m.from.userId === self));
    if (name === current) return;
    c.unread++;
    draw();
  }
  client.on('chat:message', (m) => hear(m.channel, m));
  client.on('chat:whisper', (m) => {
    const other = m.from.userId === self ? m.to ?? '' : m.from.userId; // our own come back from our other devices
    if (!other) return;
    channel(`@${other}`, other);
    hear(`@${other}`, m);
  });
  client.on('chat:deleted', ({ channel: name, id }) => {
    const gone = channels.get(name)?.list.find((node) => node.dataset.id === id);
    gone?.querySelector('p').replaceChildren(el('em', {}, 'taken back by a moderator'));
  });
  client.on('want:whisper', ({ userId }) => {
    channel(`@${userId}`, userId);
    select(`@${userId}`);
    ui.send.elements.text.focus();
  });

  ui.send.addEventListener('submit', async (e) => {
    e.preventDefault();
    const input = ui.send.elements.text;
    const text = input.value.trim();
    if (!text || !current) return;
    input.value = '';
    const clientId = uid();
    const { to } = channels.get(current);
    const node = message({ from: { userId: self, username: self }, text, at: Date.now() }, true);
    node.classList.add('pending');
    put(current, node);
    if (!to) pending.set(clientId, node);
    try {
      const { id, delivered } = await client.ask(to ? 'chat:whisper' : 'chat:message', { ...(to ? { to } : { channel: current }), text, clientId });
      node.dataset.id = id;
      if (to) node.classList.remove('pending');
      if (delivered === false) node.querySelector('header').append(el('span', {}, 'not online'));
    } catch (refusal) {
      pending.delete(clientId);
      node.classList.replace('pending', 'failed');
      node.querySelector('header').textContent = `not sent · ${refusal.code}`;
    }
  });
  ui.join.addEventListener('submit', (e) => {
    e.preventDefault();
    const name = ui.join.elements.channel.value.trim();
    if (!name) return;
    join(name, true).then(() => ui.join.reset(), () => {});
  });
  ui.leave.addEventListener('click', () => leave().catch(() => {}));
  ui.earlier.addEventListener('click', () => earlier(current).catch(() => {}));
  ui.tabs.addEventListener('keydown', (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    const names = [...channels.keys()];
    select(names[(names.indexOf(current) + step + names.length) % names.length]);
    channels.get(current).tab.focus();
  });

  function put(name, node) {
    const { list } = channels.get(name);
    list.push(node);
    if (list.length > KEPT) list.shift();
    if (name === current) addTo(ui.messages, node, KEPT);
  }

  function tab(name) {
    const button = el('button', { type: 'button', role: 'tab', 'data-testid': 'channel-tab', dataset: { channel: name }, on: { click: () => select(name) } });
    ui.tabs.append(button);
    return button;
  }

  function select(name) {
    current = name;
    const c = channels.get(name);
    if (c) c.unread = 0;
    ui.messages.replaceChildren(...(c?.list ?? []));
    ui.messages.scrollTop = ui.messages.scrollHeight;
    if (c && !c.to) client.known.channel = name;
    if (c?.to) client.known.to = c.to;
    there.look(c && !c.to ? name : '');
    draw();
  }

  function draw() {
    for (const [name, { tab: button, unread }] of channels) {
      const chosen = name === current;
      button.setAttribute('aria-selected', chosen);
      button.tabIndex = chosen ? 0 : -1;
      button.replaceChildren(name, ...(unread ? [el('span', { class: 'unread', 'aria-label': `${unread} unread` }, String(unread))] : []));
    }
    const { members, before, to } = channels.get(current) ?? {};
    if (!there.counts) ui.members.textContent = members ? `${members} ${members === 1 ? 'member' : 'members'} when you joined` : '';
    ui.earlier.hidden = !before;
    ui.leave.disabled = !current;
    ui.leave.textContent = to ? 'Close' : 'Leave';
    ui.send.elements.text.placeholder = to ? `Whisper to ${to}` : 'Say something';
  }
}

function message({ id = '', from, text, at }, own) {
  return el('li', { class: own ? 'message own' : 'message', 'data-testid': 'message', dataset: { id } },
    avatar(from.username), el('header', {}, el('b', {}, from.username), el('time', {}, clock(at))), el('p', {}, text));
}
