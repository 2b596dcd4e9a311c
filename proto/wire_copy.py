#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Derives a wire-identical copy of a .proto file that protoc-c can compile.

protoc-c refuses proto3 `optional`, and its `string` ends at a NUL byte. On the
wire an optional field is a oneof with one member, and a string is bytes that
happen to be UTF-8 (which src/rpc/protobuf.c checks), so the copy says that.

Usage: wire_copy.py INPUT OUTPUT
"""
import re
import sys


def wire_copy(text):
    text = re.sub(r'\boptional\s+(\w+)\s+(\w+)\s*=\s*(\d+)\s*;',
                  r'oneof optional_\2 { \1 \2 = \3; }', text)
    return re.sub(r'\bstring(\s+\w+\s*=\s*\d+\s*;)', r'bytes\1', text)


if __name__ == '__main__':
    with open(sys.argv[1], encoding='utf-8') as source:
        copy = wire_copy(source.read())
    with open(sys.argv[2], 'w', encoding='utf-8') as target:
        target.write(copy)
