// The process of tabs.js: a client for each tab. It writes a line of JSON for all that befalls them:
//   [tab, "connect", recovered, id]   [tab, "disconnect", reason]   [tab, "refused", message]
//   [tab, "joined"]                   [tab, "heard", event, …args]
//
// Usage: node tabs.mjs '{"channels": […], "tabs": [{"package", "transports", "url", "sessionId"}, …]}'
const { channels, tabs } = JSON.parse(process.argv[2]);
const write = (...line) => process.stdout.write(`${JSON.stringify(line)}\n`);

for (const [tab, { package: name, transports, url, sessionId }] of tabs.entries()) {
  const { io } = await import(name);
  const socket = io(url, {
    transports, auth: { sessionId }, forceNew: true, autoConnect: false, reconnectionDelay: 50, reconnectionDelayMax: 500,
  });
  let hasJoined = false;
  socket.on('connect', async () => {
    write(tab, 'connect', socket.recovered, socket.id);
    if (hasJoined) return; // whoever is recovered is in its rooms
    for (const channel of channels) await socket.timeout(10_000).emitWithAck('chat:join', { channel });
    hasJoined = true;
    write(tab, 'joined');
  });
  socket.on('disconnect', (reason) => write(tab, 'disconnect', reason));
  socket.on('connect_error', (e) => write(tab, 'refused', e.message));
  socket.onAny((event, ...args) => write(tab, 'heard', event, ...args));
  socket.connect();
}
