// A TCP relay between clients and a gateway, whose link can be cut.
import { connect, createServer } from 'node:net';

export class Relay {
  #server;
  #target;
  #isCut = false;
  #pairs = new Set(); // [client's socket, gateway's socket]
  #sockets = new Set(); // all that are open, also those whose other end is gone

  /** start gives a relay to a gateway's URL. */
  static async start(url) {
    const relay = new Relay();
    relay.pointTo(url);
    relay.#server = createServer((client) => relay.#carry(client));
    await new Promise((ok) => relay.#server.listen(0, '127.0.0.1', ok));
    relay.url = `http://127.0.0.1:${relay.#server.address().port}`;
    return relay;
  }

  /** pointTo leads new connections to another gateway. */
  pointTo(url) {
    this.#target = new URL(url);
  }

  /** cut ends all connections at both ends, and refuses new ones until mend. */
  cut() {
    this.#isCut = true;
    for (const pair of this.#pairs) pair.forEach((s) => s.destroy());
  }

  /** vanish cuts so that the gateway sees nothing of it. */
  vanish() {
    this.#isCut = true;
    for (const [client, gateway] of this.#pairs) {
      client.unpipe(gateway);
      gateway.unpipe(client);
      gateway.pause();
      client.destroy();
    }
    this.#pairs.clear();
  }

  mend() {
    this.#isCut = false;
  }

  async stop() {
    this.cut();
    this.#sockets.forEach((s) => s.destroy());
    await new Promise((done) => this.#server.close(done));
  }

  #carry(client) {
    this.#note(client);
    if (this.#isCut) {
      client.destroy();
      return;
    }
    const gateway = connect(Number(this.#target.port), this.#target.hostname);
    this.#note(gateway);
    client.setNoDelay(true);
    gateway.setNoDelay(true);
    const pair = [client, gateway];
    this.#pairs.add(pair);
    client.pipe(gateway);
    gateway.pipe(client);
    client.on('close', () => {
      if (this.#pairs.delete(pair)) gateway.destroy();
    });
    gateway.on('close', () => {
      this.#pairs.delete(pair);
      client.end();
      client.resume(); // what it still sends is for nobody
    });
  }

  #note(socket) {
    this.#sockets.add(socket);
    socket.on('error', () => {}); // the end follows
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
