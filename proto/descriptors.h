/* SPDX-License-Identifier: Apache-2.0 */
/* descriptors — the contracts served here, as protoc describes them, for who
 * asks a server what it serves. The tables are made by embed.py at build time
 * and are constant. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct descriptor_file {
	const char *name;
	const uint8_t *bytes; /* google.protobuf.FileDescriptorProto */
	size_t len;
	/* Indices into the set: itself, then all it imports, directly or not.
	 */
	const uint16_t *needed;
	size_t n_needed;
};

/* A full name: of a service, method, message, field, enum, value, … */
struct descriptor_symbol {
	const char *name;
	uint16_t file; /* index of the one that declares it */
	bool is_message;
};

struct descriptor_set {
	const struct descriptor_file *files;
	size_t n_files;
	const struct descriptor_symbol *symbols; /* sorted by strcmp() */
	size_t n_symbols;
};

/* Of every service that tallyd has. */
extern const struct descriptor_set descriptor_set;
