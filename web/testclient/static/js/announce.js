// What a screen reader hears: messages, refusals, and how the connection is. Besides, only the login's notice and the problem of a payload speak by themselves.
import { el } from './dom.js';

const EVERY_MS = 1000;
const MOST = 3; // more in one second are only counted
const KEPT = 6;

let waiting = []; // the texts to speak, at most MOST
let uncounted = 0; // how many came besides
let timer = 0;

/** announce speaks a text, politely, and once when it comes from several players' consoles at the same time. Of a flood it speaks the first three of each second, and how many there were besides. */
export function announce(text) {
  if (waiting.includes(text)) return;
  if (waiting.length < MOST) waiting.push(text);
  else uncounted++;
  timer ||= setTimeout(speak, EVERY_MS / 5);
}

function speak() {
  const region = document.getElementById('announcer');
  if (uncounted) waiting.push(`and ${uncounted} more`);
  region.append(...waiting.map((text) => el('p', {}, text)));
  while (region.childElementCount > KEPT) region.firstElementChild.remove();
  waiting = [];
  uncounted = 0;
  timer = setTimeout(() => {
    timer = 0;
    if (waiting.length) speak();
  }, EVERY_MS);
}
