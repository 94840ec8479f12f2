// A backend of the gateway, with nothing but Node's standard library. It serves quest:* and says who may connect.
//
//   node quests.mjs --port 9000 --secret-file ../secret
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({ options: { port: { type: 'string', default: '9000' }, 'secret-file': { type: 'string' } } });
const secrets = readFileSync(options['secret-file'], 'utf8').split('\n').map((line) => line.trim()).filter((line) => line && !line.startsWith('#'));

// isGenuine says whether the gateway sent a body, within the last five minutes.
function isGenuine(header, body) {
  const [time, ...signatures] = (header ?? '').split(',');
  const seconds = /^t=(\d+)$/.exec(time)?.[1];
  if (!seconds || Math.abs(Date.now() / 1000 - Number(seconds)) > 300) return false;
  return secrets.some((secret) => {
    const wanted = Buffer.from('v1=' + createHmac('sha256', secret).update(`${seconds}.`).update(body).digest('hex'));
    return signatures.some((one) => one.length === wanted.length && timingSafeEqual(Buffer.from(one), wanted));
  });
}

const questsOf = new Map(); // of a user: quests by id. A real backend has a database.
const answered = new Map(); // answers by idempotency key, for as long as the gateway keeps them
const keepAnswers = 2 * 60 * 1000;

const handlers = {
  connect({ player }) {
    if (player.userId === 'banned') return { error: { code: 'WORLD_CLOSED', message: 'The world is closed to you.' } };
    return { rooms: ['game:world'], data: { motd: 'Welcome!' } };
  },
  'quest:accept'({ player, payload }) {
    const quests = questsOf.get(player.userId) ?? new Map();
    if (quests.size >= 3 && !quests.has(payload.questId)) return { error: { code: 'QUEST_FULL', message: 'You have too many quests.', most: 3 } };
    const quest = { questId: payload.questId, state: 'open', acceptedAt: Date.now() };
    questsOf.set(player.userId, quests.set(quest.questId, quest));
    return { data: quest, casts: [{ userId: player.userId, event: 'quest:accepted', data: quest }] };
  },
  'quest:list'({ player }) {
    return { data: { quests: [...(questsOf.get(player.userId)?.values() ?? [])] } };
  },
};

// perform handles a request. With an idempotency key it is done once: a key belongs to a user and an event.
function perform(request) {
  const key = request.idempotencyKey && JSON.stringify([request.player.userId, request.event, request.idempotencyKey]);
  if (key && answered.has(key)) return answered.get(key);
  const answer = handlers[request.event]?.(request) ?? { error: { code: 'NOT_FOUND', message: 'There is no such event.' } };
  if (key) {
    answered.set(key, answer);
    setTimeout(() => answered.delete(key), keepAnswers).unref();
  }
  return answer;
}

const server = createServer((req, res) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk));
  req.on('end', () => {
    const body = Buffer.concat(chunks);
    if (!isGenuine(req.headers['gateway-signature'], body)) return res.writeHead(401).end();
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(perform(JSON.parse(body))));
  });
});
server.listen(Number(options.port), '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
