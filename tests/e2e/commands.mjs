// SPDX-License-Identifier: Apache-2.0
// commands — the command line itself: words and options, help, the manual,
// completion; and what `tallyd check` says of which fault.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { Authority, LOOPBACK, RevocationList } from './lib/ca.mjs';
import { run, succeed } from './lib/command.mjs';
import { DataSync } from './lib/datasync.mjs';
import {
  binaryPath, freePort, protoPath, temporaryDirectory,
} from './lib/server.mjs';
import { POSTGRES, storeOf } from './lib/store.mjs';
import { atEnd, skip, suite, test } from './lib/tap.mjs';

const ROOT = path.dirname(path.dirname(protoPath()));
const MANUAL = path.join(ROOT, 'docs/tallyd.8');
const COMPLETION = path.join(ROOT, 'deploy/completion/tallyd');

const COMMANDS = ['serve', 'check', 'migrate', 'backup', 'export', 'import',
  'stats', 'purge-user'];

// ---- words ----

async function helpCases() {
  await test('--help names every command', async () => {
    const { out } = await succeed(['--help'], {});
    assert.deepEqual(out.match(/^ {2}[a-z][^ ]*/gm)
      .map((name) => name.trim()), COMMANDS);
  });
  for (const command of COMMANDS) {
    await test(`${command} --help`, async () => {
      const { out, err } = await succeed([command, '--help'], {});
      assert.match(out, new RegExp(`^Usage: tallyd ${command}`));
      assert.equal(err, '');
      for (const line of out.split('\n')) assert.ok(line.length <= 80, line);
    });
  }
  await test('--version', async () => assert.match(
    (await succeed(['--version'], {})).out, /^tallyd \d+\.\d+\.\d+\n$/));
}

async function usageCases() {
  const rows = [
    [['nothing'], /nothing is not a command/],
    [['--nothing'], /--nothing is not a command/],
    [['--help', 'more'], /--help is not a command/],
    [['serve', 'more'], /more is too much/],
    [['export', 'file'], /file is too much/],
    [['export', '--json'], /--json is not an option/],
    [['import', '--dry-run=1'], /--dry-run=1 is not an option/],
    [['stats', '--top'], /--top wants a value/],
    [['stats', '--top', '-1'], /--top wants a number/],
    [['stats', '--top', '1001'], /--top wants a number/],
    [['stats', '--top', 'x'], /--top wants a number/],
    [['backup'], /FILE is missing/],
    [['backup', 'one', 'two'], /two is too much/],
    [['purge-user'], /ID is missing/],
    [['purge-user', '--yes'], /ID is missing/],
  ];
  for (const [args, said] of rows) {
    await test(`${args.join(' ')} is a wrong command line`, async () => {
      const { code, out, err } = await run(args, {});
      assert.equal(code, 2, err);
      assert.equal(out, '');
      assert.match(err, said);
      assert.match(err, /--help/);
    });
  }
  await test('a wrong configuration is told by a command, too', async () => {
    const { code, err } = await run(['stats'], { SHARDS: 'many' });
    assert.equal(code, 1);
    assert.match(err, /^tallyd stats: SHARDS must be/);
  });
  await test('what cannot be written is told', async () => {
    const { status, stderr } = spawnSync('/bin/sh',
      ['-c', `'${binaryPath()}' check > /dev/full`],
      { env: { ...process.env, SQLITE_DIR_PATH: temporaryDirectory() } });
    assert.equal(status, 1);
    assert.match(stderr.toString(), /standard output/);
  });
}

/** The database's socket, or its lock's file, would have their numbers. */
async function closedCases() {
  const store = storeOf(temporaryDirectory());
  const env = { ...process.env, ...await store.env() };
  await succeed(['migrate'], await store.env());
  for (const [line, said] of [
    ['export >&-', /standard output: Bad file descriptor/],
    ['export <&- >&-', /standard output: Bad file descriptor/],
    ['import <&-', /standard input: Bad file descriptor/]]) {
    await test(`${line} has nowhere to go`, async () => {
      const { status, stderr } = spawnSync(
        '/bin/sh', ['-c', `'${binaryPath()}' ${line}`], { env });
      assert.equal(status, 1);
      assert.match(stderr.toString(), said);
    });
  }
}

/** Has bash complete the words; gives what it offers, sorted. */
function completed(words, cwd = ROOT) {
  const bin = temporaryDirectory();
  symlinkSync(binaryPath(), path.join(bin, 'tallyd'));
  const script = `. '${COMPLETION}'; COMP_WORDS=("$@"); ` +
    'COMP_CWORD=$(($# - 1)); _tallyd tallyd; printf \'%s\\n\' ' +
    '"${COMPREPLY[@]}"';
  return execFileSync('bash', ['-c', script, 'bash', 'tallyd', ...words], {
    cwd, env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
  }).toString().trim().split('\n').sort();
}

