// Who is in the channel that is shown, what one can want of them, and whom one ignores.
import { avatar, el, hide, keyed, refs, setText } from '../dom.js';
import { drawLater } from '../frames.js';

const BOTH_FIT_PX = 440;
const SHOWN = 50;
const KEPT = 200; // the others are only counted
const READING = 'Reading who is here …';

/** people fills the list beside the messages. look(channel) shows another; '' shows nobody. say(text) is for servers that cannot list. */
export function people(root, client) {
  const ui = refs(root);
  const there = new Map(); // userId → user
  const ignored = new Set(); // user ids
  const counts = client.serves('presence:list');
  let channel = '';
  let total = 0;
  let self = '';
  let state = '';

  client.on('welcome', ({ session }) => {
    self = session.userId;
    if (client.serves('user:ignored')) client.ask('user:ignored').then(({ users }) => remember(users), () => {});
  });
  client.on('presence:joined', ({ channel: where, user }) => {
    if (where !== channel || there.has(user.userId)) return;
    total++;
    if (there.size < KEPT) there.set(user.userId, user);
    draw();
  });
  client.on('presence:left', ({ channel: where, user }) => {
    if (where !== channel || (!there.delete(user.userId) && total <= there.size)) return;
    total--;
    draw();
  });

  async function look(name) {
    channel = name;
    there.clear();
    total = 0;
    state = name && counts ? READING : '';
    draw();
    if (!name || !counts) return;
    try {
      const page = await client.ask('presence:list', { channel: name, limit: SHOWN });
      if (channel !== name) return;
      for (const user of page.users) there.set(user.userId, user);
      total = Math.max(page.total, there.size);
      state = '';
    } catch (refusal) {
      state = `Who is here could not be read (${refusal.code}).`;
    }
    draw();
  }

  function remember(users) {
    ignored.clear();
    for (const id of users) ignored.add(id);
    draw();
  }

  // ignore begins or ends ignoring a user, on all devices.
  async function ignore(userId, on) {
    await client.ask(on ? 'user:ignore' : 'user:unignore', { userId }).then(() => ignored[on ? 'add' : 'delete'](userId), () => {});
    draw();
  }

  const draw = drawLater(() => {
    if (counts) say(channel && state !== READING ? `${total.toLocaleString()} ${total === 1 ? 'member' : 'members'}` : '');
    const users = [...there.values()].slice(0, SHOWN);
    keyed(ui.people, users, ({ userId }) => `${userId} ${ignored.has(userId)}`, person);
    setText(ui.peopleNote, state || (total > users.length ? `and ${(total - users.length).toLocaleString()} more` : ''));
    ui.ignoredBox.hidden = ignored.size === 0;
    arrange();
    setText(ui.ignoredCount, `Ignored (${ignored.size})`);
    keyed(ui.ignored, [...ignored], (userId) => userId, (userId) => el('li', { dataset: { user: userId } }, el('span', { title: userId }, userId),
      el('button', { type: 'button', class: 'quiet', 'data-testid': `unignore-${userId}`, on: { click: () => ignore(userId, false).then(() => ui.membersButton.focus()) } }, 'Hear again')));
  });

  const say = (text) => {
    setText(ui.members, text);
    ui.membersButton.hidden = text === '';
  };

  function person(user) {
    const { userId, username, characterId } = user;
    if (userId === self) return el('li', { class: 'person self', 'data-testid': 'person', dataset: { user: userId } }, el('div', { class: 'me' }, avatar(username), el('span', {}, username, el('small', {}, ' you'))));
    const button = (what, label, event, act) => (client.serves(event) ? el('button', { type: 'button', class: 'quiet', 'data-testid': `${what}-${userId}`, on: { click: act } }, label) : null);
    const want = (what, label, event, whom) => button(what, label, event, () => client.tell(`want:${what}`, whom));
    const isIgnored = ignored.has(userId);
    return el('li', { class: isIgnored ? 'person ignored' : 'person', 'data-testid': 'person', dataset: { user: userId } }, el('details', { name: 'person' },
      el('summary', {}, avatar(username), el('span', { title: userId }, username, isIgnored ? el('small', {}, ' ignored') : null)),
      el('div', { class: 'wants' },
        want('whisper', 'Whisper', 'chat:whisper', user),
        want('fight', 'Fight', 'combat:start', { characterId: characterId || userId }),
        want('trade', 'Trade', 'trade:propose', user),
        isIgnored ? null : button('ignore', 'Ignore', 'user:ignore', () => ignore(userId, true).then(() => ui.membersButton.focus())))));
  }

  // The list folds away. In a whisper there is nobody to list.
  let isOpen = counts;
  function fold(open) {
    isOpen = open;
    ui.membersButton.setAttribute('aria-expanded', open);
    arrange();
  }
  function arrange() {
    const isEmpty = !channel && (ignored.size === 0 || ui.room.classList.contains('narrow'));
    hide(ui.there, !isOpen || isEmpty, () => (ui.membersButton.hidden ? ui.room.firstElementChild : ui.membersButton));
  }
  ui.membersButton.addEventListener('click', () => fold(ui.there.hidden));
  // Beside the messages where there is room for both, else above them.
  new ResizeObserver(([{ contentRect: { width } }]) => {
    const isNarrow = width < BOTH_FIT_PX;
    if (ui.room.classList.contains('narrow') === isNarrow) return;
    ui.room.classList.toggle('narrow', isNarrow);
    fold(!isNarrow && counts);
  }).observe(ui.room);
  fold(counts);

  return { look, counts, say };
}
