// A program of the game, in TypeScript, with the client that is generated from /server/v1/openapi.json. It makes
// every call once; what it expects is in its types.
import createClient from 'openapi-fetch';
import type { components, operations, paths } from './openapi.js';

/** done gives the data of an answer, or ends with its refusal. */
async function done<T>(answer: Promise<{ data?: T; error?: components['schemas']['Problem'] }>): Promise<T> {
  const { data, error } = await answer;
  if (data === undefined) throw new Error(`refused: ${JSON.stringify(error)}`);
  return data;
}

/** play makes every call, with a player who is connected, and gives what was answered by call. */
export async function play(url: string, key: string, userId: string, made: (operation: string) => void) {
  const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });
  api.use({ onRequest({ request, schemaPath }) { made(`${request.method} ${schemaPath}`); } });
  const once = { header: { 'Idempotency-Key': `order-${userId}` } };
  const room = 'game:raid-7';

  const cast = await done(api.POST('/server/v1/cast', { body: { userId, event: 'quest:done', data: { id: 7 } }, params: once }));
  const again = await done(api.POST('/server/v1/cast', { body: { userId, event: 'quest:done', data: { id: 7 } }, params: once }));
  const { connections, silent } = await done(api.GET('/server/v1/connections', { params: { query: { userId, limit: 10 } } }));
  const entered = await done(api.POST('/server/v1/connections/join', { body: { userId, room } }));
  const left = await done(api.POST('/server/v1/connections/leave', { body: { userId, room } }));
  const presence = await done(api.GET('/server/v1/presence/user', { params: { query: { userId } } }));
  const channel = await done(api.GET('/server/v1/presence/channel', { params: { query: { channel: 'global' } } }));
  const history = await done(api.GET('/server/v1/history', { params: { query: { channel: 'global', limit: 5 } } }));

  const login = await done(api.POST('/server/v1/sessions/create', { body: { userId: 'kim', username: 'Kim', roles: ['vip'], ttlMs: 60_000 } }));
  const shown = await done(api.GET('/server/v1/sessions', { params: { query: { session: login.session } } }));
  const ended = await done(api.POST('/server/v1/sessions/revoke', { body: { userId: 'kim', reason: 'over' } }));

  await done(api.POST('/server/v1/bans/set', { body: { userId: 'mal', forMs: 60_000, reason: 'spam' } }));
  const ban = await done(api.GET('/server/v1/bans', { params: { query: { userId: 'mal' } } }));
  await done(api.POST('/server/v1/bans/lift', { body: { userId: 'mal' } }));
  await done(api.POST('/server/v1/sanctions/impose', { body: { kind: 'mute', userId, forMs: 60_000 } }));
  const sanctions = await done(api.GET('/server/v1/sanctions', { params: { query: { userId } } }));
  await done(api.POST('/server/v1/sanctions/lift', { body: { kind: 'mute', userId } }));

  const minted = await done(api.POST('/server/v1/goods/mint', { body: { characterId: 'hero', items: [{ itemId: 'sword', qty: 2 }], gold: 5 }, params: once }));
  const owned = await done(api.GET('/server/v1/goods/inventory', { params: { query: { characterId: 'hero' } } }));
  const trade = await api.GET('/server/v1/goods/trade', { params: { query: { tradeId: 'nothing' } } }); // there is none
  await done(api.POST('/server/v1/limits/set', { body: { rules: ['chat@vip=50/10s'] } }));
  const limits = await done(api.GET('/server/v1/limits'));

  const refusal: components['schemas']['Problem'] | undefined = trade.error;
  type Foreign = operations['cast']['responses'][403]['content']['application/problem+json'];
  const foreign: Foreign | undefined = (await api.POST('/server/v1/cast', { body: { all: true, event: 'chat:forged' } })).error;
  // @ts-expect-error: an event is required
  const wrong = await api.POST('/server/v1/cast', { body: { all: true } });

  const batch = await done(api.POST('/server/v1/batch', { body: { calls: [
    { call: 'cast', body: { userId, event: 'quest:step', data: 1 } },
    { call: 'presence.user', body: { userId } },
    { call: 'cast', body: { room: 'user:ann', event: 'quest:step' } },
  ] } }));
  const gone = await done(api.POST('/server/v1/connections/disconnect', { body: { userId } }));

  return {
    cast, again, connections, silent, entered, left, presence, channel, history, login, shown, ended, ban, sanctions, minted, owned,
    refusal, foreign, wrong: wrong.error, limits, batch, gone,
  };
}
