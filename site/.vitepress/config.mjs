import { existsSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import Slugger from 'github-slugger';
import { pageOf, repository } from '../pages.mjs';

const site = new URL('..', import.meta.url).pathname;
const root = new URL('../..', import.meta.url).pathname;
const sidebar = JSON.parse(readFileSync(`${site}navigation.json`, 'utf8'));

// Where a link of a document leads on the site: to the page of another document, to a file that is served beside the pages, and
// else into the repository. A file that is nowhere is a dead link.
function resolveLink(href, page) {
  const [path, anchor] = href.split('#');
  if (!path || /^[a-z]+:/.test(href) || path.startsWith('/')) return href;
  const file = posix.normalize(posix.join(posix.dirname(page), path)).replace(/\/$/, '');
  const hash = anchor === undefined ? '' : `#${anchor}`;
  if (file.endsWith('.md') && existsSync(`${site}pages/${pageOf(file)}`)) return `/${pageOf(file)}${hash}`;
  if (existsSync(`${site}pages/${file}/index.md`)) return `/${file}/index.md${hash}`;
  if (existsSync(`${site}pages/public/${file}`)) return `/${file}`;
  if (!existsSync(root + file)) throw new Error(`${page} links to ${href}, which is nowhere`);
  return repository + file + hash;
}

export default {
  title: 'Realtime gateway',
  description: 'A Socket.IO-compatible realtime gateway for online games',
  head: [['link', { rel: 'icon', href: `${process.env.BASE ?? '/'}favicon.svg`, type: 'image/svg+xml' }]],
  srcDir: 'pages',
  outDir: 'dist',
  cacheDir: '.vitepress/cache',
  base: process.env.BASE ?? '/',
  cleanUrls: false,
  // A machine without a way out builds it as well, and the same commit gives the same pages.
  lastUpdated: false,
  markdown: {
    html: false,
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
    anchor: { slugify: (text) => new Slugger().slug(text) },
    languageAlias: { redis: 'text' },
    config(md) {
      md.core.ruler.push('links', ({ tokens, env }) => {
        for (const { children } of tokens) {
          for (const token of children ?? []) {
            if (token.type === 'link_open') token.attrSet('href', resolveLink(token.attrGet('href'), env.relativePath.replace(/(^|\/)index\.md$/, '$1README.md')));
          }
        }
      });
      // A page is a template of Vue: braces of a document are none of it.
      const { text } = md.renderer.rules;
      md.renderer.rules.text = (...args) => text(...args).replace(/\{\{/g, '&#123;&#123;');
    },
  },
  themeConfig: {
    sidebar,
    outline: [2, 3],
    search: { provider: 'local', options: { detailedView: true } },
    nav: [
      { text: 'Getting started', link: existsSync(`${site}pages/docs/getting-started.md`) ? '/docs/getting-started' : '/docs/installing' },
      { text: 'Operations', link: '/docs/operations' },
      { text: 'Events', link: '/docs/EVENTS' },
      { text: 'Flags', link: '/reference/flags' },
    ],
    socialLinks: [{ icon: 'github', link: repository.replace('/blob/main/', '') }],
  },
};
