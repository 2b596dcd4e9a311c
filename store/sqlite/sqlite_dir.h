/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_dir — SQLITE_DIR_PATH, the directory that holds the database, and who
 * may write into it. Sentences name the variable, never the path. */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"
#include "config/config.h"

#define SQLITE_PATH_BYTES (CONFIG_TEXT_MAX + 32)

/* The path of the database in `dir`. */
void sqlite_dir_file(const char *dir, char ret_path[SQLITE_PATH_BYTES]);

/* Makes the directory and an empty database where they are missing, for their
 * owner alone, and takes the lock that keeps other processes from writing. The
 * kernel lets go of it when *ret_lock_fd is closed, by whatever end.
 * Returns: 0; ERR_BUSY (another tallyd has it), ERR_SYS with a sentence. */
MUSTCHECK int sqlite_dir_take(
	const char *dir, int *ret_lock_fd, struct errmsg *reterr);

/* SQLite flushes its files, not the directory that names a new one.
 * Returns: 0; ERR_SYS with a sentence. */
MUSTCHECK int sqlite_dir_flush(const char *dir, struct errmsg *reterr);

/* Whether a process has the lock now. Changes nothing; who wants the lock at
 * the same moment has to try again. */
bool sqlite_dir_is_taken(const char *dir);
