// A folder of examples/ as a stranger uses it: the lines of its README, in a copy of it.
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { guard } from './guard.js';
import { until } from './wait.js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const binary = process.env.TEST_GATEWAY_BIN ?? here('../../../bin/gateway');

/** openExample copies a folder of examples/, with its packages, which are installed where they are missing. */
export async function openExample(name) {
  const source = here(`../../../examples/${name}`);
  const folder = await mkdtemp(join(tmpdir(), `example-${name}-`));
  await cp(source, folder, { recursive: true, filter: (path) => !path.includes('node_modules') });
  if (existsSync(join(source, 'node_modules'))) await symlink(join(source, 'node_modules'), join(folder, 'node_modules')); // make has installed them
  const example = new Example(folder, await readFile(join(folder, 'README.md'), 'utf8'));
  const [install] = example.lines('npm ci');
  if (!existsSync(join(folder, 'node_modules'))) await example.run(install);
  return example;
}

class Example {
  #programs = [];

  constructor(folder, readme) {
    this.folder = folder;
    this.readme = readme;
    this.env = { ...process.env, PATH: `${dirname(binary)}${delimiter}${process.env.PATH}` };
  }

  get #shell() {
    return [...this.readme.matchAll(/^```sh\n([^]*?)^```/gm)].flatMap(([, block]) => block.trim().split('\n'));
  }

  /** lines gives the lines of the README's shell blocks that begin with a text; there is at least one. */
  lines(start) {
    const lines = this.#shell.filter((line) => line.startsWith(start));
    if (lines.length === 0) throw new Error(`the README has no line that begins with: ${start}`);
    return lines;
  }

  /** linesBefore gives the lines of the shell blocks before the first that begins with a text. */
  linesBefore(start) {
    const end = this.#shell.findIndex((line) => line.startsWith(start));
    if (end < 1) throw new Error(`the README has no line before one that begins with: ${start}`);
    return this.#shell.slice(0, end);
  }

  /** run runs a line in the folder, with replacements in it that must occur, and gives what it printed. */
  async run(line, replacements = {}) {
    for (const [from, to] of Object.entries(replacements)) {
      if (!line.includes(from)) throw new Error(`"${line}" has no ${from}`);
      line = line.replaceAll(from, to);
    }
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', line], { cwd: this.folder, env: this.env, timeout: 100_000 });
    return stdout;
  }

  /** serveFlags gives the flags of the README's "gateway serve", but --redis, with files of the folder and free ports. */
  serveFlags() {
    const [line] = this.lines('gateway serve');
    return line.replace(/ --redis \S+/, '').split(' ').slice(2)
      .map((word, i, words) => (words[i - 1]?.endsWith('-file') ? join(this.folder, word) : word.replace(/^127\.0\.0\.1:\d+$/, '127.0.0.1:0')));
  }

  /** start runs what "npm start" runs, and gives its address once it listens. */
  async start(env) {
    this.lines('npm start');
    const { scripts } = JSON.parse(await readFile(join(this.folder, 'package.json'), 'utf8'));
    const [program, ...args] = scripts.start.split(' ');
    const child = spawn(program, args, { cwd: this.folder, env: { ...this.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#programs.push({ child, unguard: guard(child) });
    this.log = '';
    for (const out of [child.stdout, child.stderr]) out.on('data', (d) => { this.log += d; });
    return until(() => {
      if (child.exitCode !== null) throw new Error(`"${scripts.start}" ended:\n${this.log}`);
      return /^listening on (http:\/\/\S+)$/m.exec(this.log)?.[1];
    }, `"${scripts.start}" to listen`, 20_000);
  }

  async close() {
    for (const { child, unguard } of this.#programs) {
      const gone = new Promise((done) => (child.exitCode === null ? child.once('exit', done) : done()));
      child.kill('SIGKILL');
      await gone;
      unguard();
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}
