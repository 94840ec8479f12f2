// What happened to a connection, in words that help whoever sees them.

const ENDS = {
  SESSION_REQUIRED: 'No session id was sent. Log in.',
  SESSION_INVALID: 'This session is unknown or over: a session ends when nothing is done for a while, and when somebody ends it. Log in again.',
  SESSION_EXPIRED: 'The session is over: nothing was done for a while, or it had lasted as long as a session may. Log in again.',
  SESSION_REVOKED: 'Somebody else ended this session: an operator, or another program. Log in again.',
  REPLACED: 'A newer session took the place of this one: it was renewed, or this user connected from another device.',
  BANNED: 'This user is banned, and cannot log in.',
  TOO_MANY_CONNECTIONS: 'This user has as many connections as one may have. Close one of them, then log in again.',
  ORIGIN_REFUSED: `The server takes no sessions from pages of ${location.origin}. Its operator allows them with --allowed-origins ${location.origin}`,
};

/** explainEnd says why a session or connection is over for good. Its argument is what the server said: {code, reason, until}. */
export function explainEnd({ code, reason, until }) {
  const words = ENDS[code] ?? (reason || 'The connection has ended.');
  const why = code === 'BANNED' && reason ? ` ${reason}` : '';
  const free = until ? ` Until ${new Date(until).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })}.` : '';
  return `${words}${why}${free} (${code})`;
}

const CLOSINGS = {
  DRAINING: 'This server is about to stop, and sends its players to others.',
  SHUTTING_DOWN: 'This server has stopped.',
  SLOW_CONSUMER: 'This page read too slowly: more was waiting for it than the server keeps.',
};

const LOSSES = {
  'ping timeout': 'Nothing was heard from the server for too long.',
  'transport close': 'The connection broke.',
  'transport error': 'The connection broke.',
  'parse error': 'The server said something that is not Socket.IO.',
  'forced close': 'The connection was dropped.',
  'websocket error': 'No websocket comes about: the server is down or refuses for now, or something between lets no websockets through.',
  timeout: 'The server did not answer in time.',
};

/** explainLoss says why a connection broke or did not come about, when the client will try again. closing is what gateway:closing said before, error is of connect_error. */
export function explainLoss(reason, { closing, error } = {}) {
  if (!navigator.onLine) return 'This device is offline.';
  const xhr = error?.context;
  if (xhr?.status === 503) return serverSays(xhr) === 'Draining' ? 'This server is about to stop, and takes no new connections.' : 'The server is overloaded, and takes no new connections for now.';
  if (xhr?.status === 429) return 'Too many connections came from this address in a short time.';
  if (closing) return CLOSINGS[closing.code] ?? closing.code;
  if (error?.message === 'xhr poll error') return 'The server does not answer: it is down, or the network is.';
  return LOSSES[reason] ?? reason;
}

function serverSays({ responseText }) {
  try {
    return JSON.parse(responseText).message;
  } catch {
    return '';
  }
}

/** retryAfter gives how long the server asks to wait, in ms, or 0. */
export const retryAfter = (error) => 1000 * (Number(error?.context?.getResponseHeader?.('Retry-After')) || 0);
