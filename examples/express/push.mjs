// Sends events to players by the server API of the gateway.
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';

const tries = 5;
const answerWithinMs = 3_000;
// What may be gone in a moment. Every other refusal stays as it is, however often one asks.
const passing = new Set(['RATE_LIMITED', 'UNAVAILABLE', 'LOCKED', 'TIMEOUT', 'INTERNAL']);

/**
 * createPush gives a function that casts an event to a user, and answers how many connections it
 * reached. A try whose answer is lost is repeated with the same key: the gateway casts once.
 */
export function createPush(apiUrl, apiKey) {
  return async function push(userId, event, data, key = randomUUID()) {
    const request = {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify({ userId, event, data }),
    };
    for (let attempt = 1; ; attempt++) {
      let problem;
      let pauseMs = 100 * 2 ** attempt * (0.5 + Math.random()); // not all programs at the same moment
      try {
        const response = await fetch(new URL('/server/v1/cast', apiUrl), { ...request, signal: AbortSignal.timeout(answerWithinMs) });
        const answer = await response.json();
        if (response.ok) return answer.reached;
        problem = Object.assign(new Error(`cast: ${answer.code}: ${answer.detail ?? answer.message ?? ''}`), { code: answer.code });
        pauseMs = Math.max(pauseMs, answer.retryAfterMs ?? 0);
      } catch (error) { // no answer, or one that is cut off
        problem = Object.assign(new Error(`cast: no answer: ${error.cause?.message ?? error.message}`), { code: 'TIMEOUT' });
      }
      if (attempt === tries || !passing.has(problem.code)) throw problem;
      await wait(pauseMs);
    }
  };
}
