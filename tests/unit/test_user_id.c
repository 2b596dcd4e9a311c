/* SPDX-License-Identifier: Apache-2.0 */
#include "base/user_id.h"

#include "lib/unit.h"

TEST(user_id, is_written_as_66_lower_case_digits)
{
	struct {
		char hex[USER_ID_HEX + 1];
		char fence;
	} out = {.fence = 'f'};
	struct user_id id = {{0x02}};

	for (unsigned i = 1; i < USER_ID_BYTES; i++)
		id.bytes[i] = (uint8_t)(0xe0 + i - 1);
	user_id_hex(&id, out.hex);
	ck_assert_str_eq(out.hex,
		"02e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfd"
		"feff");
	ck_assert_int_eq(out.fence, 'f');
	ck_assert_uint_eq(user_id_slice(&id).len, 33);
	ck_assert_ptr_eq(user_id_slice(&id).ptr, id.bytes);
}
