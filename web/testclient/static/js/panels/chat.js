// Channels and what is said in them.
import { addTo, avatar, clock, el, refs, uid } from '../dom.js';

const HOME = 'global';
const KEPT = 200;

export function chat(root, client) {
  const ui = refs(root);
  const channels = new Map(); // name → {list: [node], unread, members, tab}
  const pending = new Map(); // clientId → node
  let current = '';
  let self = '';

  client.on('session', async (session) => {
    self = session.userId;
    const again = channels.size ? [...channels.keys()] : [HOME];
    for (const name of again) await join(name, again.length === 1).catch(() => {});
  });
  client.on('state', ({ status }) => {
    for (const control of root.querySelectorAll('form button')) control.disabled = status !== 'connected';
  });

  async function join(name, show) {
    const { members } = await client.ask('chat:join', { channel: name });
    if (!channels.has(name)) channels.set(name, { list: [], unread: 0, members, tab: tab(name) });
    channels.get(name).members = members;
    if (show) select(name);
    draw();
  }

  async function leave() {
    const name = current;
    await client.ask('chat:leave', { channel: name });
    channels.get(name).tab.remove();
    channels.delete(name);
    select(channels.keys().next().value ?? '');
  }

  client.on('chat:message', (m) => {
    const channel = channels.get(m.channel);
    if (!channel) return;
    const waiting = m.from.userId === self && pending.get(m.clientId);
    if (waiting) {
      pending.delete(m.clientId);
      waiting.classList.remove('pending');
      return;
    }
    put(m.channel, message(m, m.from.userId === self));
    if (m.channel !== current) {
      channel.unread++;
      draw();
    }
  });

  ui.send.addEventListener('submit', async (e) => {
    e.preventDefault();
    const input = ui.send.elements.text;
    const text = input.value.trim();
    if (!text || !current) return;
    input.value = '';
    const clientId = uid();
    const node = message({ from: { userId: self, username: self }, text, at: Date.now() }, true);
    node.classList.add('pending');
    pending.set(clientId, node);
    put(current, node);
    try {
      await client.ask('chat:message', { channel: current, text, clientId });
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
    const channel = channels.get(name);
    if (channel) channel.unread = 0;
    ui.messages.replaceChildren(...(channel?.list ?? []));
    ui.messages.scrollTop = ui.messages.scrollHeight;
    draw();
  }

  function draw() {
    for (const [name, { tab: button, unread }] of channels) {
      const chosen = name === current;
      button.setAttribute('aria-selected', chosen);
      button.tabIndex = chosen ? 0 : -1;
      button.replaceChildren(name, ...(unread ? [el('span', { class: 'unread', 'aria-label': `${unread} unread` }, String(unread))] : []));
    }
    const members = channels.get(current)?.members;
    ui.members.textContent = members ? `${members} ${members === 1 ? 'member' : 'members'} when you joined` : '';
    ui.leave.disabled = !current;
  }
}

function message({ from, text, at }, own) {
  return el('li', { class: own ? 'message own' : 'message', 'data-testid': 'message' },
    avatar(from.username), el('header', {}, el('b', {}, from.username), el('time', {}, clock(at))), el('p', {}, text));
}
