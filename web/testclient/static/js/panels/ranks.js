// The leaderboards: the first ten, and where this player is.
import { el, refs } from '../dom.js';

export function ranks(root, client) {
  const ui = refs(root);
  let self = '';
  let board = 'global';
  let asked = 0;

  client.on('session', (session) => {
    self = session.characterId || session.userId;
    read();
  });
  client.on('combat:ended', () => setTimeout(read, 300)); // points are counted just after the end
  client.on('state', ({ status }) => { ui.refresh.disabled = status !== 'connected'; });

  async function read() {
    if (!client.serves('leaderboard:top')) {
      ui.mine.textContent = 'This server keeps no leaderboards.';
      return;
    }
    const turn = ++asked;
    try {
      const [top, mine] = await Promise.all([client.ask('leaderboard:top', { name: board, limit: 10 }), client.ask('leaderboard:rank', { name: board })]);
      if (turn !== asked) return;
      ui.list.replaceChildren(...top.entries.map(({ rank, id, name, score }) => el('li', { 'data-testid': 'rank', class: id === self ? 'own' : '', dataset: { id } },
        el('b', {}, `${rank}`), el('span', {}, name || id), el('span', { class: 'score' }, score.toLocaleString()))));
      ui.mine.textContent = mine.rank ? `You are number ${mine.rank} of ${mine.total}.` : 'Win a fight to be on this board.';
    } catch {
      // the toast has said it
    }
  }

  ui.boards.addEventListener('change', (e) => {
    board = e.target.value;
    read();
  });
  ui.refresh.addEventListener('click', read);
}
