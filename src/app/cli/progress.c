/* SPDX-License-Identifier: Apache-2.0 */
#include "app/cli/progress.h"

void progress_init(struct progress *p)
{
	p->due_ns = clock_mono_ns(&clock_system) + PROGRESS_S * NS_PER_S;
}

bool progress_is_due(struct progress *p)
{
	int64_t now_ns = clock_mono_ns(&clock_system);

	if (now_ns < p->due_ns)
		return false;
	p->due_ns = now_ns + PROGRESS_S * NS_PER_S;
	return true;
}
