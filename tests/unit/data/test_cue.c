/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The table of cues agrees with the option that names them.
 */
#include "data_test.h"

/* A store that is only looked at. */
static mc_store store_of(int64_t classes, int64_t channels, int64_t side)
{
    return (mc_store){.source = "nothing",
                      .n = 1,
                      .classes = classes,
                      .channels = channels,
                      .height = side,
                      .width = side};
}

START_TEST(test_find)
{
    const mc_cue *cue = &mc_cue_box;
    mc_store ten = store_of(10, 1, 28), hundred = store_of(100, 3, 32);
    OK(mc_cue_find("none", &ten, &cue));
    ck_assert_ptr_null(cue);
    OK(mc_cue_find("box", &ten, &cue));
    ck_assert_ptr_eq(cue, &mc_cue_box);
    OK(mc_cue_find("box", &hundred, &cue)); /* the variant that fits */
    ck_assert_ptr_eq(cue, &mc_cue_coloured_box);
    FAILS(mc_cue_find("hat", &ten, &cue), MODECONN_ERROR_UNKNOWN, "hat");
    ck_assert_ptr_null(cue);
    FAILS(mc_cue_find("domino", &ten, &cue), MODECONN_ERROR_SHAPE, "nothing has no upper images");
    ck_assert_ptr_null(cue);
    mc_store many = store_of(101, 3, 32), grey = store_of(11, 1, 32);
    FAILS(mc_cue_find("box", &many, &cue), MODECONN_ERROR_SHAPE, "101 classes");
    FAILS(mc_cue_find("box", &grey, &cue), MODECONN_ERROR_SHAPE, "11 classes on 1 channels");
}
END_TEST

START_TEST(test_rows)
{
    modeconn_options *options = options_of("dataset", "");
    ck_assert_int_ge(mc_cues_count, 1);
    for (int64_t i = 0; i < mc_cues_count; i++) {
        const mc_cue *cue = mc_cues[i];
        ck_assert(cue->fits && cue->value_of && cue->draw && cue->visible && cue->range);
        ck_assert(!cue->host);
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
