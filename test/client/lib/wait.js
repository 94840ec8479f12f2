// Waiting for what must become true, never for time to pass.

/** until asks again and again, at most withinMs, and gives the first truthy answer. */
export async function until(condition, what, withinMs = 10_000) {
  const end = Date.now() + withinMs;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await new Promise((next) => setTimeout(next, 10));
  }
}

/** after waits until the clock has passed a moment that the server named. */
export const after = (ms) => new Promise((done) => setTimeout(done, ms));
