// SPDX-License-Identifier: Apache-2.0
// generated — the service as clients' own generators make it, in a directory
// that goes when the suite ends.

import { execFileSync } from 'node:child_process';
import { existsSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { protoPath, temporaryDirectory } from './server.mjs';

export const MODULES = path.join(
  path.dirname(fileURLToPath(import.meta.url)), '../node_modules');

/** Why a suite of npm's clients cannot run here; undefined when it can. */
export function missing(...packages) {
  const [major] = process.versions.node.split('.').map(Number);
  if (major < 20) return `Node ${process.versions.node} is older than 20`;
  const absent = packages.find(
    (name) => !existsSync(path.join(MODULES, name)));
  return absent && `npm's ${absent} is not installed`;
}

/** Runs protoc with protoc-gen-es; resolves to the directory. */
export function generate() {
  const dir = temporaryDirectory();
  writeFileSync(path.join(dir, 'package.json'), '{"type":"module"}');
  symlinkSync(MODULES, path.join(dir, 'node_modules'));
  execFileSync('protoc', [
    `--plugin=${path.join(MODULES, '.bin/protoc-gen-es')}`,
    `--es_out=${dir}`, '--es_opt=target=js',
    `--proto_path=${path.dirname(protoPath())}`, protoPath()],
  { stdio: ['ignore', 'pipe', 'pipe'] });
  return dir;
}

/** The generated module: Syncer and a schema per message. */
export function load(dir) {
  return import(path.join(dir, 'sync_pb.js'));
}
