// Tabs of a browser: official clients of several versions, in a process that can be frozen.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { contractOf } from './contract.js';
import { guard } from './guard.js';
import { WAYS } from './player.js';
import { until } from './wait.js';

const script = fileURLToPath(new URL('tabs.mjs', import.meta.url));

/** Every version of the official client that has connection state recovery. */
export const VERSIONS = [
  { version: '4.6', package: 'socket.io-client-4.6' },
  { version: '4.7', package: 'socket.io-client-4.7' },
  { version: '4.8', package: 'socket.io-client' },
];

/** EVERY_TAB is each version over each way. */
export const EVERY_TAB = VERSIONS.flatMap((v) => WAYS.map((w) => ({ ...v, ...w })));

export class Tabs {
  /** open starts a client for each of EVERY_TAB at its URL, and waits until all are in the channels. */
  static async open(urls, sessions, channels) {
    const tabs = new Tabs();
    const contract = contractOf(sessions.gateway.url);
    tabs.all = EVERY_TAB.map((tab, i) => ({ ...tab, user: sessions.users[i], events: [] }));
    const task = { channels, tabs: tabs.all.map(({ package: p, transports }, i) => ({ package: p, transports, url: urls[i], sessionId: sessions.ids[i] })) };
    tabs.child = spawn(process.execPath, ['--no-warnings', script, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'inherit'] });
    tabs.unguard = guard(tabs.child);
    createInterface({ input: tabs.child.stdout }).on('line', (line) => {
      const [index, kind, ...rest] = JSON.parse(line);
      tabs.all[index].events.push({ kind, rest });
      if (kind === 'heard') contract?.heard(rest[0], rest.slice(1));
    });
    await until(() => tabs.all.every((t) => t.events.some((e) => e.kind === 'joined')), 'all tabs to join');
    return tabs;
  }

  freeze() {
    this.child.kill('SIGSTOP');
  }

  thaw() {
    this.child.kill('SIGCONT');
  }

  async close() {
    const gone = new Promise((done) => this.child.once('exit', done));
    this.child.kill('SIGKILL');
    await gone;
    this.unguard();
  }
}

/** connects gives [{recovered, id}] of a tab. */
export const connects = (tab) => tab.events.filter((e) => e.kind === 'connect').map(({ rest: [recovered, id] }) => ({ recovered, id }));

/** texts gives what a tab heard in channels and whispers, in order. */
export const texts = (tab) => tab.events
  .filter((e) => e.kind === 'heard' && ['chat:message', 'chat:whisper'].includes(e.rest[0]))
  .map((e) => e.rest[1].text);
