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

/** tabs makes a list of buttons with data-tab show one panel each; it gives a function that shows one by name. */
export function tabs(list, panelOf) {
  const buttons = [...list.querySelectorAll('[data-tab]')];
  const show = (name) => {
    if (!buttons.some((b) => b.dataset.tab === name)) return;
    for (const button of buttons) {
      const chosen = button.dataset.tab === name;
      button.setAttribute('aria-selected', chosen);
      button.tabIndex = chosen ? 0 : -1;
      button.classList.toggle('news', !chosen && button.classList.contains('news'));
      panelOf(button.dataset.tab).hidden = !chosen;
    }
  };
  list.addEventListener('click', (e) => show(e.target.closest('[data-tab]')?.dataset.tab));
  list.addEventListener('keydown', (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    show(next.dataset.tab);
    next.focus();
  });
  show(buttons[0].dataset.tab);
  return show;
}

/** meter sets a bar to part of whole, between 0 and 1. */
export const meter = (node, part) => node.style.setProperty('--part', Math.min(1, Math.max(0, part || 0)).toFixed(4));

/** clock writes a time of day: 14:03:22. */
export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

/** span writes a length of time: 29:58, or 1:00:00. */
export function span(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const two = (n) => String(n).padStart(2, '0');
  return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

/** addTo appends to a bounded, scrolling list, and follows its end unless the reader has scrolled up. */
export function addTo(list, node, most = 200) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(node);
  while (list.childElementCount > most) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** uid makes a key that nobody else makes; unlike crypto.randomUUID it also works over plain http. */
export function uid() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, '0')).join('');
}
