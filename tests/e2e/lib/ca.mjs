// SPDX-License-Identifier: Apache-2.0
// ca — certificates and a revocation list, as API keys need them.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { temporaryDirectory } from './server.mjs';

const DAYS = '30';

/** Extensions of a server's certificate. */
export const LOOPBACK = 'subjectAltName=DNS:localhost,IP:127.0.0.1';

function openssl(dir, args) {
  return execFileSync('openssl', args, {
    cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A root and what it issues; certificates are returned as base64 DER. */
export class Authority {
  constructor(name = 'Test Root') {
    this.dir = temporaryDirectory();
    this.issued = 0;
    writeFileSync(path.join(this.dir, 'ca.cnf'),
      'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n');
    this.newKey('ca');
    openssl(this.dir, ['req', '-x509', '-new', '-key', 'ca.key', '-subj',
      `/CN=${name}`, '-days', DAYS, '-out', 'ca.pem',
      '-addext', 'keyUsage=critical,keyCertSign']);
    this.certificate = this.der('ca');
  }

  newKey(name) {
    openssl(this.dir, ['genpkey', '-algorithm', 'EC', '-pkeyopt',
      'ec_paramgen_curve:P-256', '-out', `${name}.key`]);
  }

  der(name) {
    openssl(this.dir, ['x509', '-in', `${name}.pem`, '-outform', 'DER',
      '-out', `${name}.der`]);
    return readFileSync(path.join(this.dir, `${name}.der`))
      .toString('base64');
  }

  /** `by` names an issuer of this directory, `extensions` an OpenSSL text. */
  issue({ serial = 1000 + this.issued, by = 'ca', extensions } = {}) {
    const name = `client${this.issued}`;
    this.issued += 1;
    this.newKey(name);
    openssl(this.dir, ['req', '-new', '-key', `${name}.key`, '-subj',
      `/CN=${name}`, '-out', `${name}.csr`]);
    const more = [];
    if (extensions) {
      writeFileSync(path.join(this.dir, `${name}.cnf`), extensions);
      more.push('-extfile', `${name}.cnf`);
    }
    openssl(this.dir, ['x509', '-req', '-in', `${name}.csr`, '-CA',
      `${by}.pem`, '-CAkey', `${by}.key`, '-set_serial', String(serial),
      '-out', `${name}.pem`, '-days', DAYS, ...more]);
    return { name, key: this.der(name) };
  }

  /** Where issue() left what it made, as PEM. */
  files(name) {
    const file = (suffix) => path.join(this.dir, name + suffix);
    return { cert: file('.pem'), key: file('.key') };
  }

  /** What peers of those it issued for are to trust. */
  get pem() {
    return readFileSync(path.join(this.dir, 'ca.pem'));
  }

  /** One whose time is over. */
  issueExpired() {
    return this.issueBetween('20200101000000Z', '20200201000000Z');
  }

  /** Only `openssl ca` takes dates other than today. */
  issueBetween(start, end) {
    const { name } = this.issue();
    writeFileSync(path.join(this.dir, 'index.txt'), '');
    writeFileSync(path.join(this.dir, 'serial.txt'), '0999');
    writeFileSync(path.join(this.dir, 'past.cnf'),
      '[ca]\ndefault_ca=past\n[past]\ndatabase=index.txt\n' +
      'serial=serial.txt\ndefault_md=sha256\npolicy=any\n' +
      '[any]\ncommonName=supplied\n');
    openssl(this.dir, ['ca', '-batch', '-config', 'past.cnf', '-notext',
      '-cert', 'ca.pem', '-keyfile', 'ca.key', '-outdir', '.',
      '-in', `${name}.csr`, '-out', `${name}.pem`,
      '-startdate', start, '-enddate', end]);
    return { name, key: this.der(name) };
  }
}

/** Serves `answer` = {status, body}; counts the requests. */
export class RevocationList {
  constructor(body = '') {
    this.answer = { status: 200, body };
    this.asked = 0;
    this.waiting = [];
    this.server = http.createServer((_, response) => {
      this.asked += 1;
      for (const wake of this.waiting.splice(0)) wake();
      if (this.answer.hang) return;
      response.writeHead(this.answer.status,
        { 'content-type': 'text/plain', connection: 'close' });
      response.end(this.answer.body);
    });
  }

  async start() {
    await new Promise((resolve) => {
      this.server.listen(0, '127.0.0.1', resolve);
    });
    this.url = `http://127.0.0.1:${this.server.address().port}/crl`;
    return this;
  }

  /** Settles when the list has been asked for `times` more. */
  async fetched(times = 1) {
    const goal = this.asked + times;
    while (this.asked < goal) {
      await new Promise((resolve) => { this.waiting.push(resolve); });
    }
  }

  stop() {
    this.server.closeAllConnections?.();
    this.server.close();
  }
}