async function completionCases() {
  const dir = temporaryDirectory();
  writeFileSync(path.join(dir, 'copy one'), '');
  const rows = [
    [[''], [...COMMANDS, '--help', '--version'].sort()],
    [['im'], ['import']],
    [['--v'], ['--version']],
    [['stats', ''], ['--help', '--json', '--top']],
    [['purge-user', '--y'], ['--yes']],
    [['backup', '--'], ['--force', '--help']],
    [['backup', 'co'], ['copy one']],
    [['nothing', ''], ['']],
  ];
  for (const [words, offered] of rows) {
    await test(`bash completes "${words.join(' ')}"`, () =>
      assert.deepEqual(completed(words, dir), offered));
  }
}

async function manualCases() {
  const text = readFileSync(MANUAL, 'utf8').replaceAll('\\-', '-');
  await test('the manual has every command and option', async () => {
    for (const command of COMMANDS) {
      assert.match(text, new RegExp(`^\\.BR? ${command}\\b`, 'm'), command);
      const { out } = await succeed([command, '--help'], {});
      for (const option of out.match(/^ {2}--[a-z-]+/gm)) {
        assert.ok(text.includes(option.trim()), `${command} ${option}`);
      }
    }
  });
  for (const [program, args] of [
    ['man', ['--warnings', '-l', MANUAL]],
    ['mandoc', ['-T', 'lint', '-W', 'warning', MANUAL]]]) {
    const name = `${program} has no complaint of the manual`;
    const { error, status, stdout, stderr } = spawnSync(program, args,
      { env: { ...process.env, MANWIDTH: '80', LC_ALL: 'C.UTF-8' } });
    if (error) {
      skip(name, `${program} is not installed`);
      continue;
    }
    await test(name, () => {
      assert.equal(status, 0, stdout.toString());
      assert.equal(stderr.toString(), '');
    });
  }
}

// ---- check ----

/** Everything below a directory, with what is in it. */
function everything(dir) {
  return existsSync(dir) ? readdirSync(dir, { recursive: true }).sort() : null;
}

/** Rows of [name, environment, exit status, what is said]. */
async function checkTable(rows) {
  for (const [name, env, code, ...said] of rows) {
    await test(`check: ${name}`, async () => {
      const end = await run(['check'], env);
      const dir = env.SQLITE_DIR_PATH;
      assert.equal(end.code, code, end.out + end.err);
      for (const pattern of said) assert.match(end.out, pattern);
      assert.doesNotMatch(end.out + end.err, /secret/);
      if (dir) assert.doesNotMatch(end.out + end.err, new RegExp(dir));
      if (code) assert.match(end.err, /^tallyd check: it would not serve$/m);
    });
  }
}

function tlsRows(ca, env) {
  const good = ca.files(ca.issue({ extensions: LOOPBACK }).name);
  const other = ca.files(ca.issue({ extensions: LOOPBACK }).name);
  const old = ca.files(ca.issueExpired().name);
  const early = ca.files(
    ca.issueBetween('20490101000000Z', '20490201000000Z').name);
  const day = 86400000;
  const date = (days) => `${new Date(Date.now() + days * day).toISOString()
    .replaceAll(/[-:T]/g, '').slice(0, 14)}Z`;
  const soon = ca.files(ca.issueBetween(date(-2), date(5)).name);
  const tls = ({ cert, key }) => (
    { ...env, TLS_CERT_FILE: cert, TLS_KEY_FILE: key });
  return [
    ['a certificate', tls(good), 0, /^ok +TLS.*for (29|30) more days$/m],
    ['another certificate\'s key', tls({ cert: good.cert, key: other.key }),
      1, /^FAIL +TLS/m],
    ['a certificate that is over', tls(old), 1, /^FAIL +TLS.*expired/m],
    ['a certificate that is soon over', tls(soon), 0,
      /^warn +TLS.*for [45] more days$/m],
    ['a certificate of the future', tls(early), 1,
      /^FAIL +TLS.*not valid yet/m],
    ['no certificate there', tls({ cert: '/nowhere', key: '/nowhere' }), 1,
      /^FAIL +TLS/m],
    ['a CA of clients that is none',
      { ...tls(good), TLS_CLIENT_CA_FILE: good.key }, 1, /^FAIL +TLS/m],
  ];
}

async function apiKeyRows(ca, env) {
  const list = await new RevocationList('1,2,3').start();
  const page = await new RevocationList('<html>').start();
  atEnd(() => { list.stop(); page.stop(); });
  const away = `http://secret:secret@127.0.0.1:${await freePort()}/`;
  const with_ = (more) => ({ ...env, CA_CERT: ca.certificate, ...more });
  return [
    ['a CA', with_({}), 0, /^ok +CA of API keys: valid for (29|30) more/m],
    ['a CA that is none', { ...env, CA_CERT: 'aGVsbG8=' }, 1,
      /^FAIL +API keys: CA_CERT/m],
    ['a CA that is over', { ...env, CA_CERT: ca.issueExpired().key }, 1,
      /^FAIL +CA of API keys: expired/m],
    ['a revocation list', with_({ CRL_URL: list.url }), 0,
      /^ok +revocation list: 3 serials$/m],
    ['a revocation list that is none', with_({ CRL_URL: page.url }), 0,
      /^warn +revocation list/m],
    ['a revocation list out of reach', with_({ CRL_URL: away }), 0,
      /^warn +revocation list/m],
    ['one out of reach that must be had',
      with_({ CRL_URL: away, CRL_START_POLICY: 'closed' }), 1,
      /^FAIL +revocation list/m],
  ];
}

