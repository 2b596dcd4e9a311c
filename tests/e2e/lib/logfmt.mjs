// SPDX-License-Identifier: Apache-2.0
// logfmt — the server's lines as objects, read by the rules of OPERATIONS.md.

const TOKEN = / ?([a-z0-9_]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "=\\]+))/y;

function plain(quoted) {
  return quoted.replace(/\\(x([0-9a-f]{2})|.)/g,
    (_, char, hex) => (hex ? String.fromCharCode(parseInt(hex, 16)) : char));
}

/** {key: text}; throws where it is none of the format. */
export function parseLogfmt(line) {
  const fields = {};
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < line.length) {
    const at = TOKEN.lastIndex;
    const found = TOKEN.exec(line);
    if (!found) throw new Error(`no field at ${at}: ${line}`);
    const [, key, quoted, bare] = found;
    if (key in fields) throw new Error(`twice ${key}: ${line}`);
    fields[key] = quoted === undefined ? bare : plain(quoted);
  }
  return fields;
}

/** All whole lines of what a server wrote, by `parse`. */
export function linesOf(text, parse = parseLogfmt) {
  return text.split('\n').slice(0, -1).map(parse);
}
