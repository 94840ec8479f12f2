// How a game uses the generated types, with the real client: types.test.js compiles this and runs it.
import { io, type Socket } from 'socket.io-client';
import type { Answer, ChatMessage, ClientToServerEvents, GameSocket as WithoutAcks, Refusal, ServerToClientEvents } from '../../docs/events.d.ts';

type GameSocket = WithoutAcks<Socket<ServerToClientEvents, ClientToServerEvents>>;

/** play goes through a few events, and gives what was said and heard. */
export async function play(url: string, sessionId: string): Promise<{ members: number; heard: string; waited: number }> {
  const socket = io(url, { auth: { sessionId }, transports: ['websocket'], forceNew: true }) as GameSocket;
  try {
    const heard = new Promise<ChatMessage>((done) => { socket.on('chat:message', done); });
    socket.on('session', ({ username, ttlMs }) => { const both: [string, number] = [username, ttlMs]; void both; });
    socket.on('gateway:closing', ({ code }) => { if (code === 'DRAINING') socket.disconnect(); });

    socket.emit('chat:message', { channel: 'nowhere', text: 'nobody hears this' });
    const joined = await socket.emitWithAck('chat:join', { channel: 'global' });
    if (!joined.ok) throw new Error(joined.error.message);
    const said = await socket.timeout(5000).emitWithAck('chat:message', { channel: 'global', text: 'hello', clientId: 'c1' });
    const at: number = said.ok ? said.data.at : 0;
    void at;
    const pong = await socket.emitWithAck('session:ping');
    if (pong.ok) void pong.data.ttlMs.toFixed();
    const clock = await socket.emitWithAck('session:time');
    if (clock.ok) void clock.data.serverTimeUs.toFixed();
    socket.emit('session:ping');
    socket.emit('session:ping', (answer) => { if (answer.ok) void answer.data.serverTime.toFixed(); });

    const fight = await socket.emitWithAck('combat:start', { npc: 'training-dummy' });
    if (!fight.ok) throw new Error(fight.error.code);
    if (!('combatId' in fight.data)) throw new Error(`a challenge for ${fight.data.expiresInMs.toFixed()} ms`); // to another player
    let waited = 0;
    for (let i = 0; i < 12 && !waited; i++) {
      const act = await socket.emitWithAck('combat:action', { combatId: fight.data.combatId, action: 'defend' });
      if (!act.ok) waited = patience(act.error);
    }
    return { members: joined.data.members, heard: (await heard).text, waited };
  } finally {
    socket.disconnect();
  }
}

// The codes tell the details apart.
function patience(error: Refusal): number {
  switch (error.code) {
    case 'RATE_LIMITED': return error.retryAfterMs;
    case 'INVALID': throw new Error(`${error.field}: ${error.reason}`);
    case 'UNAVAILABLE': throw new Error(error.feature);
    default: throw new Error(error.message);
  }
}

/** wrong is never called: each line must not compile, or @ts-expect-error is itself an error. */
export function wrong(socket: GameSocket): void {
  // @ts-expect-error there is no such event
  socket.emit('chat:shout', { channel: 'global', text: 'hello' });
  // @ts-expect-error text is missing, without an acknowledgement too
  socket.emit('chat:message', { channel: 'global' });
  // @ts-expect-error text is missing
  void socket.emitWithAck('chat:message', { channel: 'global' });
  // @ts-expect-error a field that nobody knows
  void socket.emitWithAck('chat:join', { channel: 'global', loud: true });
  // @ts-expect-error one of four
  void socket.emitWithAck('combat:action', { combatId: 'x', action: 'dance' });
  // @ts-expect-error it takes no payload
  void socket.emitWithAck('session:ping', { now: true });
  // @ts-expect-error the server sends no such event
  socket.on('chat:shouted', () => {});
  // @ts-expect-error it has no such field
  socket.on('chat:message', ({ sender }) => sender);
  socket.emit('inventory:list', (answer) => {
    // @ts-expect-error whether it is ok comes first
    void answer.data.gold;
    // @ts-expect-error this event is never refused for that
    if (!answer.ok && answer.error.code === 'NOT_IN_CHANNEL') void answer;
  });
  const refused: Answer<{ gold: number }, 'NOT_FOUND'> = { ok: false, error: { code: 'NOT_FOUND', message: '' } };
  // @ts-expect-error a refusal has no data
  void refused.data;
}
