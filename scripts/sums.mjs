// Finds the sums of `node --test` in a log and writes "passed failed skipped" to a file.
// Exits 1 when there are none: the tests did not run.
import { readFileSync, writeFileSync } from 'node:fs';

const [, , log, to] = process.argv;
const sums = {};
for (const [, key, n] of readFileSync(log, 'utf8').matchAll(/^(?:#|ℹ) (pass|fail|cancelled|skipped) (\d+)$/gm)) {
  sums[key] = Number(n);
}
if (sums.pass === undefined) {
  console.error('node --test left no sums');
  process.exit(1);
}
writeFileSync(to, `${sums.pass} ${sums.fail + sums.cancelled} ${sums.skipped}\n`);
