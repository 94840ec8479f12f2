// Copies the official client's bundles to where they are embedded from. Runs after `npm ci`. The page loads the esm bundle;
// the gateway serves all of them below the Socket.IO path.
import { copyFileSync } from 'node:fs';

const here = (path) => new URL(path, import.meta.url);
for (const bundle of ['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js']) {
  for (const name of [bundle, `${bundle}.map`]) copyFileSync(here(`node_modules/socket.io-client/dist/${name}`), here(`vendor/${name}`));
}
