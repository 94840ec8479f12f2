// A page that logs a guest in, and talks in one channel of the chat. See README.md.
import { io, type Socket } from 'socket.io-client';
// The types of all events. A project of its own keeps a copy: the gateway serves it as /events.d.ts.
import type { ChatMessage, ClientToServerEvents, ConnectErrorData, ServerToClientEvents } from '../../../docs/events.d.ts';

type GameSocket = Socket<ServerToClientEvents, ClientToServerEvents>;

// Where the gateway is. With "" it is the page's own host, behind one proxy with the page.
const gateway = document.querySelector<HTMLMetaElement>('meta[name=gateway]')?.content || location.origin;
const channel = 'global';

function find<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no #${id}`);
  return found;
}
const loginForm = find('login', HTMLFormElement);
const nameField = find('name', HTMLInputElement);
const chatForm = find('chat', HTMLFormElement);
const textField = find('text', HTMLInputElement);
const logoutButton = find('logout', HTMLButtonElement);
const who = find('who', HTMLElement);
const messages = find('messages', HTMLUListElement);
const state = find('state', HTMLElement); // of the connection
const problem = find('problem', HTMLElement); // why the last thing was refused

// logIn gives a session id. This is the login of guests, which the gateway has with --dev alone.
// A game sends its provider's token instead: { token }.
async function logIn(username: string): Promise<string> {
  const response = await fetch(`${gateway}/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username }),
  });
  const answer = await response.json() as { sessionId: string; detail?: string };
  if (!response.ok) throw new Error(answer.detail ?? `status ${response.status}`);
  return answer.sessionId;
}

// connect opens the connection of a session. The client comes back by itself when it breaks.
function connect(sessionId: string): GameSocket {
  // A lost answer is asked for again, three times. A message's idempotencyKey makes that safe.
  const socket: GameSocket = io(gateway, { auth: { sessionId }, retries: 3, ackTimeout: 5_000 });

  // All listeners are set before it connects: what was missed arrives right behind "connect".
  socket.on('connect', () => {
    state.textContent = socket.recovered ? 'connected, nothing was missed' : 'connected';
    problem.textContent = '';
    // A recovered connection is in its channels still, and hears now what was said meanwhile.
    if (!socket.recovered) void enterChannel(socket);
  });
  socket.on('chat:message', showMessage);
  socket.on('session', ({ username }) => { who.textContent = username; });
  // Any event with a player behind it extends the session. A player who only reads is asked.
  socket.on('session:expiring', ({ expiresInMs }) => {
    problem.textContent = `You will be logged out in ${Math.ceil(expiresInMs / 1000)} s. Write something to stay.`;
  });
  // The session is over, and the disconnect follows. Only a new login helps.
  socket.on('session:revoked', ({ reason }) => endSession(reason || 'You have been logged out.'));
  // A restart of the server, for instance. There is nothing to do.
  socket.on('gateway:closing', ({ code, reconnectInMs }) => {
    state.textContent = `${code}: back in ${Math.ceil(reconnectInMs / 1000)} s`;
  });
  // A refusal of an event that was sent without an acknowledgement.
  socket.on('error', ({ code, message }) => { problem.textContent = `${code}: ${message}`; });
  socket.on('disconnect', () => { if (socket.active) state.textContent = 'away, coming back'; });

  socket.on('connect_error', (error) => {
    if (socket.active) { // no network, or a server that is busy: the client tries again by itself
      state.textContent = 'away, trying again';
      return;
    }
    // The gateway has refused the session, and says why.
    const { code } = (error as Error & { data?: ConnectErrorData }).data ?? {};
    endSession(code === 'BANNED' || code === 'TOO_MANY_CONNECTIONS' ? error.message : 'Please log in again.');
  });
  return socket;
}

// enterChannel joins the channel and shows what was said there.
async function enterChannel(socket: GameSocket): Promise<void> {
  try {
    const joined = await socket.emitWithAck('chat:join', { channel });
    if (!joined.ok) {
      problem.textContent = joined.error.message;
      return;
    }
    const history = await socket.emitWithAck('chat:history', { channel });
    if (history.ok) history.data.messages.forEach(showMessage);
  } catch {
    problem.textContent = 'The server does not answer.';
  }
}

const shown = new Set<string>();

// showMessage shows a message once: the history and what is heard overlap.
function showMessage({ id, from, text }: ChatMessage): void {
  if (shown.has(id)) return;
  shown.add(id);
  const item = document.createElement('li');
  item.textContent = `${from.username}: ${text}`; // never innerHTML: players wrote it
  messages.append(item);
}

async function say(socket: GameSocket, text: string): Promise<void> {
  problem.textContent = '';
  try {
    const answer = await socket.emitWithAck('chat:message', { channel, text, idempotencyKey: crypto.randomUUID() });
    if (answer.ok) return; // it has arrived as chat:message, too
    const { error } = answer;
    problem.textContent = error.code === 'RATE_LIMITED' ? `${error.message} (${Math.ceil(error.retryAfterMs / 1000)} s)` : error.message;
  } catch { // no answer after all tries
    problem.textContent = 'The server does not answer. Your message may not have arrived.';
  }
}

let current: GameSocket | undefined;

function begin(sessionId: string): void {
  // For this tab alone, and not for the next day.
  sessionStorage.setItem('sessionId', sessionId);
  loginForm.hidden = true;
  chatForm.hidden = logoutButton.hidden = false;
  state.textContent = 'connecting';
  problem.textContent = '';
  current = connect(sessionId);
}

function endSession(why: string): void {
  sessionStorage.removeItem('sessionId');
  current?.disconnect();
  current = undefined;
  loginForm.hidden = false;
  chatForm.hidden = logoutButton.hidden = true;
  who.textContent = '';
  state.textContent = 'logged out';
  problem.textContent = why;
}

loginForm.addEventListener('submit', async (event) => {
  event.preventDefault();
  try {
    begin(await logIn(nameField.value));
  } catch (error) {
    problem.textContent = `No login: ${error instanceof Error ? error.message : String(error)}`;
  }
});
chatForm.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = textField.value;
  textField.value = '';
  if (current && text) void say(current, text);
});
logoutButton.addEventListener('click', () => {
  // The gateway answers, says session:revoked, and ends the connection.
  current?.emitWithAck('session:logout', {}).catch(() => endSession('You are logged out here.'));
});

const stored = sessionStorage.getItem('sessionId');
if (stored) begin(stored);
