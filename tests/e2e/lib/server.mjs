// SPDX-License-Identifier: Apache-2.0
// server — starts, watches, stops and kills one tallyd process.
//
// Owns: the process, its temporary directory, its standard error. The kernel
// ends the server with this process (setpriv), so none survives a failing or
// killed test.

import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { storeOf } from './store.mjs';
import { onFailure, within } from './tap.mjs';

const ROOT = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)), '../../..');
const START_SECONDS = 20;
const STDERR_CAP = 64 * 1024 * 1024;
const STDERR_TAIL = 1500;
const SANITIZER = /WARNING: ThreadSanitizer|ERROR: \w+Sanitizer|runtime error:/;
const CLOCK_TICK = 100; // USER_HZ, fixed by the kernel's ABI

const running = new Set();
const directories = new Set();

process.on('exit', () => {
  for (const server of running) server.child.kill('SIGKILL');
  for (const dir of directories) rmSync(dir, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}
onFailure(() => [...running].map((server) => server.news()).join('\n'));

export function binaryPath() {
  return path.resolve(ROOT, process.env.TALLYD || 'build/tallyd');
}

export function protoPath() {
  return path.join(ROOT, 'proto/sync.proto');
}

export function temporaryDirectory() {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'tallyd-e2e-'));
  directories.add(dir);
  return dir;
}

/** A server on this port, or null when somebody has it. */
function hold(port) {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', (error) => (
      error.code === 'EADDRINUSE' ? resolve(null) : reject(error)));
    probe.listen(port, '127.0.0.1', () => resolve(probe));
  });
}

/** As tests/lib/ports.py, which tells why. */
const [FIRST_PORT, LAST_PORT] = (process.env.TEST_PORTS ?? '10000-29999')
  .split('-').map(Number);
let nextPort = process.env.TEST_PORTS
  ? FIRST_PORT : randomInt(FIRST_PORT, LAST_PORT);

/** Ports that are free and differ: all are held before any is let go. */
async function freePorts(count) {
  const probes = [];
  while (probes.length < count) {
    const probe = await hold(nextPort);
    nextPort = nextPort < LAST_PORT ? nextPort + 1 : FIRST_PORT;
    if (probe) probes.push(probe);
  }
  return Promise.all(probes.map((probe) => new Promise((resolve) => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  })));
}

export async function freePort() {
  const [port] = await freePorts(1);
  return port;
}

/**
 * What to spawn so that the program ends with this process: [file, args]. It
 * becomes `user` first, if given: the kernel forgets the rest when it does.
 */
export function endingWithUs(program, args = [], user = undefined) {
  const setpriv = '/usr/bin/setpriv';
  if (!existsSync(setpriv)) return [program, args];
  const become = user ? ['--reuid', user, '--regid', user, '--init-groups',
    setpriv] : [];
  return [setpriv, [...become, '--pdeathsig', 'KILL', program, ...args]];
}

export class Server {
  /** Servers of one `dir`, or one `store`, share their records. */
  constructor({
    env = {}, dir, store, port, binary = binaryPath(), args = [],
  } = {}) {
    this.extra = env;
    this.binary = binary;
    this.args = args;
    this.dir = dir ?? temporaryDirectory();
    this.store = store ?? storeOf(this.dir);
    this.port = port;
    this.stderr = '';
  }

  get address() {
    return `127.0.0.1:${this.port}`;
  }

  get webAddress() {
    return `127.0.0.1:${this.webPort}`;
  }

  get pid() {
    return this.child.pid;
  }

  tail() {
    return this.stderr.slice(-STDERR_TAIL);
  }

  /** What it wrote since this was last asked, the end of it. */
  news() {
    const text = this.stderr.slice(this.told);
    this.told = this.stderr.length;
    // A sanitizer begins with what is wrong.
    const report = text.search(SANITIZER);
    return text && `stderr of ${this.pid}: …${report < 0
      ? text.slice(-STDERR_TAIL) : text.slice(report, report + STDERR_TAIL)}`;
  }

  async environment() {
    const [port, webPort] = await freePorts(2);
    this.port ??= port;
    this.webPort ??= webPort;
    return {
      PATH: process.env.PATH,
      ...pick(process.env, ['ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS',
        'LSAN_OPTIONS', 'LLVM_PROFILE_FILE']),
      // Else only root may look at what it has open.
      CORE_DUMPS: 'on',
      GRPC_LISTEN_ADDRESS: this.address,
      GRPC_WEB_LISTEN_ADDRESS: this.webAddress,
      METRICS_LISTEN_ADDRESS: 'off',
      ...await this.store.env(),
      ...this.extra,
    };
  }

  /** Starts the process without waiting for it to serve. */
  async launch() {
    const [file, args] = endingWithUs(this.binary, this.args);
    this.stderr = '';
    this.serving = false;
    this.told = 0;
    const child = spawn(file, args, {
      env: await this.environment(), stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.child = child;
    running.add(this);
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => resolve({ error }));
      child.once('close', (code, signal) => resolve({ code, signal }));
    }).then((end) => {
      running.delete(this);
      return end;
    });
    this.listening = new Promise((resolve) => {
      child.stderr.setEncoding('utf8');
      child.stderr.on('data', (text) => {
        if (this.stderr.length < STDERR_CAP) this.stderr += text;
        // Once: to search all that a busy server says would take long.
        if (!this.serving && this.stderr.includes('Server listening at')) {
          this.serving = true;
          resolve(true);
        }
      });
    });
    return this;
  }

  /** Starts the process and waits until it serves. */
  async start() {
    await this.launch();
    const first = await within(START_SECONDS, 'Server listening at',
      Promise.race([this.listening, this.exited]));
    if (first === true) {
      await this.reachable();
      return this;
    }
    throw new Error(
      `server ended at start: ${JSON.stringify(first)}\n${this.tail()}`);
  }

  /** data-sync writes its line before it accepts; a connection settles it. */
  async reachable() {
    await new Promise((resolve, reject) => {
      const socket = net.connect(this.port, '127.0.0.1');
      socket.once('error', reject);
      socket.once('connect', () => socket.destroy(resolve()));
    });
  }

  /** Sends a signal and waits for the end: {code, signal}. */
  async stop(signal = 'SIGTERM', seconds = 15) {
    if (!running.has(this)) return this.exited;
    this.child.kill(signal);
    return within(seconds, `end after ${signal}`, this.exited);
  }

  kill() {
    return this.stop('SIGKILL');
  }

  async restart(env) {
    if (env) this.extra = { ...this.extra, ...env };
    if (running.has(this)) await this.stop();
    return this.start();
  }

  /** Resident set in bytes. */
  rss() {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) * 1024;
  }

  /** User and system CPU time in seconds. */
  cpu() {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICK;
  }
}

function pick(source, names) {
  return Object.fromEntries(
    names.filter((name) => name in source).map((name) => [name, source[name]]));
}

export async function startServer(options) {
  return new Server(options).start();
}
