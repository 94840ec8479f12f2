// Building the page. Text from others only ever becomes a text node, never markup.

/** el('li', {class: 'x', dataset: {id: 1}, on: {click: f}}, 'text', node) makes an element. */
export function el(tag, attrs = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attrs)) {
    if (key === 'dataset') Object.assign(node.dataset, value);
    else if (key === 'on') for (const [type, f] of Object.entries(value)) node.addEventListener(type, f);
    else if (value !== undefined && value !== false) node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

/** refs(root) collects the elements that carry data-ref, by that name. */
export const refs = (root) => Object.fromEntries([...root.querySelectorAll('[data-ref]')].map((n) => [n.dataset.ref, n]));

/** avatar fills node, or a new one, with the name's first letter in the name's own hue. */
export function avatar(name, node = el('span', { class: 'avatar', 'aria-hidden': 'true' })) {
  let hue = 7;
  for (const c of name) hue = (hue * 31 + c.codePointAt(0)) % 360;
  node.textContent = [...name][0] ?? '?';
  node.style.setProperty('--hue', hue);
  return node;
}

/** hide hides a node, or shows it. The focus, where it is inside, goes to the node that refuge() gives: else it would be lost. */
export function hide(node, isHidden, refuge) {
  const hasFocus = isHidden && node.contains(document.activeElement);
  if (node.hidden !== isHidden) node.hidden = isHidden;
  if (hasFocus) refuge().focus({ preventScroll: true });
}

/**
 * tabs makes a list of buttons with data-tab show one panel each. show(name) shows a panel. suggest(name) does so unless the reader is in the panel that is shown:
 * then it marks the button until the reader chooses it.
 */
export function tabs(list, panelOf) {
  const buttons = [...list.querySelectorAll('[data-tab]')];
  for (const button of buttons) button.setAttribute('aria-controls', panelOf(button.dataset.tab).id ||= `panel-${uid()}`);
  const show = (name) => {
    if (!buttons.some((b) => b.dataset.tab === name)) return;
    for (const button of buttons) {
      const chosen = button.dataset.tab === name;
      button.setAttribute('aria-selected', chosen);
      button.tabIndex = chosen ? 0 : -1;
      if (chosen) button.querySelector('.news')?.remove();
      panelOf(button.dataset.tab).hidden = !chosen;
    }
  };
  const suggest = (name) => {
    const { tab } = buttons.find((b) => b.ariaSelected === 'true').dataset;
    if (tab === name) return;
    if (!panelOf(tab).contains(document.activeElement)) return show(name);
    const button = buttons.find((b) => b.dataset.tab === name);
    if (!button.querySelector('.news')) button.append(el('span', { class: 'news' }, el('span', { class: 'sr' }, ' (news)')));
  };
  list.addEventListener('click', (e) => show(e.target.closest('[data-tab]')?.dataset.tab));
  list.addEventListener('keydown', (e) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + buttons.length, Home: 0, End: buttons.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const next = buttons[to % buttons.length];
    show(next.dataset.tab);
    next.focus();
  });
  show(buttons[0].dataset.tab);
  return { show, suggest };
}

/** meter sets a bar to part of whole, between 0 and 1. */
export function meter(node, part) {
  const written = Math.min(1, Math.max(0, part || 0)).toFixed(3);
  if (node.style.getPropertyValue('--part') !== written) node.style.setProperty('--part', written);
}

// One format for all: toLocaleTimeString makes one each time, which takes longer than the row.
const timeOfDay = new Intl.DateTimeFormat([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

/** clock writes a time of day: 14:03:22. */
export const clock = (ms) => timeOfDay.format(ms);

/** span writes a length of time: 29:58, or 1:00:00. */
export function span(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const two = (n) => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/** setText writes a text where it differs: what is written again costs a layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** disable makes a button do nothing, or work again. It keeps the focus: a disabled one would lose it. */
export function disable(button, off) {
  if (button.ariaDisabled !== String(off)) button.ariaDisabled = off;
}
document.addEventListener('click', (e) => {
  if (!e.target.closest('button[aria-disabled="true"]')) return;
  e.preventDefault();
  e.stopImmediatePropagation();
}, { capture: true });

/**
 * keyed makes a list's children those of items, in their order. The child of an item that was there before stays, with its focus and what is open in it.
 * build(item, key) makes a child; refresh(child, item), when given, writes what has changed in one that stays. When the child with the focus goes, the one in its place
 * gets the focus.
 */
export function keyed(list, items, keyOf, build, refresh) {
  const wanted = new Map(items.map((item) => [keyOf(item), item]));
  const there = new Map();
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const at = focused ? [...list.children].findIndex((child) => child.contains(focused)) : -1;
  for (const child of [...list.children]) {
    if (wanted.has(child.key)) there.set(child.key, child);
    else child.remove();
  }
  let next = list.firstElementChild;
  for (const [key, item] of wanted) {
    const child = there.get(key) ?? Object.assign(build(item, key), { key });
    if (there.has(key)) refresh?.(child, item);
    if (child === next) next = next.nextElementSibling;
    else list.insertBefore(child, next);
  }
  if (at >= 0 && document.activeElement !== focused) keepFocus(list, focused, at);
}

const FOCUSABLE = 'button, summary, a, input, select';

function keepFocus(list, focused, at) {
  if (focused.isConnected) return focused.focus({ preventScroll: true }); // it was moved
  const place = list.children[Math.min(at, list.childElementCount - 1)]?.querySelector(FOCUSABLE) ?? list.querySelector(FOCUSABLE);
  if (!place) list.tabIndex = -1;
  (place ?? list).focus({ preventScroll: true });
}

/** uid makes a key that nobody else makes; unlike crypto.randomUUID it also works over plain http. */
export function uid() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, '0')).join('');
}
