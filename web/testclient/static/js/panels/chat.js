// Channels and whispers: what is said in them, what was said before, and who is there.
//
// Messages are records, kept apart from the nodes that show them. Nodes exist for the newest few, and for those up to which the reader has scrolled.
import { announceOneOfMany } from '../announce.js';
import { avatar, clock, disable, el, hide, keyed, refs, setText, uid } from '../dom.js';
import { drawLater } from '../frames.js';
import { toast } from '../toasts.js';
import { people } from './people.js';

const HOME = 'global';
const KEPT = 500; // messages of a channel
const SLACK = 100; // they go by so many at once
const MORE = 40; // messages that are drawn besides, when the reader scrolls up
const LOWEST_PX = 56; // a message of one line
const PAGE = 30;
const MOST_WHISPERS = 30; // conversations
const AT_END_PX = 40;

export function chat(root, client) {
  const ui = refs(root);
  const channels = new Map(); // name, or @user for whispers → a channel, see channel()
  const pending = new Map(); // clientId → the message that I have sent
  const there = people(root, client);
  const { text } = ui.send.elements;
  let current = '';
  let self = '';
  let isAtEnd = true;
  let inSight = 10; // messages that fill the panel
  new ResizeObserver(([{ contentRect }]) => {
    inSight = Math.ceil(contentRect.height / LOWEST_PX) + 3;
    draw();
  }).observe(ui.scroller);

  client.on('welcome', async ({ session, recovered }) => {
    self = session.userId;
    if (recovered) return there.look(channels.get(current)?.to ? '' : current); // all else is as it was
    const joined = [...channels.keys()].filter((name) => !channels.get(name).to);
    for (const name of joined.length ? joined : [HOME]) await join(name, !current).catch(() => {});
  });
  client.on('state', ({ status }) => {
    for (const control of root.querySelectorAll('form button')) disable(control, status !== 'connected');
  });

  // A message is {key, id, from, text, at, state, note, changes}; state: '' | 'pending' | 'failed' | 'deleted'.
  function channel(name, to) {
    if (!channels.has(name)) {
      if (to) closeOldWhisper();
      channels.set(name, { to, messages: [], ids: new Set(), unread: 0, total: 0, drawnUpTo: 0, undrawn: 0, more: 0, last: null, held: null, state: '', tab: tab(name) });
    }
    return channels.get(name);
  }

  function closeOldWhisper() {
    const whispers = [...channels].filter(([, { to }]) => to);
    if (whispers.length < MOST_WHISPERS) return;
    const [name] = whispers.find(([other]) => other !== current);
    forget(name);
    toast('WHISPERS', `More than ${MOST_WHISPERS} conversations: the one with ${name} was closed.`);
  }

  async function join(name, show) {
    const { members } = await client.ask('chat:join', { channel: name });
    const c = channel(name);
    c.members = members;
    if (show) select(name);
    else if (name === current) there.look(name);
    await read(name);
  }

  // read gets a page of what was said, the newest or the one before the first message here.
  async function read(name, before) {
    const c = channels.get(name);
    if (!c || !client.serves('chat:history')) return;
    c.state = 'reading';
    draw();
    try {
      const { messages, next } = await client.ask('chat:history', { channel: name, limit: PAGE, ...(before && { before }) });
      if (before || !c.messages.length) c.before = next;
      c.state = '';
      add(c, messages.filter((m) => !c.ids.has(m.id)), Boolean(before));
    } catch (refusal) {
      c.state = `What was said before could not be read (${refusal.code}).`;
    }
    draw();
  }

  // add puts messages where their time is: those of the history may be older than those that are here.
  function add(c, messages, isEarlier) {
    if (!messages.length) return;
    const fresh = messages.map(({ id, key = id, from, text, at, state = '' }) => ({ id, key, from, text, at, state, changes: 0 }));
    for (const { id } of fresh) if (id) c.ids.add(id);
    if (isEarlier) c.more += fresh.length;
    else {
      c.total += fresh.length;
      if (c !== channels.get(current)) c.drawnUpTo = c.total;
    }
    const isNewer = fresh[0].at >= (c.messages.at(-1)?.at ?? 0);
    if (isNewer) c.messages.push(...fresh);
    else c.messages = [...c.messages, ...fresh].sort((a, b) => a.at - b.at);
    if (isEarlier && c.held) c.held = [...fresh, ...c.held];
    if (c.messages.length < KEPT + SLACK || isEarlier) return;
    for (const { id } of c.messages.splice(0, c.messages.length - KEPT)) c.ids.delete(id);
    c.before = c.messages[0].at; // the history has what went
  }

  function forget(name) {
    const { tab: button } = channels.get(name);
    const hasFocus = button === document.activeElement;
    button.remove();
    channels.delete(name);
    if (name === current) select(channels.keys().next().value ?? '');
    if (hasFocus) (channels.get(current)?.tab ?? ui.scroller).focus();
  }

  async function leave() {
    const name = current;
    if (!channels.get(name).to) await client.ask('chat:leave', { channel: name });
    forget(name);
  }

  function hear(name, m) {
    const c = channels.get(name);
    if (!c || c.ids.has(m.id)) return;
    const mine = m.from.userId === self && pending.get(m.clientId);
    if (mine) {
      pending.delete(m.clientId);
      c.ids.add(m.id);
      change(mine, { id: m.id, state: '' });
      return;
    }
    add(c, [m]);
    if (m.from.userId !== self) announceOneOfMany(`${m.from.username}${c.to ? ' whispers' : ''}: ${m.text}`);
    if (name !== current) c.unread++;
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
    const gone = channels.get(name)?.messages.find((m) => m.id === id);
    if (gone) change(gone, { state: 'deleted' });
  });
  client.on('chat:left', ({ channel: name, code }) => {
    if (!channels.has(name)) return;
    forget(name);
    toast(code, `You are not in ${name} any more.`, { kind: 'warn' });
  });
  client.on('want:whisper', ({ userId }) => {
    channel(`@${userId}`, userId);
    select(`@${userId}`);
    text.focus();
  });

  function change(m, what) {
    Object.assign(m, what);
    m.changes++;
    draw();
  }

  ui.send.addEventListener('submit', async (e) => {
    e.preventDefault();
    const said = text.value.trim();
    if (!said || !current) return;
    text.value = '';
    const clientId = uid();
    const c = channels.get(current);
    const { to } = c;
    add(c, [{ key: clientId, id: '', from: { userId: self, username: self }, text: said, at: Date.now(), state: 'pending' }]);
    const mine = c.messages.findLast((m) => m.key === clientId);
    if (!to) pending.set(clientId, mine);
    toEnd();
    try {
      const { id, delivered } = await client.ask(to ? 'chat:whisper' : 'chat:message', { ...(to ? { to } : { channel: current }), text: said, clientId });
      c.ids.add(id);
      change(mine, { id, state: '', note: delivered === false ? 'not online' : '' });
    } catch (refusal) {
      change(mine, { state: 'failed', note: `not sent · ${refusal.code}` });
    }
    pending.delete(clientId);
  });
  ui.join.addEventListener('submit', (e) => {
    e.preventDefault();
    const name = ui.join.elements.channel.value.trim();
    if (!name) return;
    join(name, true).then(() => ui.join.reset(), () => {});
  });
  ui.leave.addEventListener('click', () => leave().catch(() => {}));
  ui.earlier.addEventListener('click', () => {
    const { messages, before } = channels.get(current);
    read(current, before ?? messages[0]?.at);
  });
  ui.again.addEventListener('click', () => read(current));
  ui.newer.addEventListener('click', () => {
    ui.scroller.focus();
    toEnd();
  });
  ui.tabs.addEventListener('keydown', (e) => {
    const names = [...channels.keys()];
    const at = names.indexOf(current);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + names.length, Home: 0, End: names.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    select(names[to % names.length]);
    channels.get(current).tab.focus();
  });

  // The scroller counts from its end: 0 is the end, and what is above is negative.
  ui.scroller.addEventListener('scroll', () => {
    const c = channels.get(current);
    if (!c) return;
    const { scrollTop, scrollHeight, clientHeight } = ui.scroller;
    const wasAtEnd = isAtEnd;
    isAtEnd = scrollTop > -AT_END_PX;
    if (isAtEnd !== wasAtEnd) {
      c.held = isAtEnd ? null : c.messages.slice(0, c.messages.lastIndexOf(c.last) + 1);
      if (isAtEnd) c.more = 0;
      draw();
    }
    if (!isAtEnd && scrollHeight + scrollTop - clientHeight < clientHeight && inSight + c.more < c.held.length) {
      c.more += MORE;
      draw();
    }
  });

  function toEnd() {
    ui.scroller.scrollTop = 0;
    isAtEnd = true;
    const c = channels.get(current);
    if (c) Object.assign(c, { more: 0, held: null });
    draw();
  }

  function tab(name) {
    const button = el('button', { type: 'button', role: 'tab', 'data-testid': 'channel-tab', dataset: { channel: name }, 'aria-controls': ui.room.id, on: { click: () => select(name) } }, name);
    ui.tabs.append(button);
    return button;
  }

  function select(name) {
    current = name;
    const c = channels.get(name);
    if (c) {
      c.unread = 0;
      if (!c.to) client.known.channel = name;
      if (c.to) client.known.to = c.to;
    }
    ui.messages.replaceChildren();
    there.look(c && !c.to ? name : '');
    toEnd();
    drawNow();
  }

  // What is new is drawn while the reader is at the end. Elsewhere it is counted, and nothing moves.
  function drawMessages(c) {
    const list = c.held ?? c.messages;
    if (!c.held) {
      c.undrawn += Math.max(0, c.total - c.drawnUpTo - inSight);
      c.drawnUpTo = c.total;
      c.last = list.at(-1);
    }
    keyed(ui.messages, list.slice(-inSight - c.more), (m) => m.key, (m) => build(m, m.from.userId === self), refresh);
    const refuge = () => ui.scroller;
    hide(ui.newer, !c.held || c.total === c.drawnUpTo, refuge);
    setText(ui.newer, `${c.total - c.drawnUpTo} new`);
    setText(ui.undrawn, c.undrawn ? `${c.undrawn.toLocaleString()} not drawn` : '');
    hide(ui.earlier, !(c.before && list.length <= inSight + c.more), refuge);
    hide(ui.note, c.state === '', refuge);
    setText(ui.reading, c.state === 'reading' ? 'Reading what was said …' : c.state);
    hide(ui.again, c.state === 'reading', refuge);
    setText(ui.nothing, c.state === '' && c.messages.length === 0 ? 'Nobody has said anything yet.' : '');
  }

  function drawNow() {
    for (const [name, { tab: button, unread }] of channels) {
      const chosen = name === current;
      if (button.ariaSelected !== String(chosen)) button.ariaSelected = chosen;
      if (button.tabIndex !== (chosen ? 0 : -1)) button.tabIndex = chosen ? 0 : -1;
      const counted = unread > 99 ? '99+' : String(unread);
      if ((button.querySelector('.unread')?.textContent ?? '0') === counted) continue;
      button.replaceChildren(name, ...(unread ? [el('span', { class: 'unread' }, counted), el('span', { class: 'sr' }, ' unread')] : []));
    }
    const c = channels.get(current);
    if (!there.counts) there.say(c?.members ? `${c.members} ${c.members === 1 ? 'member' : 'members'} when you joined` : '');
    disable(ui.leave, !current);
    setText(ui.leave, c?.to ? 'Close' : 'Leave');
    const hint = c?.to ? `Whisper to ${c.to}` : 'Say something';
    if (text.placeholder !== hint) text.placeholder = hint;
    if (c) drawMessages(c);
  }
  const draw = drawLater(drawNow);
  ui.room.id = `room-${uid()}`;
}

function build(m, own) {
  const node = el('li', { class: own ? 'message own' : 'message', 'data-testid': 'message', dataset: { id: m.id } },
    avatar(m.from.username), el('header', {}, el('b', {}, m.from.username), el('time', {}, clock(m.at)), el('span')), el('p', {}, m.text));
  node.changes = 0;
  refresh(node, m);
  return node;
}

function refresh(node, m) {
  if (node.changes === m.changes && m.state === '') return;
  node.changes = m.changes;
  node.dataset.id = m.id;
  node.classList.toggle('pending', m.state === 'pending');
  node.classList.toggle('failed', m.state === 'failed');
  node.querySelector('header span').textContent = m.note ?? '';
  if (m.state === 'deleted') node.querySelector('p').replaceChildren(el('em', {}, 'taken back by a moderator'));
}
