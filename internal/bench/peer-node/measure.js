// Measures a library in a process of its own. Environment: CALLERS, SECONDS, WARMUP.
const { CALLERS, SECONDS, WARMUP } = process.env;
const seconds = (s) => new Promise((done) => { setTimeout(done, s * 1000); });

/**
 * measure runs CALLERS callers without a pause, and prints what they did after the warm-up as JSON:
 * {decisions, cpuSeconds, seconds}. decide(i) is one step of caller i and returns the number of
 * decisions it made.
 */
export async function measure(decide) {
  let decisions = 0;
  let over = false;
  const caller = async (i) => { while (!over) { const n = await decide(i); decisions += n; } };
  const callers = Array.from({ length: Number(CALLERS) }, (_, i) => caller(i));
  await seconds(WARMUP);
  const [from, cpu, began] = [decisions, process.cpuUsage(), performance.now()];
  process.stderr.write('measuring\n');
  await seconds(SECONDS);
  const used = process.cpuUsage(cpu);
  console.log(JSON.stringify({ decisions: decisions - from, cpuSeconds: (used.user + used.system) / 1e6, seconds: (performance.now() - began) / 1000 }));
  over = true;
  await Promise.all(callers);
}
