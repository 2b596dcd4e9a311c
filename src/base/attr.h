/* SPDX-License-Identifier: Apache-2.0 */
/* attr — compiler attributes and the few macros every file uses. */
#pragma once

#include <stddef.h>

/* The result must be looked at; a deliberate drop is `(void)` plus a reason. */
#define MUSTCHECK	  __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define UNUSED		  __attribute__((unused))

/* CLEANUP(foo_free) struct foo *f = NULL;  runs foo_free(&f) at scope end. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Hands the pointer on and disarms its CLEANUP. */
#define TAKE_PTR(p)                                                            \
	({                                                                     \
		__typeof__(p) take_ptr_ = (p);                                 \
		(p) = NULL;                                                    \
		take_ptr_;                                                     \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The object that embeds `member`, from a pointer to the member. By hand:
 * clang-format's versions differ over a minus behind a parenthesis. */
/* clang-format off */
#define CONTAINER_OF(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))
/* clang-format on */

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
