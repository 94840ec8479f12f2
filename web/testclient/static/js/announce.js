// What a screen reader hears: messages, refusals, and how the connection is. Besides, only the login's notice and the problem of a payload speak by themselves.
import { el } from './dom.js';

const EVERY_MS = 1000;
const MOST_OF_MANY = 3; // of what comes in floods; more in one second are only counted
const MOST_OTHERS = 8; // of all else; beyond them the oldest is only counted
const STAYS_MS = 5000; // a screen reader may be slow to fetch a text
const KEPT = 6; // texts before these go when they have stayed so long

let waiting = []; // what to speak, in its order: {text, isOneOfMany}
let uncounted = 0; // how many came besides
let timer = 0;

/**
 * announce speaks a text, politely, and once when it comes from several players' consoles at the same time. What is said again is said in its new place: "connected" after
 * "reconnecting".
 */
export function announce(text) {
  waiting = waiting.filter((other) => other.text !== text);
  const others = waiting.filter(({ isOneOfMany }) => !isOneOfMany);
  if (others.length === MOST_OTHERS) {
    waiting.splice(waiting.indexOf(others[0]), 1);
    uncounted++;
  }
  waiting.push({ text, isOneOfMany: false });
  speakSoon();
}

/**
 * announceOneOfMany is for what others may cause without an end, such as chat. Of these texts it speaks the first three of each second, and how many there were besides:
 * a flood takes nothing else from the reader, such as how the connection is.
 */
export function announceOneOfMany(text) {
  if (waiting.some((other) => other.text === text)) return;
  if (waiting.filter(({ isOneOfMany }) => isOneOfMany).length < MOST_OF_MANY) waiting.push({ text, isOneOfMany: true });
  else uncounted++;
  speakSoon();
}

function speakSoon() {
  timer ||= setTimeout(speak, EVERY_MS / 5);
}

function speak() {
  const region = document.getElementById('announcer');
  const texts = waiting.map(({ text }) => text);
  if (uncounted) texts.push(`and ${uncounted} more`);
  const until = Date.now() + STAYS_MS;
  region.append(...texts.map((text) => Object.assign(el('p', {}, text), { until })));
  while (region.childElementCount > KEPT && region.firstElementChild.until < Date.now()) region.firstElementChild.remove();
  waiting = [];
  uncounted = 0;
  timer = setTimeout(() => {
    timer = 0;
    if (waiting.length) speak();
  }, EVERY_MS);
}
