// How the connection is, and how long the session lasts.
import { disable, meter, refs, setText, span } from '../dom.js';

const KEPT_POINTS = 40;
const PING_EVERY_MS = 5000;

export function connection(root, client, { tick }) {
  const ui = refs(root);
  const line = ui.spark.firstElementChild;
  const latencies = [];
  let ttlMs = 0;
  let endsAt = 0; // in this machine's clock
  let pingedAt = 0;

  const ping = async () => {
    pingedAt = Date.now();
    await client.ask('session:ping').catch(() => {});
  };

  client.on('state', ({ transport, status }) => {
    const away = status === 'offline';
    disable(ui.drop, status !== 'connected');
    ui.toggle.textContent = away ? 'Connect' : 'Disconnect';
    disable(ui.toggle, status === 'ended');
    ui.transport.textContent = transport || '–';
    disable(ui.ping, status !== 'connected');
  });
  client.on('session', (session) => { // again when roles have changed
    ui.node.textContent = ui.node.title = session.node || '–';
    ttlMs = session.ttlMs;
    endsAt = Date.now() + (session.expiresAt - session.serverTime);
  });
  client.on('welcome', ({ recovered }) => {
    setText(ui.recovery, recovered ? 'recovered' : 'new');
    if (!recovered) ping();
  });
  client.on('session:expiring', ({ expiresInMs }) => { endsAt = Date.now() + expiresInMs; });
  client.on('asked', ({ event, ok, ms }) => {
    if (!ok) return;
    endsAt = Date.now() + ttlMs; // what was admitted is activity, and slides the session
    if (event !== 'session:ping') return;
    latencies.push(ms);
    if (latencies.length > KEPT_POINTS) latencies.shift();
    ui.latency.textContent = `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
    draw();
  });

  function draw() {
    const top = Math.max(...latencies) || 1;
    const step = 120 / Math.max(1, KEPT_POINTS - 1);
    line.setAttribute('points', latencies.map((ms, i) => `${(i * step).toFixed(1)},${(26 - (ms / top) * 24).toFixed(1)}`).join(' '));
  }

  ui.ping.addEventListener('click', ping);
  ui.drop.addEventListener('click', () => client.drop());
  ui.toggle.addEventListener('click', () => (client.state.status === 'offline' ? client.reconnect() : client.leave()));
  ui.ways.addEventListener('change', () => client.reconnect({ transports: ui.ways.value.split(' ') }));
  ui.slow.addEventListener('change', () => {
    ui.ways.disabled = ui.slow.checked;
    client.reconnect({ slow: ui.slow.checked, transports: ui.ways.value.split(' ') });
  });
  tick(() => {
    if (!endsAt) return;
    const left = endsAt - Date.now();
    setText(ui.ttl, span(left));
    meter(ui.ttlBar, left / ttlMs);
    ui.ttlBar.toggleAttribute('data-low', left < ttlMs / 10);
    if (ui.keep.checked && client.state.status === 'connected' && Date.now() - pingedAt >= PING_EVERY_MS) ping();
  });
}
