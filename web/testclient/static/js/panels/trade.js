// A trade between two: both offers side by side, and who has accepted.
import { el, refs } from '../dom.js';

export function trade(root, client, { tick, show }) {
  const ui = refs(root);
  let self = '';
  let deal = null; // the trade that is shown
  let draft = null; // my offer while it is being changed: {items: Map(itemId → qty), gold}

  client.on('session', (session) => {
    self = session.userId;
    if (deal?.status === 'open') client.ask('trade:state', { tradeId: deal.tradeId }).then(take, () => {});
  });
  client.on('state', ({ status }) => { ui.propose.disabled = status !== 'connected' || !client.serves('trade:propose'); });
  for (const event of ['trade:proposed', 'trade:updated', 'trade:completed', 'trade:cancelled']) {
    client.on(event, (fresh) => {
      if (isGift(fresh)) return;
      if (event === 'trade:proposed' && (!deal || deal.status !== 'open')) show('trade');
      if (deal && fresh.tradeId !== deal.tradeId && deal.status === 'open') return;
      take(fresh);
    });
  }
  client.on('want:trade', ({ userId }) => {
    show('trade');
    propose(userId);
  });

  function propose(to) {
    client.ask('trade:propose', { to }).then(take, async (refusal) => {
      const open = refusal.details?.tradeId; // there is one between these two already
      if (open) take(await client.ask('trade:state', { tradeId: open }).catch(() => deal));
    });
  }

  function take(fresh) {
    if (!fresh || (deal?.tradeId === fresh.tradeId && fresh.version < deal.version)) return;
    deal = fresh;
    client.known.tradeId = fresh.tradeId;
    client.known.version = fresh.version;
    draft = null;
    draw();
  }

  const mine = () => deal.parties.find((p) => p.userId === self);
  const theirs = () => deal.parties.find((p) => p.userId !== self);

  function draw() {
    const open = deal.status === 'open';
    ui.idle.hidden = open;
    ui.deal.hidden = false;
    ui.deal.dataset.status = deal.status;
    ui.deal.dataset.version = deal.version;
    ui.status.textContent = open ? `version ${deal.version}` : deal.status;
    ui.reason.textContent = open ? '' : `${deal.status}${deal.reason ? ` (${deal.reason})` : ''}`;
    ui.mySide.classList.toggle('accepted', mine().accepted);
    ui.theirSide.classList.toggle('accepted', theirs().accepted);
    ui.theirName.textContent = theirs().userId;
    ui.theirs.replaceChildren(...goods(theirs().offer));
    ui.mine.replaceChildren(...goods(draft ? written() : mine().offer, open && takeOut));
    ui.offer.hidden = ui.buttons.hidden = !open;
    ui.accept.disabled = mine().accepted || Boolean(draft);
    ui.put.disabled = !draft;
    ui.accept.textContent = mine().accepted ? 'Accepted' : 'Accept';
    options();
  }

  function goods({ items, gold }, remove) {
    const line = (key, label, qty) => el('li', { 'data-testid': 'offered', dataset: { item: key, qty } }, el('span', { title: label }, label), el('b', {}, qty),
      remove ? el('button', { type: 'button', class: 'quiet', 'aria-label': `Take ${label} out`, on: { click: () => remove(key) } }, '✕') : null);
    return [...items.map((i) => line(i.itemId, i.itemId, i.qty)), ...(gold ? [line('', 'gold', gold)] : [])];
  }

  function edit() {
    draft ??= { items: new Map(mine().offer.items.map((i) => [i.itemId, i.qty])), gold: mine().offer.gold };
    return draft;
  }
  const written = () => ({ items: [...draft.items].map(([itemId, qty]) => ({ itemId, qty })), gold: draft.gold });

  function takeOut(key) {
    if (key) edit().items.delete(key);
    else edit().gold = 0;
    draw();
  }

  // What the items panel has read is what can be offered.
  function options() {
    const { what } = ui.offer.elements;
    const held = client.known.inventory ?? { items: [], gold: 0 };
    const before = what.value;
    what.replaceChildren(...held.items.map(({ itemId, qty }) => el('option', { value: itemId }, `${itemId} (${qty})`)), ...(held.gold ? [el('option', { value: ':gold' }, `gold (${held.gold})`)] : []));
    if ([...what.options].some((o) => o.value === before)) what.value = before;
    ui.offer.querySelector('button').disabled = what.options.length === 0;
  }
  client.on('inventory', () => deal && options());

  ui.offer.addEventListener('submit', (e) => {
    e.preventDefault();
    const { what, qty } = ui.offer.elements;
    if (what.value === ':gold') edit().gold = Number(qty.value);
    else edit().items.set(what.value, Number(qty.value));
    draw();
  });
  ui.put.addEventListener('click', () => client.ask('trade:offer', { tradeId: deal.tradeId, ...written(), version: deal.version }).then(take, again));
  ui.accept.addEventListener('click', () => client.ask('trade:accept', { tradeId: deal.tradeId, version: deal.version }).then(take, again));
  ui.cancel.addEventListener('click', () => client.ask('trade:cancel', { tradeId: deal.tradeId }).then(take, again));
  ui.idle.addEventListener('submit', (e) => {
    e.preventDefault();
    propose(ui.idle.elements.to.value.trim());
  });

  // After a refusal the server's own view is shown: somebody may have been quicker.
  function again() {
    client.ask('trade:state', { tradeId: deal.tradeId }).then(take, () => {});
  }

  tick(() => {
    if (deal?.status === 'open') ui.left.textContent = `ends in ${Math.max(0, Math.ceil((deal.expiresAt - Date.now()) / 1000))} s`;
    else ui.left.textContent = '';
  });
}

// A gift is settled at once, and has only one side.
const isGift = ({ status, version }) => status === 'completed' && version === 1;
