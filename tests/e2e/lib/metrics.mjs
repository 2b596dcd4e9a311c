// SPDX-License-Identifier: Apache-2.0
// metrics — what a server tells Prometheus, and how it changes.

import assert from 'node:assert/strict';

/** What a server under test needs in its environment to be asked. */
export const ON = { METRICS_LISTEN_ADDRESS: '127.0.0.1:0' };

/** The start line's. */
export function metricsAddress(server) {
  return / metrics=(\S+)/.exec(server.stderr)?.[1];
}

/** {name and labels, as they stand: value}. */
export function parse(text) {
  return new Map(text.split('\n').filter((line) => line && line[0] !== '#')
    .map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }));
}

/** {family: type}. */
export function families(text) {
  return new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)]
    .map(([, name, type]) => [name, type]));
}

/** The series that are another than before: {series: by how much}. */
export function difference(before, after) {
  const all = {};
  for (const [series, value] of after) {
    const by = value - (before.get(series) ?? 0);
    if (by !== 0) all[series] = by;
  }
  return all;
}

export class Metrics {
  constructor(server) {
    this.url = `http://${metricsAddress(server)}/metrics`;
  }

  async text() {
    const answer = await fetch(this.url);
    assert.equal(answer.status, 200);
    return answer.text();
  }

  async read() {
    return parse(await this.text());
  }

  /** One series; undefined when it is not there. */
  async value(series) {
    return (await this.read()).get(series);
  }

  /** What `fn` changes of the series that `pattern` finds. */
  async change(pattern, fn) {
    const before = await this.read();
    await fn();
    const after = await this.read();
    return Object.fromEntries(Object.entries(difference(before, after))
      .filter(([series]) => pattern.test(series)));
  }
}
