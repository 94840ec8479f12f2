// The case "connection state recovery" of socket.io-client's own tests, over each way to connect.
// Exits 1 when an assertion fails.
//
// Usage: node --experimental-websocket recovery.mjs CLIENT URL
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

const { io } = await import(pathToFileURL(process.argv[2]).href);

for (const options of [{}, { transports: ['polling'] }, { transports: ['websocket'] }]) {
  const socket = io(process.argv[3], { forceNew: true, reconnectionDelay: 20, ...options });
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
}
