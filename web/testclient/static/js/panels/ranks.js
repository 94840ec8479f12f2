// The leaderboards: the first ten, and where this player is.
import { disable, el, refs, setText } from '../dom.js';

export function ranks(root, client) {
  const ui = refs(root);
  let self = '';
  let board = 'global';
  let asked = 0;

  client.on('welcome', ({ session }) => {
    self = session.characterId || session.userId;
    read();
  });
  let timer = 0;
  client.on('combat:ended', () => { // points are counted just after the end
    timer ||= setTimeout(() => {
      timer = 0;
      read();
    }, 300);
  });
  client.on('state', ({ status }) => { disable(ui.refresh, status !== 'connected'); });

  async function read() {
    if (!client.serves('leaderboard:top')) {
      ui.mine.textContent = 'This server keeps no leaderboards.';
      return;
    }
    const turn = ++asked;
    if (!ui.list.childElementCount) setText(ui.mine, 'Reading the board …');
    try {
      const [top, mine] = await Promise.all([client.ask('leaderboard:top', { name: board, limit: 10 }), client.ask('leaderboard:rank', { name: board })]);
      if (turn !== asked) return;
      ui.list.replaceChildren(...top.entries.map(({ rank, id, name, score }) => el('li', { 'data-testid': 'rank', class: id === self ? 'own' : '', dataset: { id } },
        el('b', {}, `${rank}`), el('span', {}, name || id), el('span', { class: 'score' }, score.toLocaleString()))));
      ui.mine.textContent = mine.rank ? `You are number ${mine.rank} of ${mine.total}.` : 'Win a fight to be on this board.';
      setText(ui.none, top.entries.length ? '' : 'Nobody is on this board yet.');
    } catch (refusal) {
      setText(ui.mine, `The board could not be read (${refusal.code}). Refresh tries again.`);
    }
  }

  ui.boards.addEventListener('change', (e) => {
    board = e.target.value;
    read();
  });
  ui.refresh.addEventListener('click', read);
}