async function databaseCases() {
  const [fresh, old, late, dirty] = Array.from({ length: 4 },
    () => storeOf(temporaryDirectory()));
  const user = `02${'00'.repeat(32)}`;
  const rows = { records: [[user, 'a', Buffer.from('x'), 1]],
    counters: [[user, 1]], locks: [] };
  await new DataSync(old).make(rows);
  await new DataSync(late).make({ ...rows, version: 999 });
  await new DataSync(dirty).make({ ...rows, dirty: true });
  const env = await fresh.env();
  await checkTable([
    ['no database yet', env, 0, /^ok +database: .*not being served$/m,
      /^warn +schema: none yet/m],
    ['a database of data-sync', await old.env(), 0,
      /^warn +schema: not up to date/m],
    ['a database of a later version', await late.env(), 1,
      /^FAIL +database: .*999/m],
    ['a database half-way', await dirty.env(), 1,
      /^FAIL +database: .*dirty/m],
  ]);
  if (POSTGRES) {
    const url = `${env.DATABASE_URL}?options=-csearch_path%3Dpg_catalog`;
    await checkTable([['a database where tables cannot be made',
      { DATABASE_URL: url }, 1, /^FAIL +database: .*lacks the rights to create/m]]);
    await test('nor can a start make them', async () => {
      const { code, err } = await run(['migrate'], { DATABASE_URL: url });
      assert.equal(code, 1);
      assert.match(err, /permission denied/);
    });
  }
  await test('check has changed nothing', async () => {
    assert.equal(await old.sql('SELECT version FROM schema_migrations'), '2');
    await assert.rejects(old.sql('SELECT version FROM tallyd_schema'));
  });
  await test('commands that need the newest schema say so', async () => {
    for (const args of [['export'], ['stats'], ['purge-user', user]]) {
      const { code, err } = await run(args, await old.env());
      assert.equal(code, 1);
      assert.match(err, /tallyd migrate/);
    }
  });
  await succeed(['migrate'], env);
  await checkTable([['a database', env, 0, /^ok +schema: up to date$/m]]);
}

async function directoryCases() {
  const dir = temporaryDirectory();
  const env = (name) => ({ SQLITE_DIR_PATH: path.join(dir, name) });
  mkdirSync(path.join(dir, 'damaged'));
  writeFileSync(path.join(dir, 'damaged', 'db.sqlite'), 'x'.repeat(9000));
  writeFileSync(path.join(dir, 'file'), '');
  await succeed(['migrate'], env('odd ?#%41 name'));
  const before = everything(dir);
  await checkTable([
    ['a directory that will be made', env('none'), 0, /^warn +schema/m],
    ['a file that is no database', env('damaged'), 1, /^FAIL +database/m],
    ['a file instead of a directory', env('file'), 1, /^FAIL +database/m],
    ['a name that a URI would not take', env('odd ?#%41 name'), 0,
      /^ok +schema: up to date$/m],
  ]);
  await test('check has made no file', () =>
    assert.deepEqual(everything(dir), before));
  await test('commands make no database where there is none', async () => {
    for (const args of [['export'], ['stats'], ['backup', 'copy'],
      ['purge-user', '--yes', `02${'00'.repeat(32)}`]]) {
      const { code, err } = await run(args, env('none'));
      assert.equal(code, 1);
      assert.match(err, /db\.sqlite cannot be read/);
    }
    assert.deepEqual(everything(dir), before);
  });
}

async function awayCases() {
  const env = { DATABASE_URL: 'postgresql://somebody:secret@127.0.0.1:' +
    `${await freePort()}/db` };
  await checkTable([['a database out of reach', env, 1,
    /^FAIL +database: .*cannot be connected to/m]]);
  for (const args of [['export'], ['import'], ['stats'],
    ['purge-user', `02${'00'.repeat(32)}`]]) {
    await test(`${args[0]}: a database out of reach`, async () => {
      const { code, err } = await run(args, env);
      assert.equal(code, 1);
      assert.match(err, /cannot be connected to/);
      assert.doesNotMatch(err, /secret/);
    });
  }
}

await suite(async () => {
  await databaseCases();
  await closedCases();
  if (POSTGRES) return;
  const env = { SQLITE_DIR_PATH: temporaryDirectory() };
  const ca = new Authority();
  await helpCases();
  await usageCases();
  await completionCases();
  await manualCases();
  await checkTable(tlsRows(ca, env));
  await checkTable(await apiKeyRows(ca, env));
  await directoryCases();
  await awayCases();
});
