// A fight, against an NPC or another player: health bars, four actions, what happened.
import { announce, announceOneOfMany } from '../announce.js';
import { clock, disable, el, hide, keyed, meter, refs, setText, uid } from '../dom.js';
import { drawLater } from '../frames.js';

const NPCS = ['training-dummy', 'goblin', 'wolf'];
const LINES = 100; // of the log
const SENT = 20; // challenges
const KEYS = { a: 'attack', d: 'defend', s: 'skill', f: 'flee' };

export function fight(root, client, { show: bring, suggest, tick }) {
  const ui = refs(root);
  const bars = new Map(); // fighter id → its elements
  const challenges = new Map(); // challenge id → { root, left, until }: those that I may answer
  const sent = new Map(); // challenge id → whom I challenged
  let lines = []; // of the log: {key, at, text, kind}, oldest first
  let written = 0; // lines, ever
  let newest = null; // the fight's state that is to be drawn
  let combatId = '';
  let over = true;
  let self = '';
  let seen = 0; // the newest version drawn
  let ahead = 0; // of this machine's clock, the server's
  let readyAt = 0; // when I may act again, in the server's clock

  client.on('welcome', ({ session }) => {
    self = session.characterId || session.userId;
    ahead = session.serverTime - Date.now();
    if (client.serves('combat:duels')) client.ask('combat:duels').then(({ open }) => { ui.duels.checked = open; }, () => {});
    if (!over) client.ask('combat:state', { combatId }).then(show, stop);
    else if (client.serves('combat:list')) client.ask('combat:list').then(({ combats }) => combats.length && enter(combats.at(-1), 'You are back in the fight.'), () => {});
  });
  client.on('combat:challenged', (challenge) => {
    suggest('fight', `${challenge.from.name || challenge.from.characterId} challenges you.`);
    offer(challenge);
  });
  client.on('combat:cancelled', ({ challengeId, reason }) => {
    drop(challengeId);
    if (sent.delete(challengeId)) say(`Your challenge: ${reason}.`, 'bad');
  });
  client.on('combat:started', ({ challengeId, state }) => {
    drop(challengeId);
    sent.delete(challengeId);
    if (state.combatId === combatId || !over) return;
    suggest('fight', 'The fight begins.');
    enter(state, 'The fight begins.');
  });
  client.on('want:fight', ({ characterId }) => {
    bring('fight');
    start({ opponentId: characterId }).catch(() => {});
  });
  client.on('state', ({ status }) => {
    disable(ui.start, status !== 'connected');
  });
  client.on('combat:update', (update) => {
    if (update.combatId !== combatId) return;
    note(update.event);
    newest = update.state;
    drawNewest();
  });
  const drawNewest = drawLater(() => newest?.combatId === combatId && show(newest));
  client.on('combat:ended', (end) => {
    if (end.combatId !== combatId) return;
    if (newest) show(newest);
    stop();
    if (end.outcome === 'abandoned') return say('The fight was abandoned.', 'bad');
    const gains = rewards(end.rewards);
    if (end.winner === self) say(`You win.${gains}`, 'good');
    else say(end.winner ? `${nameOf(end.winner)} wins.` : 'The fight is over.', 'bad');
  });

  async function start(opponent) {
    const focused = document.activeElement;
    const state = await client.ask('combat:start', opponent);
    if (state.challengeId) {
      if (sent.size >= SENT) sent.delete(sent.keys().next().value);
      sent.set(state.challengeId, opponent.opponentId);
      setTimeout(() => { if (sent.delete(state.challengeId)) say(`${opponent.opponentId} did not answer.`, 'bad'); }, state.expiresInMs);
      return say(`You have challenged ${opponent.opponentId}: ${Math.round(state.expiresInMs / 1000)} s to answer.`);
    }
    if (state.combatId !== combatId) enter(state, 'The fight begins.');
    if (document.activeElement === focused || document.activeElement === document.body) ui.actions.firstElementChild.focus(); // else the reader has gone on
  }

  // A challenge has two buttons for as long as it is open.
  function offer({ challengeId, from, expiresInMs }) {
    drop(challengeId);
    const answer = async (event) => {
      try {
        const state = await client.ask(event, { challengeId });
        if (state.combatId && state.combatId !== combatId && over) enter(state, 'The fight begins.');
      } catch {
        // the toast has said why
      }
      drop(challengeId, over ? ui.logBox : ui.actions.firstElementChild);
    };
    const button = (label, event, kind) => el('button', { type: 'button', class: kind, 'data-testid': event.replace('combat:', ''), on: { click: () => answer(event) } }, label);
    const left = el('small');
    const root = el('li', { 'data-testid': 'challenge' }, el('span', {}, el('b', {}, from.name || from.characterId), ' challenges you ', left), button('Accept', 'combat:accept', 'primary'), button('Decline', 'combat:decline', 'quiet'));
    challenges.set(challengeId, { root, left, until: Date.now() + expiresInMs });
    ui.challenges.append(root);
    count();
  }

  function drop(challengeId, refuge = ui.logBox) {
    const challenge = challenges.get(challengeId);
    if (!challenge) return;
    challenges.delete(challengeId);
    hide(challenge.root, true, () => refuge);
    challenge.root.remove();
  }

  function count() {
    for (const [id, { left, until }] of challenges) {
      if (Date.now() > until) drop(id);
      else setText(left, `${Math.ceil((until - Date.now()) / 1000)} s`);
    }
  }
  tick(count);

  function enter(state, words) {
    combatId = client.known.combatId = state.combatId;
    over = false;
    seen = 0;
    newest = null;
    bars.clear();
    ui.fighters.replaceChildren();
    lines = [];
    show(state);
    say(words);
  }

  const act = (action) => allow() && client.ask('combat:action', { combatId, action }).catch((refusal) => say(`${action}: ${refusal.code}`, 'bad'));

  function show(state) {
    if (state.version < seen) return;
    seen = state.version;
    for (const participant of state.participants) draw(participant);
    readyAt = state.participants.every((p) => p.kind === 'player') ? state.participants.find((p) => p.id === self)?.nextActionAt ?? 0 : 0;
    setText(ui.status, `turn ${state.turn}`);
    if (state.status !== 'active') stop();
    else if (!over) allow();
    arrange();
  }

  // arrange shows the actions during a fight, and the form that begins one otherwise. Of the focus: after a fight Enter must not begin the next one.
  function arrange() {
    (over ? ui.begin : ui.actions).hidden = false;
    if (over) hide(ui.actions, true, () => ui.logBox);
    else hide(ui.begin, true, () => ui.actions.firstElementChild);
  }

  // Against another player there is a pause between two actions.
  function allow() {
    const may = !over && Date.now() + ahead >= readyAt && client.state.status === 'connected';
    for (const button of ui.actions.children) disable(button, !may);
    return may;
  }
  tick(() => { if (!over) allow(); });

  function stop() {
    over = true;
    ui.status.textContent = 'over';
    for (const button of ui.actions.children) disable(button, true);
    arrange();
  }

  function draw({ id, name, hp, maxHp, energy, maxEnergy }) {
    if (!bars.has(id)) {
      const parts = { name: el('b'), tag: el('span', { class: 'tag' }), hp: el('span', { class: 'hp' }), bar: el('div', { class: 'meter', 'aria-hidden': 'true' }, el('i')) };
      parts.root = el('div', { class: 'fighter', 'data-testid': 'fighter', dataset: { fighter: id } }, el('span', {}, parts.name, parts.tag), parts.hp, parts.bar);
      bars.set(id, parts);
      ui.fighters.append(parts.root);
    }
    const parts = bars.get(id);
    setText(parts.name, name ?? id);
    setText(parts.tag, [id === self ? 'you' : '', maxEnergy ? `energy ${energy}/${maxEnergy}` : ''].filter(Boolean).join(' · '));
    setText(parts.hp, `${hp} / ${maxHp}`);
    meter(parts.bar, hp / maxHp);
    parts.root.dataset.health = hp > maxHp * 0.5 ? 'fine' : hp > maxHp * 0.25 ? 'hurt' : 'low';
    parts.root.dataset.self = id === self;
    if (hp < Number(parts.root.dataset.hp)) {
      parts.root.classList.remove('hit');
      requestAnimationFrame(() => parts.root.classList.add('hit'));
    }
    parts.root.dataset.hp = hp;
  }

  // One line for each thing that was done in the turn, the answer to it too.
  function note({ acts }) {
    for (const { by, action, target, result, damage, healed } of acts) {
      const at = target && target !== by ? ` ${nameOf(target)}` : '';
      const gain = damage ? ` −${damage}` : healed ? ` +${healed}` : '';
      say(`${nameOf(by)}: ${action}${at}, ${result}${gain}`, by === self ? '' : 'theirs', announceOneOfMany);
    }
  }

  const nameOf = (id) => bars.get(id)?.name.textContent || id;

  function say(text, kind = '', speak = announce) {
    lines.push({ key: ++written, at: Date.now(), text, kind });
    if (lines.length > LINES) lines.shift();
    speak(text);
    drawLines();
  }
  const drawLines = drawLater(() => keyed(ui.log, lines, (line) => line.key, ({ at, text, kind }) => el('li', { class: kind }, el('time', {}, clock(at)), el('span', {}, text))));

  ui.npcs.id = `npcs-${uid()}`;
  ui.npcs.replaceChildren(...NPCS.map((name) => el('option', { value: name })));
  ui.begin.elements.opponent.setAttribute('list', ui.npcs.id);
  ui.begin.addEventListener('submit', (e) => {
    e.preventDefault();
    const name = ui.begin.elements.opponent.value.trim() || NPCS[0];
    start(NPCS.includes(name) ? { npc: name } : { opponentId: name }).catch(() => {});
  });
  ui.actions.addEventListener('click', (e) => {
    const button = e.target.closest('[data-action]');
    if (button) act(button.dataset.action);
  });
  ui.duels.addEventListener('change', () => client.ask('combat:duels', { open: ui.duels.checked }).catch(() => { ui.duels.checked = !ui.duels.checked; }));
  ui.duels.parentElement.hidden = !client.serves('combat:duels');
  root.addEventListener('keydown', (e) => {
    const action = KEYS[e.key.toLowerCase()];
    if (!action || over || e.target.matches('input, select, textarea') || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    act(action);
  });
}

function rewards({ gold = 0, items = [] } = {}) {
  const parts = [...(gold ? [`${gold} gold`] : []), ...items.map((i) => `${i.qty} × ${i.itemId}`)];
  return parts.length ? ` Won: ${parts.join(', ')}.` : '';
}
