/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over files, without libFuzzer. Prints TAP; a file that
 * crashes the target ends the program, and so the plan is not met. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz/fuzz.h"

/* The longest input libFuzzer makes by itself is 4 KiB, but seeds may be
 * longer. */
#define INPUT_MAX (1024 * 1024)

static int replay(const char *path, uint8_t *input)
{
	FILE *file = fopen(path, "rb");
	size_t n;

	if (!file)
		return -1;
	n = fread(input, 1, INPUT_MAX, file);
	(void)fclose(file); /* was only read */
	/* Exactly as long as the input, so that a read past it is seen. */
	uint8_t *exact = malloc(n ? n : 1);

	if (!exact)
		return -1;
	for (size_t i = 0; i < n; i++)
		exact[i] = input[i];
	(void)LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 0;
}

int main(int argc, char **argv)
{
	uint8_t *input = malloc(INPUT_MAX);
	int failed = 0;

	(void)printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc && input; i++) {
		bool ok = replay(argv[i], input) == 0;

		failed |= !ok;
		(void)printf("%s %d - %s\n", ok ? "ok" : "not ok", i, argv[i]);
		(void)fflush(stdout);
	}
	free(input);
	return failed || !input || argc < 2 ? EXIT_FAILURE : EXIT_SUCCESS;
}
