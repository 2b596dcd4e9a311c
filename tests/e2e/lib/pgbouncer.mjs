// SPDX-License-Identifier: Apache-2.0
// pgbouncer — a private one before a PostgreSQL of the tests, handing each
// transaction to whichever connection is free.
//
// Ends with this process, as servers do. It will not run as root, so then it
// runs as the user who owns the database.

import { execFileSync, spawn } from 'node:child_process';
import { chownSync, existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { endingWithUs, freePort, temporaryDirectory } from './server.mjs';
import { within } from './tap.mjs';

const PROGRAM = '/usr/sbin/pgbouncer';
const OWNER = 'postgres';
const SECONDS = 10;

export function withoutPgbouncer() {
  return existsSync(PROGRAM) ? undefined : 'pgbouncer is not installed';
}

function idOf(option) {
  return Number(execFileSync('id', [option, OWNER]));
}

const ROOT = process.getuid() === 0;

export class Pgbouncer {
  /** Before the server of `url`, with so many connections to it. */
  static async start(url, { connections = 4 } = {}) {
    const bouncer = new Pgbouncer();
    const { hostname, port, username, password } = new URL(url);
    bouncer.url = new URL(url);
    bouncer.url.port = await freePort();
    const dir = temporaryDirectory();
    const users = path.join(dir, 'users');
    const settings = path.join(dir, 'pgbouncer.ini');
    writeFileSync(users, `"${username}" "${password}"\n`, { mode: 0o600 });
    writeFileSync(settings, `[databases]
* = host=${hostname} port=${port} password=${password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${bouncer.url.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = transaction
default_pool_size = ${connections}
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
server_login_retry = 0.2
`, { mode: 0o600 });
    if (ROOT) {
      for (const file of [dir, users, settings]) {
        chownSync(file, idOf('-u'), idOf('-g'));
      }
    }
    bouncer.settings = settings;
    await bouncer.launch();
    return bouncer;
  }

  async launch() {
    const { settings } = this;
    this.stderr = '';
    const [file, args] = endingWithUs(
      PROGRAM, [settings], ROOT ? OWNER : undefined);
    this.child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const exited = new Promise((resolve) => {
      this.child.once('exit', resolve);
    });
    await within(SECONDS, 'pgbouncer', new Promise((resolve, reject) => {
      exited.then(() => reject(new Error(`pgbouncer: ${this.stderr}`)));
      this.child.stderr.setEncoding('utf8');
      this.child.stderr.on('data', (text) => {
        this.stderr += text;
        if (/process up/.test(this.stderr)) resolve();
      });
    }));
    this.exited = exited;
  }

  /** This database through it. */
  through(url) {
    const whole = new URL(url);
    whole.port = this.url.port;
    return whole.href;
  }

  stop() {
    this.child.kill('SIGKILL');
    return this.exited;
  }
}
