// A trade between two: both offers side by side, and who has accepted. A trade that is over is put away, and one line says how it ended.
import { announce } from '../announce.js';
import { disable, el, hide, keyed, refs, setText } from '../dom.js';
import { drawLater } from '../frames.js';

const EXPIRED_FOR_S = 2;

export function trade(root, client, { tick, show, suggest }) {
  const ui = refs(root);
  let self = '';
  let deal = null; // the trade that is shown
  let ahead = 0; // of this machine's clock, the server's
  let lookedFor = ''; // the trade whose time is over, and that the server was asked about
  let draft = null; // my offer while it is being changed: {items: Map(itemId → qty), gold}

  client.on('welcome', ({ session }) => {
    self = session.userId;
    ahead = session.serverTime - Date.now();
    if (isOpen()) look();
  });
  client.on('state', ({ status }) => { disable(ui.propose, status !== 'connected' || !client.serves('trade:propose')); });
  for (const event of ['trade:proposed', 'trade:updated', 'trade:completed', 'trade:cancelled']) {
    client.on(event, (fresh) => {
      if (isGift(fresh)) return;
      if (event === 'trade:proposed' && !isOpen()) {
        if (fresh.parties[0].userId === self) show('trade');
        else suggest('trade', `${fresh.parties[0].userId} wants to trade.`);
      }
      if (isOpen() && fresh.tradeId !== deal.tradeId) return;
      take(fresh);
    });
  }
  client.on('want:trade', ({ userId }) => {
    show('trade');
    propose(userId);
  });

  const isOpen = () => deal?.status === 'open' || deal?.status === 'settling';

  // look shows the server's own view: somebody may have been quicker.
  function look() {
    client.ask('trade:state', { tradeId: deal.tradeId }).then(take, (refusal) => {
      if (refusal.code === 'NOT_FOUND') take({ ...deal, status: 'expired', version: deal.version + 1 });
    });
  }

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
    if (!isOpen()) announce(ending());
    drawSoon();
  }

  // ending says how the trade ended, and what went over.
  function ending() {
    const partner = theirs().userId;
    const { reason = '' } = deal;
    if (deal.status === 'completed') return `Trade with ${partner}: completed. You gave ${list(mine().offer)}, and got ${list(theirs().offer)}.`;
    if (deal.status === 'expired') return `Trade with ${partner}: expired. Nothing moved.`;
    const why = reason === self ? ' by you' : reason === partner ? ` by ${partner}` : reason ? ` (${reason})` : '';
    return `Trade with ${partner}: ${deal.status}${why}. Nothing moved.`;
  }
  const list = ({ items, gold }) => [...items.map((i) => `${i.qty} × ${i.itemId}`), ...(gold ? [`${gold} gold`] : [])].join(', ') || 'nothing';
  const isEmpty = ({ items, gold }) => items.length === 0 && !gold;

  const mine = () => deal.parties.find((p) => p.userId === self);
  const theirs = () => deal.parties.find((p) => p.userId !== self);

  function draw() {
    const open = isOpen();
    (open ? ui.deal : ui.idle).hidden = false;
    if (open) hide(ui.idle, true, () => ui.offer.elements.what);
    else hide(ui.deal, true, () => ui.idle.elements.to);
    ui.nothing.hidden = true;
    ui.deal.dataset.status = deal.status;
    ui.deal.dataset.version = deal.version;
    ui.reason.dataset.status = deal.status;
    setText(ui.status, open ? `version ${deal.version}` : deal.status);
    setText(ui.reason, open ? '' : ending());
    ui.mySide.classList.toggle('accepted', mine().accepted);
    ui.theirSide.classList.toggle('accepted', theirs().accepted);
    setText(ui.theirName, theirs().userId);
    goods(ui.theirs, theirs().offer);
    goods(ui.mine, draft ? written() : mine().offer, takeOut);
    const empty = isEmpty(mine().offer) && isEmpty(theirs().offer);
    disable(ui.accept, mine().accepted || Boolean(draft) || empty);
    ui.accept.classList.toggle('primary', !draft && !empty);
    ui.put.classList.toggle('primary', Boolean(draft));
    disable(ui.put, !draft);
    ui.accept.textContent = mine().accepted ? 'Accepted' : 'Accept';
    options();
  }

  const drawSoon = drawLater(draw);

  function goods(place, { items, gold }, remove) {
    const all = [...items.map(({ itemId, qty }) => ({ key: itemId, label: itemId, qty })), ...(gold ? [{ key: '', label: 'gold', qty: gold }] : [])];
    keyed(place, all, ({ key, qty }) => `${key} ${qty}`, ({ key, label, qty }) => el('li', { 'data-testid': 'offered', dataset: { item: key, qty } }, el('span', { title: label }, label), el('b', {}, qty),
      remove ? el('button', { type: 'button', class: 'quiet', 'aria-label': `Take ${label} out`, on: { click: () => remove(key) } }, '✕') : null));
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
    ui.put.focus();
  }

  // What the items panel has read is what can be offered.
  function options() {
    const { what } = ui.offer.elements;
    const held = client.known.inventory ?? { items: [], gold: 0 };
    const before = what.value;
    what.replaceChildren(...held.items.map(({ itemId, qty }) => el('option', { value: itemId }, `${itemId} (${qty})`)), ...(held.gold ? [el('option', { value: ':gold' }, `gold (${held.gold})`)] : []));
    if (!what.options.length) what.append(el('option', { value: '' }, 'you own nothing'));
    if ([...what.options].some((o) => o.value === before)) what.value = before;
    disable(ui.offer.querySelector('button'), what.value === '');
  }
  client.on('inventory', () => deal && options());

  ui.offer.addEventListener('submit', (e) => {
    e.preventDefault();
    const { what, qty } = ui.offer.elements;
    if (what.value === ':gold') edit().gold = Number(qty.value);
    else edit().items.set(what.value, Number(qty.value));
    draw();
  });
  ui.put.addEventListener('click', () => client.ask('trade:offer', { tradeId: deal.tradeId, ...written(), version: deal.version }).then(take, look));
  ui.accept.addEventListener('click', () => client.ask('trade:accept', { tradeId: deal.tradeId, version: deal.version }).then(take, look));
  ui.cancel.addEventListener('click', () => client.ask('trade:cancel', { tradeId: deal.tradeId }).then(take, look));
  ui.idle.addEventListener('submit', (e) => {
    e.preventDefault();
    propose(ui.idle.elements.to.value.trim());
  });

  // A trade whose time is over is asked for once, in case its end is not told.
  tick(() => {
    const left = isOpen() ? Math.ceil((deal.expiresAt - ahead - Date.now()) / 1000) : 0;
    setText(ui.left, isOpen() ? `ends in ${Math.max(0, left)} s` : '');
    if (!isOpen() || left > -EXPIRED_FOR_S || lookedFor === deal.tradeId) return;
    lookedFor = deal.tradeId;
    look();
  });
}

// A gift is settled at once, and has only one side.
const isGift = ({ status, version }) => status === 'completed' && version === 1;
