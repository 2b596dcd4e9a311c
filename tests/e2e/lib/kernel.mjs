// SPDX-License-Identifier: Apache-2.0
// kernel — the other ends of our connections, as the kernel lists them.

import { readFileSync } from 'node:fs';

const ESTABLISHED = '01'; // net/tcp_states.h

/** To wait between two looks: a list of all connections takes the kernel some
 * milliseconds. */
export const LOOK_MS = 50;

const port = (number) => number.toString(16).toUpperCase().padStart(4, '0');

/**
 * What waits in the kernel at the server's end of each connection over the
 * loopback that is established: 'SERVER:CLIENT' → {unsent, unread}.
 */
function serverEnds() {
  const ends = new Map();
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
    const [, local, remote, state, queues] = line.trim().split(/ +/);
    if (state !== ESTABLISHED) continue;
    const [unsent, unread] = queues.split(':').map(
      (hex) => Number.parseInt(hex, 16));
    ends.set(`${local.slice(-4)}:${remote.slice(-4)}`, { unsent, unread });
  }
  return ends;
}

const nameOf = ({ remotePort, localPort }) => (
  remotePort && localPort && `${port(remotePort)}:${port(localPort)}`);

/** Of one socket of ours; undefined when that end is no more. */
export function serverEnd(socket) {
  return serverEnds().get(nameOf(socket));
}

/** Those of `sockets` whose other end the server still has. */
export function heldOf(sockets) {
  const ends = serverEnds();
  return sockets.filter((socket) => ends.has(nameOf(socket)));
}
