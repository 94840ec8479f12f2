// Reads `go test -json` on standard input and prints the parts for people: one line for each
// package, and the whole output of a failed test. Writes "passed failed skipped" to the
// file that its first argument names, and the failed top-level tests, "package test" a line,
// to the second. What the test on line N of that file printed is written to the file with .N appended.
import { createInterface } from 'node:readline';
import { writeFileSync } from 'node:fs';

const sums = { pass: 0, fail: 0, skip: 0 };
const said = new Map(); // package and test → what it printed, while it runs
const failedIn = new Set(); // packages with a failed test
const failed = new Map(); // "package test", or "package" when it did not get that far → what it printed
const cutOff = new Map(); // package → the top-level tests that ran when its time was over
const name = (e) => `${e.Package} ${e.Test}`;

// A subtest's lines belong to its parents too: a parent fails after its subtests.
function tell(key) {
  process.stdout.write((said.get(key) ?? []).join(''));
  said.delete(key);
}

function noteFailure(what, key) {
  failed.set(what, (failed.get(what) ?? '') + (said.get(key) ?? []).join(''));
}

for await (const line of createInterface({ input: process.stdin })) {
  let e;
  try {
    e = JSON.parse(line);
  } catch {
    console.log(line); // from the go command itself
    continue;
  }
  switch (e.Action) {
    case 'build-output':
      process.stdout.write(e.Output);
      break;
    case 'output': {
      // "panic: test timed out after 12m0s", "	running tests:", "		TestX/part (11m3s)", and goroutines
      if (/^panic: test timed out/.test(e.Output)) cutOff.set(e.Package, new Set());
      const running = /^\t+(Test[^/ ]*)\S* \(.*\)$/.exec(e.Output.trimEnd());
      if (running) cutOff.get(e.Package)?.add(running[1]);
      if (!e.Test) {
        if (e.Output !== 'PASS\n' && e.Output !== 'FAIL\n') process.stdout.write(e.Output);
      } else if (!/^=== (RUN|PAUSE|CONT|NAME)/.test(e.Output)) {
        const key = name(e);
        const before = said.get(key) ?? [];
        if (before.length < 4000) said.set(key, [...before, e.Output]); // the goroutines of a timeout are many
      }
      break;
    }
    case 'pass':
    case 'skip':
      if (e.Test) {
        sums[e.Action]++;
        // A race is reported within whatever test ran then, and failed in another.
        if (/DATA RACE/.test(said.get(name(e)))) tell(name(e));
        said.delete(name(e));
      }
      break;
    case 'fail':
      if (e.Test) {
        sums.fail++;
        failedIn.add(e.Package);
        // A race that was seen once is there: without a name nobody tries it again.
        noteFailure(/race detected|DATA RACE/.test(said.get(name(e))) ? e.Package : `${e.Package} ${e.Test.split('/')[0]}`, name(e));
        tell(name(e));
        break;
      }
      for (const key of said.keys()) { // those that a panic or the timeout cut off
        if (key.startsWith(`${e.Package} `)) tell(key);
      }
      for (const test of cutOff.get(e.Package) ?? []) {
        console.log(`--- FAIL: ${test} (still running when the time of ${e.Package} was over)`);
        sums.fail++;
        failedIn.add(e.Package);
        noteFailure(`${e.Package} ${test}`, `${e.Package} ${test}`);
      }
      if (!failedIn.has(e.Package)) { // it did not build, or ended early
        sums.fail++;
        noteFailure(e.Package, name(e));
      }
      break;
  }
}
writeFileSync(process.argv[2], `${sums.pass} ${sums.fail} ${sums.skip}\n`);
if (process.argv[3]) {
  writeFileSync(process.argv[3], [...failed.keys()].map((f) => `${f}\n`).join(''));
  [...failed.values()].forEach((text, i) => writeFileSync(`${process.argv[3]}.${i + 1}`, text));
}
