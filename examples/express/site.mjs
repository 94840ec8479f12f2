// A site that logs players in, and sends them events through the gateway. The gateway reads the
// site's sessions from the same Redis, so a player who is logged in here is logged in there.
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';
import { createPush } from './push.mjs';

const {
  PORT = '3000',
  REDIS_URL = 'redis://127.0.0.1:6379',
  SECRET_FILE = 'secret', //                     the file of --session-secret-file
  GATEWAY_URL = 'http://127.0.0.1:8080', //      where players connect
  API_URL = 'http://127.0.0.1:8082', //          --api-addr
  API_KEY_FILE = 'key', //                       a key of `gateway api-key create --scope cast`
} = process.env;

// A real site has a database, and limits how often one may try a password.
const hashPassword = promisify(scrypt); // beside the event loop, not in it
const accounts = new Map();
for (const [id, name, password] of [['ann', 'Ann', 'correct horse'], ['bob', 'Bob', 'battery staple']]) {
  const salt = randomBytes(16);
  accounts.set(id, { id, name, salt, hash: await hashPassword(password, salt, 32) });
}
const nobody = { salt: randomBytes(16), hash: randomBytes(32) }; // takes as long as a wrong password

async function findAccount(name, password) {
  const account = accounts.get(name) ?? nobody;
  const hash = await hashPassword(String(password), account.salt, 32);
  return timingSafeEqual(hash, account.hash) && account !== nobody ? account : undefined;
}

const redis = createClient(REDIS_URL.startsWith('unix://') ? { socket: { path: REDIS_URL.slice('unix://'.length) } } : { url: REDIS_URL });
redis.on('error', (error) => console.error(`Redis: ${error.message}`));
await redis.connect();
const push = createPush(API_URL, readFileSync(API_KEY_FILE, 'utf8').trim());

const app = express();
app.use(express.urlencoded({ extended: false, limit: '4kb' }));
app.use(session({
  secret: readFileSync(SECRET_FILE, 'utf8').split('\n').filter(Boolean), // the first one signs
  store: new RedisStore({ client: redis }), // with its default prefix, which the gateway reads: sess:
  resave: false,
  saveUninitialized: false,
  cookie: { httpOnly: true, sameSite: 'lax', secure: 'auto', maxAge: 30 * 60_000 },
}));

app.get('/', (req, res) => {
  res.set('cache-control', 'no-store').send(req.session.user ? playPage(req.session.user) : loginPage());
});

app.post('/login', async (req, res) => {
  const account = await findAccount(req.body?.name, req.body?.password);
  if (!account) return res.status(401).send(loginPage('That is not right.'));
  // A new id, so that nobody can have given the player one that they know.
  await promisify(req.session.regenerate).call(req.session);
  // The gateway takes the user from here: user.id and user.name, and roles where they are given.
  req.session.user = { id: account.id, name: account.name, roles: ['player'] };
  await promisify(req.session.save).call(req.session);
  res.redirect(303, '/');
});

app.post('/mail', async (req, res) => {
  if (!req.session.user) return res.sendStatus(401);
  const { to, text } = req.body ?? {};
  if (!accounts.has(to) || typeof text !== 'string' || text.length < 1 || text.length > 500) return res.sendStatus(400);
  try {
    // Where a mail has an id in the database, that is the key: then a repeat after a crash is safe too.
    const reached = await push(to, 'mail:new', { from: req.session.user.name, text });
    res.json({ reached }); // 0: the player is not connected
  } catch (error) {
    console.error(error.message);
    res.status(503).json({ error: 'The mail can not be told now.' });
  }
});

app.post('/logout', async (req, res) => {
  const id = `express:${req.sessionID}`;
  await promisify(req.session.destroy).call(req.session);
  // Tells all gateways, which close the sockets of the session at once. The list is for a gateway
  // that does not hear it. Without both they would close within 15 seconds.
  const message = JSON.stringify({ sessionId: id, code: 'LOGGED_OUT', reason: 'You logged out.', at: Date.now() });
  await redis.publish('session:revocations', message);
  await redis.xAdd('session:revocations:log', '*', { message }, { TRIM: { strategy: 'MAXLEN', strategyModifier: '~', threshold: 10_000 } });
  res.clearCookie('connect.sid').redirect(303, '/');
});

const escapeHtml = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const page = (body) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>A game</title><link rel="icon" href="data:,">${body}</html>`;

const loginPage = (problem = '') => page(`
<form method="post" action="/login">
  <p>${problem}</p>
  <label>Name <input name="name" autocomplete="username" required></label>
  <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
  <button>Log in</button>
</form>`);

const playPage = (user) => page(`
<h1>${escapeHtml(user.name)}</h1>
<form method="post" action="/logout"><button>Log out</button></form>
<p id="state">connecting</p>
<ul id="mail"></ul>
<script src="${GATEWAY_URL}/socket.io/socket.io.min.js"></script>
<script>
  const show = (id, text) => { document.getElementById(id).textContent = text; };
  // The browser sends the cookie of this site to the gateway. It needs no session id.
  const socket = io('${GATEWAY_URL}', { withCredentials: true });
  socket.on('session', ({ username }) => show('state', 'connected as ' + username));
  socket.on('mail:new', ({ from, text }) => {
    document.getElementById('mail').appendChild(document.createElement('li')).textContent = from + ': ' + text;
  });
  socket.on('session:revoked', ({ reason }) => show('state', reason));
  socket.on('connect_error', (e) => show('state', e.message + (socket.active ? ', trying again' : '')));
</script>`);

const server = app.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
