// Short messages in a corner. The same one again counts up instead of piling up.
import { announce } from './announce.js';
import { el } from './dom.js';

const STAY_MS = 6000;
const MOST = 4;

/** toast shows a code and a message. kind: '' | 'warn' | 'bad'. waitMs counts down beside the message. */
export function toast(code, message, { kind = '', waitMs = 0 } = {}) {
  const region = document.getElementById('toasts');
  const same = [...region.children].find((t) => t.dataset.key === `${code} ${message}`);
  const card = same ?? build(code, message, kind);
  const times = Number(card.dataset.times ?? 0) + 1;
  card.dataset.times = times;
  card.querySelector('b').textContent = times > 1 ? `${code} ×${times}` : code;
  clearInterval(card.timer);
  const until = Date.now() + Math.max(STAY_MS, waitMs);
  const free = Date.now() + waitMs;
  const line = card.querySelector('p');
  const tick = () => {
    if (waitMs) line.textContent = free > Date.now() ? `${message} Again in ${((free - Date.now()) / 1000).toFixed(1)} s.` : `${message} Ready again.`;
    if (Date.now() > until && !card.matches(':hover, :focus-within')) remove(card);
  };
  tick();
  card.timer = setInterval(tick, waitMs ? 100 : 500);
  if (!same) region.append(card);
  announce(waitMs ? `${message} Again in ${Math.ceil(waitMs / 1000)} s. ${code}` : `${message} ${code}`);
  while (region.childElementCount > MOST) remove(region.firstElementChild);
}

function build(code, message, kind) {
  const card = el('div', { class: `toast ${kind}`, 'data-testid': 'toast', dataset: { code, key: `${code} ${message}` } }, el('b'), el('p', {}, message));
  card.append(el('button', { 'aria-label': 'Dismiss', on: { click: () => remove(card) } }, '✕'));
  return card;
}

function remove(card) {
  clearInterval(card.timer);
  const hasFocus = card.contains(document.activeElement);
  card.remove();
  if (hasFocus) (cameFrom?.checkVisibility() ? cameFrom : document.getElementById('main')).focus({ preventScroll: true });
}

// cameFrom had the focus before a toast got it.
let cameFrom = null;
document.getElementById('toasts').addEventListener('focusin', ({ target, relatedTarget }) => {
  if (relatedTarget && !target.closest('#toasts').contains(relatedTarget)) cameFrom = relatedTarget;
});
