// What the player owns, and giving some of it away.
import { announce } from '../announce.js';
import { disable, el, keyed, refs, setText, uid } from '../dom.js';

export function items(root, client) {
  const ui = refs(root);
  let last = null; // the last gift, to send it again with its key

  client.on('welcome', ({ session }) => {
    setText(ui.mint, `gateway trade mint --character ${session.characterId || session.userId} --item sword --qty 3`);
    list();
  });
  client.on('trade:completed', listSoon);
  client.on('combat:ended', listSoon);
  client.on('state', ({ status }) => { disable(ui.refresh, status !== 'connected'); });

  // What changed it may be told just before it is done, and often.
  let timer = 0;
  function listSoon() {
    timer ||= setTimeout(() => {
      timer = 0;
      list();
    }, 300);
  }

  async function list() {
    let held;
    setText(ui.note, client.known.inventory ? '' : 'Reading what you own …');
    try {
      held = await client.ask('inventory:list');
      setText(ui.note, '');
    } catch (refusal) {
      setText(ui.note, `What you own could not be read (${refusal.code}). Refresh tries again.`);
      return;
    }
    client.known.inventory = held;
    client.tell('inventory', held);
    const chosen = ui.give.elements.itemId.value;
    ui.gold.textContent = `${held.gold.toLocaleString()} gold`;
    keyed(ui.inventory, held.items, ({ itemId, qty }) => `${itemId} ${qty}`, ({ itemId, qty }) => el('li', { 'data-testid': 'item', dataset: { item: itemId, qty } }, el('span', { title: itemId }, itemId), el('b', {}, `×${qty}`)));
    ui.give.elements.itemId.replaceChildren(...held.items.map(({ itemId }) => el('option', { value: itemId }, itemId)));
    if (held.items.some((i) => i.itemId === chosen)) ui.give.elements.itemId.value = chosen;
    ui.empty.hidden = held.items.length > 0;
    ui.give.hidden = ui.again.hidden = held.items.length === 0 && !last;
  }

  async function give(gift) {
    const [{ itemId, qty }] = gift.give.items;
    try {
      const trade = await client.ask('trade:execute', gift);
      last = gift;
      disable(ui.again, false);
      ui.outcome.className = 'outcome good';
      announce(`${qty} × ${itemId} to ${gift.to}: ${trade.status}`);
      ui.outcome.textContent = ui.outcome.title = `${qty} × ${itemId} to ${gift.to}: ${trade.status}, trade ${trade.tradeId}`;
    } catch (refusal) {
      ui.outcome.className = 'outcome bad';
      ui.outcome.textContent = ui.outcome.title = `${refusal.code}: ${refusal.message}`;
    }
    await list();
  }

  ui.give.addEventListener('submit', (e) => {
    e.preventDefault();
    const { to, itemId, qty } = ui.give.elements;
    give({ to: to.value.trim(), give: { items: [{ itemId: itemId.value, qty: Number(qty.value) }], gold: 0 }, idempotencyKey: uid() });
  });
  ui.again.addEventListener('click', () => give(last));
  ui.refresh.addEventListener('click', list);
  ui.copy.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(ui.mint.textContent);
      ui.copy.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(ui.mint);
    }
  });
}
