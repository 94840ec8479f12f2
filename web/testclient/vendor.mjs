// Copies the official client's bundle to where it is embedded from. Runs after `npm ci`.
import { copyFileSync } from 'node:fs';

const here = (path) => new URL(path, import.meta.url);
copyFileSync(here('node_modules/socket.io-client/dist/socket.io.esm.min.js'), here('vendor/socket.io.esm.min.js'));
