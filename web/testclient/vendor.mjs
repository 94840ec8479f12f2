// Copies what the gateway serves from npm to where it is embedded from. Runs after `npm ci`. The page loads the esm bundle of the official
// client; the gateway serves all bundles below the Socket.IO path, and the official Admin UI, compressed, with the icons that it would
// load from elsewhere.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { gzipSync } from 'node:zlib';

const here = (path) => new URL(path, import.meta.url);
for (const bundle of ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js']) {
  for (const name of [bundle, `${bundle}.map`]) copyFileSync(here(`node_modules/socket.io-client/dist/${name}`), here(`vendor/${name}`));
}

const adminUI = here('node_modules/@socket.io/admin-ui/ui/dist/');
const icons = here('node_modules/@mdi/font/');
const write = (name, body) => {
  const to = here(`vendor/admin-ui/${name}.gz`);
  mkdirSync(dirname(to.pathname), { recursive: true });
  writeFileSync(to, gzipSync(body, { level: 9 }));
};
rmSync(here('vendor/admin-ui'), { recursive: true, force: true });
for (const name of readdirSync(adminUI, { recursive: true })) {
  if (!/\.(js|css|svg|png)$/.test(name)) continue;
  const body = readFileSync(new URL(name, adminUI));
  write(name, name.endsWith('.js') ? String(body).replace(/\n\/\/# sourceMappingURL=.*/, '') : body);
}
const css = 'css/materialdesignicons.min.css';
const font = 'fonts/materialdesignicons-webfont.woff2';
write(css, String(readFileSync(new URL(css, icons))).replace(/\n?\/\*# sourceMappingURL=.*/, ''));
write(font, readFileSync(new URL(font, icons)));
write('index.html', String(readFileSync(new URL('index.html', adminUI)))
  .replace(/<link rel="stylesheet" href="https:\/\/fonts[^>]*>/, '')
  .replace(/<link rel="stylesheet" href="https:[^>]*materialdesignicons[^>]*>/, `<link rel="stylesheet" href="${css}">`));
