// SPDX-License-Identifier: Apache-2.0
// example [address] — one request of each kind a wallet makes most: sets a
// record under a fresh key and reads it back from the server at `address`.

import { Client, User } from './lib/client.mjs';
import { Key } from './lib/sign.mjs';

const client = new Client(process.argv[2] ?? '127.0.0.1:8080');
const user = new User(client, new Key());
const revision = await user.write({ id: 'greeting', data: 'hello' });
console.log(`stored "greeting" at revision ${revision}`);
for (const record of await user.changes(0)) {
  console.log(`read "${record.id}" at revision ${record.revision}: ` +
    `${record.data}`);
}
client.close();
