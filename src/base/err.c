/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

const char *err_text(int code)
{
	switch (code) {
	case 0: return "ok";
#define X(name, code, text)                                                    \
	case code: return text;
		ERR_MAP(X)
#undef X
	default: return "unknown error";
	}
}

int errmsg_set(struct errmsg *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof(e->text), fmt, ap); /* cut is fine */
	va_end(ap);
	return code;
}
