// What the player owns, and giving some of it away.
import { el, refs, uid } from '../dom.js';

export function items(root, client) {
  const ui = refs(root);
  let last = null; // the last gift, to send it again with its key

  client.on('session', (session) => {
    ui.mint.textContent = `gateway trade mint --character ${session.characterId || session.userId} --item sword --qty 3`;
    list();
  });
  client.on('trade:completed', list);
  client.on('combat:ended', () => setTimeout(list, 300)); // the reward comes just after the end
  client.on('state', ({ status }) => { ui.refresh.disabled = status !== 'connected'; });

  async function list() {
    let held;
    try {
      held = await client.ask('inventory:list');
    } catch {
      return;
    }
    client.known.inventory = held;
    client.tell('inventory', held);
    const chosen = ui.give.elements.itemId.value;
    ui.gold.textContent = `${held.gold.toLocaleString()} gold`;
    ui.inventory.replaceChildren(...held.items.map(({ itemId, qty }) => el('li', { 'data-testid': 'item', dataset: { item: itemId, qty } }, el('span', { title: itemId }, itemId), el('b', {}, `×${qty}`))));
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
      ui.again.disabled = false;
      ui.outcome.className = 'outcome good';
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
