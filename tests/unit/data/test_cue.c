/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The table of cues agrees with the option that names them.
 */
#include "data_test.h"

START_TEST(test_find)
{
    const mc_cue *cue = &mc_cue_box;
    OK(mc_cue_find("none", &cue));
    ck_assert_ptr_null(cue);
    OK(mc_cue_find("box", &cue));
    ck_assert_ptr_eq(cue, &mc_cue_box);
    FAILS(mc_cue_find("hat", &cue), MODECONN_ERROR_UNKNOWN, "hat");
    ck_assert_ptr_null(cue);
}
END_TEST

START_TEST(test_rows)
{
    modeconn_options *options = options_of("dataset", "");
    ck_assert_int_ge(mc_cues_count, 1);
    for (int64_t i = 0; i < mc_cues_count; i++) {
        const mc_cue *cue = mc_cues[i];
        ck_assert(cue->fits && cue->value_of_label && cue->draw && cue->visible);
        ck_assert_int_ge(cue->range, 2);
        OK(modeconn_options_set_str(options, "cue", cue->name));
    }
    FAILS(modeconn_options_set_str(options, "cue", "hat"), MODECONN_ERROR_ARGUMENT, "hat");
    modeconn_options_destroy(options);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_find);
    tcase_add_test(tests, test_rows);
}

int main(void)
{
    return unit_run("data_cue", add);
}
