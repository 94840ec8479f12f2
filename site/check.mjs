// Looks at the site in dist/, and ends with an error when a link or an anchor leads nowhere, a page cannot be reached by links from the first one, or
// a page loads something from elsewhere.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { posix } from 'node:path';

const dist = new URL('dist/', import.meta.url).pathname;
const pages = readdirSync(dist, { recursive: true }).filter((file) => file.endsWith('.html') && file !== '404.html');
const faults = [];
const bodies = new Map(pages.map((page) => [page, readFileSync(dist + page, 'utf8')]));
const anchors = new Map([...bodies].map(([page, html]) => [page, new Set([...html.matchAll(/ id="([^"]+)"/g)].map((m) => decode(m[1])))]));
const links = new Map();
function decode(text) {
  return text.replace(/&amp;/g, '&').replace(/&quot;/g, '"').replace(/&#39;/g, "'");
}
let checked = 0;
for (const [page, html] of bodies) {
  links.set(page, new Set());
  for (const [, name, raw] of html.matchAll(/<(?:a|img|script|link)\b[^>]*? (href|src)="([^"]*)"/g)) {
    const url = decode(raw);
    if (/^(https?:|mailto:|data:)/.test(url)) {
      if (name === 'src') faults.push(`${page} loads ${url}`);
      continue;
    }
    const [path, anchor] = url.split('#');
    let file = path === '' ? page : posix.normalize(path.startsWith('/') ? path.slice(1) : posix.join(posix.dirname(page), path));
    if (file === '' || file === '.' || file.endsWith('/')) file = posix.join(file, 'index.html');
    checked++;
    if (!existsSync(dist + file)) faults.push(`${page} links to ${url}, which is not there`);
    else if (anchor && anchors.has(file) && !anchors.get(file).has(decodeURIComponent(anchor))) faults.push(`${page} links to ${url}, and there is no such heading`);
    links.get(page).add(file);
  }
}
const reached = new Set(['index.html']);
for (const page of reached) for (const next of links.get(page) ?? []) if (bodies.has(next)) reached.add(next);
for (const page of pages) if (!reached.has(page)) faults.push(`no link leads to ${page}`);
if (pages.length < 40 || checked < 1000) faults.push(`only ${pages.length} pages with ${checked} links were found`);
for (const fault of faults) console.error(`site: ${fault}`);
console.log(`site: ${pages.length} pages, ${checked} links, ${faults.length} faults`);
process.exit(faults.length ? 1 : 0);
