// Who is in the channel that is shown, and what one can want of them.
import { avatar, el, refs } from '../dom.js';

const MOST = 50;

/** people fills the list beside the messages. look(channel) shows another; '' shows nobody. */
export function people(root, client) {
  const ui = refs(root);
  const there = new Map(); // userId → user
  let channel = '';
  let total = 0;
  let self = '';
  const counts = client.serves('presence:list');
  ui.people.hidden = !counts;

  client.on('session', ({ userId }) => { self = userId; });
  client.on('presence:joined', ({ channel: where, user }) => {
    if (where !== channel || there.has(user.userId)) return;
    there.set(user.userId, user);
    total++;
    draw();
  });
  client.on('presence:left', ({ channel: where, user }) => {
    if (where !== channel || !there.delete(user.userId)) return;
    total--;
    draw();
  });

  async function look(name) {
    channel = name;
    there.clear();
    total = 0;
    draw();
    if (!name || !counts) return;
    try {
      const page = await client.ask('presence:list', { channel: name, limit: MOST });
      if (channel !== name) return;
      for (const user of page.users) there.set(user.userId, user);
      total = Math.max(page.total, there.size);
      draw();
    } catch {
      // the toast has said it
    }
  }

  function draw() {
    if (!counts) return;
    ui.members.textContent = channel ? `${total} ${total === 1 ? 'member' : 'members'}` : '';
    ui.people.replaceChildren(...[...there.values()].map(person));
  }

  function person(user) {
    const { userId, username, characterId } = user;
    const want = (what, label, event, whom) => (client.serves(event) ? el('button', { type: 'button', class: 'quiet', 'data-testid': `${what}-${userId}`, on: { click: () => client.tell(`want:${what}`, whom) } }, label) : null);
    const name = el('summary', {}, avatar(username), el('span', { title: userId }, username));
    if (userId === self) return el('li', { class: 'person self', 'data-testid': 'person', dataset: { user: userId } }, el('div', { class: 'me' }, avatar(username), el('span', {}, username, el('small', {}, ' you'))));
    return el('li', { class: 'person', 'data-testid': 'person', dataset: { user: userId } }, el('details', { name: 'person' }, name, el('div', { class: 'wants' },
      want('whisper', 'Whisper', 'chat:whisper', user), want('fight', 'Fight', 'combat:start', { characterId: characterId || userId }), want('trade', 'Trade', 'trade:propose', user))));
  }

  return { look, counts };
}
