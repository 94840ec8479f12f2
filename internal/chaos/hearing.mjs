// Members of chat rooms with the official client. Each says numbered messages in the rooms, one after
// the other, and whispers every tenth to another member. What they say, are answered and hear is
// written to standard output, a line of JSON each:
//   ["ready"]                                    all have joined
//   ["said", member, room, text, seq, at]        room is a channel, or "@" and the member whispered to
//   ["answered", member, text, answer, at]       answer is null when there was none
//   ["heard", member, room, text, id]
//   ["missed", member, at]                       gateway:status {missed: true}
//   ["ended", member, reason, at]
// The line "say" on standard input begins, "stop" ends; then the answers that are open are awaited.
//
// Usage: node --experimental-websocket hearing.mjs CLIENT '{"each", "pauseMs", "padding", "channels", "everybody", "members": [{"user", "session", "url"}, …]}'
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const { io } = await import(pathToFileURL(process.argv[2]).href);
const { each, pauseMs, padding, channels, everybody, members } = JSON.parse(process.argv[3]);

const write = (...line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
let isStopped = false;

const join = ({ user, session, url }) => new Promise((joined, failed) => {
  const socket = io(url, { transports: ['websocket'], auth: { sessionId: session }, forceNew: true, reconnection: false });
  socket.on('connect_error', failed);
  socket.on('disconnect', (reason) => write('ended', user, reason, Date.now()));
  socket.on('chat:message', (m) => write('heard', user, m.channel, m.text, m.id));
  socket.on('chat:whisper', (m) => write('heard', user, `@${user}`, m.text, m.id));
  socket.on('gateway:status', (s) => { if (s.missed) write('missed', user, Date.now()); });
  socket.on('connect', async () => {
    for (const channel of channels) {
      const answer = await socket.emitWithAck('chat:join', { channel });
      if (!answer.ok) failed(new Error(JSON.stringify(answer)));
    }
    joined({ user, socket });
  });
});

const talk = async ({ user, socket }) => {
  for (let seq = 0; seq < each && !isStopped && socket.connected; seq++) {
    const text = `${user} ${seq}${padding}`;
    const other = everybody[(everybody.indexOf(user) + 1 + (seq % (everybody.length - 1))) % everybody.length];
    const isWhisper = seq % 10 === 9;
    const channel = channels[seq % channels.length];
    write('said', user, isWhisper ? `@${other}` : channel, text, seq, Date.now());
    const answer = await new Promise((done) => {
      const payload = isWhisper ? ['chat:whisper', { to: other, text }] : ['chat:message', { channel, text }];
      socket.timeout(20_000).emit(...payload, (late, given) => done(late ? null : given));
    });
    write('answered', user, text, answer, Date.now());
    await sleep(pauseMs * (0.5 + Math.random()));
  }
};

const all = await Promise.all(members.map(join));
write('ready');
let talking;
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'say') talking = Promise.all(all.map(talk)).then(() => write('silent'));
  if (line === 'stop') isStopped = true;
  if (line === 'leave') break;
}
await talking;
process.exit(0);
