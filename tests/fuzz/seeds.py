#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seed corpora of the fuzz targets: DIRECTORY/<target>/<name>.

Seeds are what a good client sends, and near misses: from there the fuzzer
finds its way. Findings that were mended are kept here too, so that script/test
replays them."""
import base64
import os
import struct
import sys


def varint(value):
    out = b''
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def message(payload, flag=0):
    return struct.pack('>BI', flag, len(payload)) + payload


GET_LOCK = field(1, b'name') + varint(2 << 3) + varint(1700000000) + \
    field(3, b'y' * 104)
RECORD = field(1, b'id') + b'\x10\x07' + field(3, b'1.0') + \
    field(4, b'\x00\xff' * 8)
SET_RECORD = field(1, RECORD) + b'\x10\x01' + field(3, b'y' * 104) + \
    field(4, b'client')


def http1(body, path='/fuzz.Fuzz/Echo', kind='application/grpc-web+proto',
          more='', version='1.1', chunked=False):
    head = (f'POST {path} HTTP/{version}\r\nhost: a\r\n'
            f'content-type: {kind}\r\n{more}')
    if chunked:
        head += 'transfer-encoding: chunked\r\n\r\n'
        body = b'%x\r\n%s\r\n0\r\n\r\n' % (len(body), body)
    else:
        head += f'content-length: {len(body)}\r\n\r\n'
    return head.encode() + body


def http1_seeds():
    echo = message(GET_LOCK)
    text = base64.b64encode(echo[:5]) + base64.b64encode(echo[5:])
    get = b'GET %s HTTP/1.1\r\nhost: a\r\n\r\n'
    yield 'echo', http1(echo)
    yield 'chunked', http1(echo, chunked=True)
    yield 'text', http1(text, kind='application/grpc-web-text')
    yield 'listen', http1(message(b''), path='/fuzz.Fuzz/Listen')
    yield 'pipelined', http1(echo) + get % b'/health' + get % b'/'
    yield 'old', http1(echo, version='1.0')
    yield 'expect', http1(echo, more='expect: 100-continue\r\n')
    yield 'timeout', http1(echo, more='grpc-timeout: 5x\r\n')
    yield 'upgrade', http1(echo, more='connection: upgrade\r\nupgrade: h2c\r\n')
    yield 'close', http1(echo, more='connection: close\r\n')
    yield 'gzip', http1(message(b'\x1f\x8b', 1), more='grpc-encoding: gzip\r\n')
    yield 'preflight', (b'OPTIONS /x HTTP/1.1\r\nhost: a\r\norigin: b\r\n'
                        b'access-control-request-method: POST\r\n\r\n')
    yield 'absolute', get % b'http://a/health'
    yield 'no-host', b'GET / HTTP/1.1\r\n\r\n'
    yield 'connect', b'CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\nxx'
    yield 'both-lengths', http1(
        echo, more='transfer-encoding: chunked\r\n')
    yield 'trailers', (b'POST / HTTP/1.1\r\nhost: a\r\n'
                       b'transfer-encoding: chunked\r\n\r\n'
                       b'1\r\nx\r\n0\r\na: b\r\n\r\n')


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + \
        struct.pack('>I', stream) + payload


def literal(name, value):
    """HPACK, literal without indexing, new name (RFC 7541 section 6.2.2)."""
    return b'\x00' + bytes([len(name)]) + name + bytes([len(value)]) + value


def headers(stream, path=b'/fuzz.Fuzz/Echo', kind=b'application/grpc',
            flags=4, more=b''):
    block = b'\x83\x86' + literal(b':path', path) + \
        literal(b':authority', b'a') + literal(b'content-type', kind) + \
        literal(b'te', b'trailers') + more
    return frame(1, flags, stream, block)


def http2_seeds():
    echo = message(GET_LOCK)
    whole = headers(1) + frame(0, 1, 1, echo)
    yield 'echo', whole
    yield 'two', whole + headers(3) + frame(0, 1, 3, echo)
    yield 'split', headers(1) + b''.join(
        frame(0, 0, 1, echo[at:at + 1]) for at in range(len(echo))) + \
        frame(0, 1, 1)
    yield 'listen', headers(1, b'/fuzz.Fuzz/Listen') + \
        frame(0, 1, 1, message(b'')) + frame(3, 0, 1, b'\0\0\0\x08')
    yield 'chat', headers(1, b'/fuzz.Fuzz/Chat') + frame(0, 0, 1, echo) + \
        frame(0, 0, 1, echo[:7]) + frame(0, 1, 1, echo[7:] + echo)
    yield 'no-body', headers(1, flags=5)
    yield 'web', headers(1, kind=b'application/grpc-web') + \
        frame(0, 1, 1, echo)
    yield 'reset', headers(1) + frame(3, 0, 1, b'\0\0\0\x08')
    yield 'ping', frame(6, 0, 0, b'12345678') * 4
    yield 'settings', frame(4, 0, 0, b'\0\4\0\0\0\0') + whole
    yield 'window', frame(8, 0, 0, b'\x7f\xff\xff\xff') + \
        headers(1) + frame(8, 0, 1, b'\x7f\xff\xff\xff')
    yield 'goaway', frame(7, 0, 0, b'\0' * 8) + whole
    yield 'continuation', headers(1, flags=0) + frame(9, 4, 1)
    yield 'trailers', headers(1) + frame(0, 0, 1, echo) + \
        frame(1, 5, 1, literal(b'a', b'b'))
    yield 'many', b''.join(headers(1 + 2 * n) for n in range(8))


def message_seeds():
    for name, body in (('one', message(b'abc')), ('empty', message(b'')),
                       ('two', message(b'a') + message(b'b')),
                       ('large', struct.pack('>BI', 0, 1 << 20)),
                       ('short', message(b'abc')[:-1])):
        yield name, body
        yield name + '-text', base64.b64encode(body)


def proxy_seeds():
    yield 'v1', b'PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nrest'
    yield 'v1-6', b'PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n'
    yield 'v1-unknown', b'PROXY UNKNOWN anything at all\r\n'
    sign = b'\r\n\r\n\0\r\nQUIT\n'
    four = b'\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb'
    six = b'\x20\1\x0d\xb8' + b'\0' * 28 + b'\xdc\4\1\xbb'
    tlv = b'\x01\0\x02h2'
    for name, head, body in (('v2', b'\x21\x11', four),
                             ('v2-6', b'\x21\x21', six),
                             ('v2-tlv', b'\x21\x11', four + tlv),
                             ('v2-local', b'\x20\0', b'')):
        yield name, sign + head + struct.pack('>H', len(body)) + body


def line_seeds():
    user = b'02' + b'00' * 32
    record = (b'{"user":"%s","id":"a\\u0001\\ud83d\\ude00","revision":4,'
              b'"schema_version":"1.0","data":"AP8="}') % user
    yield 'header', b'{"format":"tallyd-export","version":1}'
    yield 'user', b'{"user":"%s","counter":9}' % user
    yield 'record', record
    yield 'trailer', (b'{"users":1,"records":2,"bytes":3,"sha256":"%s"}'
                      % (b'00' * 32))
    yield 'twice', record.replace(b'{', b'{"id":"b",')
    yield 'nul', record.replace(b'0001', b'0000')
    yield 'surrogate', record.replace(b'\\ude00', b'')
    yield 'padding', record.replace(b'AP8=', b'AP8')
    yield 'spare-bits', record.replace(b'AP8=', b'AP9=')
    yield 'break', record.replace(b'AP8=', b'AP8\\n=')
    yield 'huge', record.replace(b':4,', b':9223372036854775808,')
    yield 'negative', record.replace(b':4,', b':-4,')
    yield 'fraction', record.replace(b':4,', b':4.0,')
    yield 'deep', b'[' * 3000
    yield 'utf8', record.replace(b'1.0', b'\xc0\x80')
    yield 'cut', record[:-9]


def seeds():
    for name, data in line_seeds():
        yield 'line', name, data
    for name, data in proxy_seeds():
        yield 'proxy', name, data
    for name, data in http1_seeds():
        yield 'http1', name, b'\x60' + data
    for name, data in http2_seeds():
        yield 'http2', name, b'\0' + data
        yield 'http2', name + '-web', b'\1' + data
    for name, data in message_seeds():
        yield 'message', name, bytes([name.endswith('text'), 3]) + data
    for number, text in enumerate((
            b'1S', b'99999999H', b'0n', b'-1m', b'5', b'5x', b'123456789n',
            b'YQ==', b'YQ', b'YQ,Yg', b'!!!', 'bad 100% "é"\n'.encode(),
            b'\xff' * 3000)):
        yield 'metadata', str(number), text
    for name, data in (('get-lock', GET_LOCK), ('set-record', SET_RECORD),
                       ('empty', b''), ('group', b'\x0b\x10\x01\x0c'),
                       ('long-tag', b'\x8a\x80\x80\x80\x00\x00'),
                       ('truncated', SET_RECORD[:-3]),
                       ('twice', SET_RECORD + SET_RECORD)):
        yield 'protobuf', name, data


def main():
    directory = sys.argv[1]
    for target, name, data in seeds():
        folder = os.path.join(directory, target)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(data)


if __name__ == '__main__':
    main()
