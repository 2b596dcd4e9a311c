#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a serialized FileDescriptorSet into C for proto/descriptors.h.

Each file goes in byte for byte; beside it what reflection is asked for: the
names it declares, and which files it needs. Reads the few fields of
google/protobuf/descriptor.proto that say so by itself, so that building takes
no more than Python.

Usage: embed.py INPUT OUTPUT
"""
import sys

# Field numbers of google/protobuf/descriptor.proto.
FILE = {'name': 1, 'package': 2, 'dependency': 3, 'message': 4, 'enum': 5,
        'service': 6, 'extension': 7}
MESSAGE = {'name': 1, 'field': 2, 'message': 3, 'enum': 4, 'extension': 6,
           'oneof': 8}
ENUM = {'name': 1, 'value': 2}
SERVICE = {'name': 1, 'method': 2}
NAME = 1  # of everything else


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """Pairs of number and bytes; fields of other wire types are left out."""
    at, found = 0, []
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 2:
            length, at = varint(data, at)
            found.append((tag >> 3, data[at:at + length]))
            at += length
        elif kind == 0:
            _, at = varint(data, at)
        else:
            at += {1: 8, 5: 4}[kind]
    return found


def every(data, number):
    return [value for key, value in fields(data) if key == number]


def text(data, number):
    return b''.join(every(data, number)).decode()


def join(scope, name):
    return f'{scope}.{name}' if scope else name


def named(scope, items):
    return [(join(scope, text(item, NAME)), False) for item in items]


def enum_symbols(scope, data):
    """An enum's values are its siblings."""
    yield join(scope, text(data, ENUM['name'])), False
    yield from named(scope, every(data, ENUM['value']))


def message_symbols(scope, data):
    own = join(scope, text(data, MESSAGE['name']))
    yield own, True
    for kind in ('field', 'extension', 'oneof'):
        yield from named(own, every(data, MESSAGE[kind]))
    for inner in every(data, MESSAGE['message']):
        yield from message_symbols(own, inner)
    for inner in every(data, MESSAGE['enum']):
        yield from enum_symbols(own, inner)


def file_symbols(data):
    """Pairs of full name and whether it is a message."""
    package = text(data, FILE['package'])
    for message in every(data, FILE['message']):
        yield from message_symbols(package, message)
    for enum in every(data, FILE['enum']):
        yield from enum_symbols(package, enum)
    for service in every(data, FILE['service']):
        own = join(package, text(service, SERVICE['name']))
        yield own, False
        yield from named(own, every(service, SERVICE['method']))
    yield from named(package, every(data, FILE['extension']))


def closure(names, files, first):
    """The file and all it needs, each once."""
    needed = [first]
    for at in needed:
        for name in every(files[at], FILE['dependency']):
            index = names.index(name.decode())
            if index not in needed:
                needed.append(index)
    return needed


def c_bytes(data):
    lines = [', '.join(f'0x{byte:02x}' for byte in data[at:at + 12])
             for at in range(0, len(data), 12)]
    return ',\n\t'.join(lines)


def generate(data):
    files = every(data, 1)
    names = [text(data, FILE['name']) for data in files]
    yield '/* Made by proto/embed.py. */\n#include "proto/descriptors.h"\n'
    for index, content in enumerate(files):
        needed = closure(names, files, index)
        yield f'static const uint8_t bytes_{index}[] = {{\n' \
              f'\t{c_bytes(content)}}};\n'
        yield f'static const uint16_t needed_{index}[] = ' \
              f'{{{", ".join(map(str, needed))}}};\n'
    yield 'static const struct descriptor_file files[] = {'
    for index, name in enumerate(names):
        yield f'\t{{"{name}", bytes_{index}, sizeof(bytes_{index}),\n' \
              f'\t\tneeded_{index}, sizeof(needed_{index}) / 2}},'
    yield '};\n'
    yield 'static const struct descriptor_symbol symbols[] = {'
    symbols = sorted((name.encode(), index, message)
                     for index, content in enumerate(files)
                     for name, message in file_symbols(content))
    for name, index, message in symbols:
        yield f'\t{{"{name.decode()}", {index}, {int(message)}}},'
    yield '};\n'
    yield 'const struct descriptor_set descriptor_set = {'
    yield '\tfiles, sizeof(files) / sizeof(files[0]),'
    yield '\tsymbols, sizeof(symbols) / sizeof(symbols[0])};'


if __name__ == '__main__':
    with open(sys.argv[1], 'rb') as source:
        lines = generate(source.read())
    with open(sys.argv[2], 'w', encoding='utf-8') as target:
        target.write('\n'.join(lines) + '\n')
