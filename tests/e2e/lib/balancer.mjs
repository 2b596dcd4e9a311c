// SPDX-License-Identifier: Apache-2.0
// balancer — a TCP load balancer that counts how often each client connects.
//
// Each client gets a port of its own (`door`). Its connections go to the
// instances that /health finds well, in turn, and of those to the newest only:
// a client that has to leave an old one must not come to the next that goes.
// With `sticky` a client's go to one instance, always.

import http from 'node:http';
import net from 'node:net';
import { pause } from './load.mjs';

const CHECK_MS = 25;
const CHECK_SECONDS = 1;

/** Whether its /health says OK. */
function isWell({ webPort }) {
  return new Promise((resolve) => {
    const request = http.get(
      { host: '127.0.0.1', port: webPort, path: '/health', agent: false,
        timeout: CHECK_SECONDS * 1000 },
      (reply) => {
        reply.resume();
        resolve(reply.statusCode === 200);
      });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

function connected(port) {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}

/** Joins two sockets until one of them ends. */
function join(one, other) {
  for (const [from, to] of [[one, other], [other, one]]) {
    from.on('error', () => {});
    from.on('close', () => to.destroy());
    from.pipe(to);
  }
}

/** A client's way in. */
class Door {
  constructor(balancer, number) {
    this.balancer = balancer;
    this.number = number;
    this.connects = 0; // that it made
    this.refused = 0; // … and found nobody who took them
    this.sockets = new Set();
    this.listener = net.createServer({ noDelay: true }, (client) => {
      this.connects += 1;
      this.sockets.add(client);
      client.once('close', () => this.sockets.delete(client));
      client.on('error', () => {});
      this.bring(client);
    });
  }

  async open() {
    await new Promise((resolve) => {
      this.listener.listen(0, '127.0.0.1', resolve);
    });
    this.address = `127.0.0.1:${this.listener.address().port}`;
    return this;
  }

  /** To an instance; to the next, when that one takes nobody any more. */
  async bring(client) {
    for (const instance of this.balancer.inTurn(this.number)) {
      const server = await connected(instance.port);
      if (server) {
        join(client, server);
        return;
      }
      instance.well = false;
    }
    this.refused += 1;
    client.destroy();
  }

  close() {
    this.listener.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

export class Balancer {
  /** Without `checks` every instance is taken to be well, always. */
  constructor({ checks = true, sticky = false } = {}) {
    this.checks = checks;
    this.sticky = sticky;
    this.instances = [];
    this.doors = [];
    this.turn = 0;
  }

  async door() {
    const door = new Door(this, this.doors.length);
    this.doors.push(door);
    return door.open();
  }

  /** `generation`: the higher, the newer. */
  add({ port, webPort }, generation = 0) {
    const instance = { port, webPort, generation, well: !this.checks };
    this.instances.push(instance);
    if (this.checks) this.watch(instance);
    return instance;
  }

  remove(instance) {
    instance.gone = true;
    this.instances = this.instances.filter((other) => other !== instance);
  }

  async watch(instance) {
    while (!instance.gone) {
      instance.well = await isWell(instance);
      await pause(CHECK_MS);
    }
  }

  /** Whom to try, in this order: the newest by turns, then the others. */
  inTurn(number) {
    const well = this.instances.filter((instance) => instance.well);
    this.turn += 1;
    const at = (this.sticky ? number : this.turn) % (well.length || 1);
    return [...well.slice(at), ...well.slice(0, at)]
      .sort((one, other) => other.generation - one.generation);
  }

  close() {
    for (const instance of this.instances) instance.gone = true;
    for (const door of this.doors) door.close();
  }
}
