// SPDX-License-Identifier: Apache-2.0
// manager — a tallyd that is started as systemd would: on sockets that are
// there before it and after it, and asked how it is.
//
// tests/lib/manager.py holds the sockets and starts the process; what ends this
// process ends both.

import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Server, binaryPath, endingWithUs } from './server.mjs';
import { atEnd, until, within } from './tap.mjs';

const PROGRAM = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)), '../../lib/manager.py');
const SECONDS = 20;

export class Managed {
  /** `env` and `store` as of a Server. */
  static async start(options) {
    const managed = await Managed.make(options);
    await managed.begin();
    return managed;
  }

  /** The same without a process yet; sockets it has none for it opens. */
  static async make({ names = ['grpc', 'web'], ...options } = {}) {
    const managed = new Managed();
    managed.server = new Server(options);
    const env = await managed.server.environment();
    const args = [PROGRAM, names.join(':'),
      ...endingWithUs(binaryPath()).flat()];
    managed.listenFor(spawn('/usr/bin/python3', args,
      { env, stdio: ['pipe', 'pipe', 'pipe'] }));
    await until(SECONDS, 'its sockets', () => managed.ports);
    managed.port = managed.ports[names.indexOf('grpc')] ?? managed.server.port;
    managed.webPort = managed.ports[names.indexOf('web')]
      ?? managed.server.webPort;
    return managed;
  }

  listenFor(child) {
    this.child = child;
    this.stderr = '';
    this.told = []; // of the process that runs, or ran last
    child.stdin.on('error', () => {});
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text) => { this.stderr += text; });
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { ports, started, told, ended, stuck } = JSON.parse(line);
      this.stuck = stuck ?? this.stuck;
      this.ports ??= ports;
      this.pid = started ?? this.pid;
      if (told) this.told.push(...told.split('\n'));
      this.ended = ended ?? this.ended;
    });
    atEnd(() => child.stdin.end());
  }

  get store() {
    return this.server.store;
  }

  get address() {
    return `127.0.0.1:${this.port}`;
  }

  command(line) {
    this.child.stdin.write(`${line}\n`);
  }

  /** Starts the process and waits until it is READY. */
  async begin() {
    await this.launch();
    await this.hears('READY=1');
  }

  async launch() {
    this.told.length = 0;
    this.ended = this.pid = undefined;
    this.command('start');
    await until(SECONDS, 'its start', () => this.pid);
  }

  /** Stops one thread. Resolves to whether that is allowed here. */
  async stick(thread) {
    this.stuck = undefined;
    this.command(`stick ${thread}`);
    await until(SECONDS, 'its thread to stop', () => this.stuck !== undefined);
    return this.stuck;
  }

  /** Waits until it has told so. */
  hears(what, seconds = SECONDS) {
    return until(seconds, what, () => {
      if (this.ended) {
        throw new Error(`${what}: ${JSON.stringify(this.ended)}\n` +
          this.stderr.slice(-1500));
      }
      return this.told.some((line) => (
        typeof what === 'string' ? line === what : what.test(line)));
    });
  }

  /** Ends it by a signal: {code} or {signal}. */
  async stop(signal = 'SIGTERM', seconds = SECONDS) {
    this.command(signal);
    await until(seconds, `its end by ${signal}`, () => this.ended);
    return this.ended;
  }

  /** As `systemctl restart` does. */
  async restart() {
    const end = await this.stop();
    await this.begin();
    return end;
  }

  /** Ends the process, if it runs, and lets the sockets go. */
  async end() {
    this.child.stdin.end();
    await within(SECONDS, 'the manager\'s end', new Promise((resolve) => {
      if (this.child.exitCode !== null) resolve();
      else this.child.once('exit', resolve);
    }));
  }
}
