// The case "connection state recovery" of socket.io-client's own tests. The bundle is that of browsers,
// which polls with XMLHttpRequest, so here it connects over websocket; polling and upgrade are tried in
// test/client. Exits 1 when an assertion fails, or after 20 s.
//
// Usage: node --experimental-websocket recovery.mjs CLIENT URL
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

const { io } = await import(pathToFileURL(process.argv[2]).href);

setTimeout(() => assert.fail('no end within 20 s'), 20_000).unref();
const socket = io(process.argv[3], { forceNew: true, transports: ['websocket'], reconnectionDelay: 20 });
assert.equal(socket.recovered, false);
socket.emit('hi'); // its answer has the first offset
await new Promise((ok) => { socket.once('hi', ok); });
const { id } = socket;
const isBack = new Promise((ok) => { socket.once('connect', ok); });
socket.io.engine.close();
await isBack;
assert.equal(socket.id, id);
assert.equal(socket.recovered, true);
socket.disconnect();
