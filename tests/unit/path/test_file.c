/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paths and interrupted fits as files: equal bits after loading and after going on, hostile and
 * wrong files; groups of layers.
 */
#include "folder.h"
#include "io/io.h"
#include "path/path.h"
#include "train/small.h"

static modeconn_context *context;
static modeconn_dataset *data;
static modeconn_model *first, *second;

static const char settings[] =
    "epochs=3,batch_size=20,learning_rate=0.05,schedule=cosine,seed=4,views=cue,nocue";

static void setup(void)
{
    folder_make();
    context = small_context(2);
    data = small_shapes(context, 25, "nocue");
    first = small_model(context, "vgg13", "0.03", data);
    OK(modeconn_model_clone(first, &second));
    for (int64_t i = 0; i < second->n_theta; i++) {
        second->theta[i] += 0.1F * (float)mc_random_normal(5, 1005, (uint64_t)i, 0);
    }
    second->statistics[0] += 0.5F;
    OK(modeconn_model_set_metadata(second, "training_data", "none"));
}

static void teardown(void)
{
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    folder_remove();
}

static modeconn_path *path_of(const char *text)
{
    modeconn_options *options = options_of("path", text);
    modeconn_path *path = NULL;
    OK(modeconn_path_create(first, second, options, &path));
    modeconn_options_destroy(options);
    return path;
}

static modeconn_fitter *fitter_of(modeconn_path *path, const char *text)
{
    modeconn_options *options = options_of("path_fit", "");
    modeconn_fitter *fitter = NULL;
    const char *views = strstr(text, "views=");
    char rest[128] = "";
    memcpy(rest, text, views != NULL ? (size_t)(views - text - 1) : strlen(text));
    OK(modeconn_options_parse(options, rest));
    if (views != NULL) {
        OK(modeconn_options_set_str(options, "views", views + 6));
    }
    OK(modeconn_fitter_create(path, data, options, &fitter));
    modeconn_options_destroy(options);
    return fitter;
}

static bool equal_paths(const modeconn_path *a, const modeconn_path *b)
{
    bool equal = a->n_points == b->n_points && a->family == b->family;
    for (int64_t k = 0; equal && k < a->n_points; k++) {
        equal = small_equal(a->points[k], b->points[k]);
    }
    return equal;
}

static const char *const families[] = {"family=linear", "degree=3,start=random",
                                       "family=chain,bends=2,start=random"};

START_TEST(saves)
{
    modeconn_path *path = path_of(families[_i]), *loaded = NULL;
    modeconn_history *history = NULL;
    int64_t epochs = -1;
    size_t size[2];
    if (_i > 0) {
        modeconn_fitter *fitter = fitter_of(path, settings);
        OK(modeconn_fitter_run(fitter, 1, NULL, NULL));
        modeconn_fitter_destroy(fitter);
    }
    OK(modeconn_path_save(path, folder_path("a")));
    OK(modeconn_path_load(context, folder_path("a"), &loaded));
    ck_assert(equal_paths(path, loaded));
    ck_assert_int_eq(loaded->points[loaded->n_points - 1]->n_meta, 1);
    ck_assert_str_eq(loaded->points[loaded->n_points - 1]->meta_values[0], "none");
    ck_assert(_i == 0 || loaded->points[1]->n_meta == 0); /* that is the end's alone */
    OK(modeconn_path_history(loaded, &history));
    OK(modeconn_history_size(history, &epochs, NULL));
    ck_assert_int_eq(epochs, _i > 0 ? 1 : 0);
    if (_i > 0) { /* what the fit was told is kept, a description for each view */
        ck_assert_ptr_nonnull(strstr(loaded->fit, "learning_rate=0.05,"));
        ck_assert_ptr_nonnull(strstr(loaded->fit, "views=cue,nocue,seed=4\""));
        ck_assert_ptr_nonnull(strstr(loaded->fit, "\"view\": \"nocue\""));
        ck_assert_str_eq(loaded->fit, path->fit);
    } else {
        ck_assert_ptr_null(loaded->fit);
    }
    modeconn_history_destroy(history);
    OK(modeconn_path_save(loaded, folder_path("b")));
    char *a = file_get(folder_path("a"), &size[0]), *b = file_get(folder_path("b"), &size[1]);
    ck_assert_uint_eq(size[0], size[1]);
    ck_assert_int_eq(memcmp(a, b, size[0]), 0);
    ck_assert_int_eq(folder_count(), 2);
    free(a);
    free(b);
    modeconn_path_destroy(loaded);
    modeconn_path_destroy(path);
}
END_TEST

/* Stopped after every update in turn and gone on with in another fitter: the bits of a fit that
 * was never stopped. */
START_TEST(resumes)
{
    modeconn_path *whole = path_of("degree=3");
    modeconn_fitter *fitter = fitter_of(whole, settings);
    OK(modeconn_fitter_run(fitter, -1, NULL, NULL));
    modeconn_fitter_destroy(fitter);
    for (int64_t at = 0; at <= 9; at++) {
        modeconn_path *paths[2] = {path_of("degree=3"), path_of("degree=3")};
        modeconn_fitter *run = fitter_of(paths[0], settings), *next = NULL;
        small_stop stop = {.at = at};
        int64_t done = -1, total = -1;
        if (at > 0) {
            FAILS(modeconn_fitter_run(run, -1, small_progress, &stop), MODECONN_ERROR_CANCELLED,
                  "cancelled");
        }
        OK(modeconn_fitter_save(run, folder_path("fit")));
        next = fitter_of(paths[1], settings);
        OK(modeconn_fitter_load(next, folder_path("fit")));
        ck_assert(equal_paths(paths[0], paths[1]));
        OK(modeconn_fitter_epochs(next, &done, &total));
        ck_assert_int_eq(done, at / 3);
        ck_assert_int_eq(total, 3);
        OK(modeconn_fitter_run(next, -1, NULL, NULL));
        ck_assert(equal_paths(whole, paths[1]));
        if (at == 4) { /* also in the same fitter */
            OK(modeconn_fitter_run(run, -1, NULL, NULL));
            ck_assert(equal_paths(whole, paths[0]));
        }
        modeconn_fitter_destroy(run);
        modeconn_fitter_destroy(next);
        modeconn_path_destroy(paths[0]);
        modeconn_path_destroy(paths[1]);
    }
    modeconn_path_destroy(whole);
}
END_TEST

/* A fit that was left while it diverged. */
START_TEST(not_finite)
{
    modeconn_path *path = path_of("degree=3"), *loaded = NULL;
    modeconn_fitter *fitter = fitter_of(path, settings);
    double length = -1;
    OK(modeconn_path_save(path, folder_path("path")));
    OK(modeconn_fitter_save(fitter, folder_path("fit")));
    path->points[2]->theta[7] = NAN;
    FAILS(modeconn_path_save(path, folder_path("path")), MODECONN_ERROR_NUMERIC, "control point 2");
    FAILS(modeconn_fitter_save(fitter, folder_path("fit")), MODECONN_ERROR_NUMERIC,
          "value 7 of 2.theta is nan");
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), folder_path("fit")));
    FAILS(modeconn_path_length(path, &length), MODECONN_ERROR_NUMERIC, "not finite");
    ck_assert_double_eq(length, -1);
    OK(modeconn_path_load(context, folder_path("path"), &loaded));
    OK(modeconn_fitter_load(fitter, folder_path("fit")));
    ck_assert(equal_paths(path, loaded));
    ck_assert_int_eq(folder_count(), 2);
    modeconn_path_destroy(loaded);
    modeconn_fitter_destroy(fitter);
    modeconn_path_destroy(path);
}
END_TEST

/* A loss that is not finite leads back to the epoch's start, after loading not to the file's. */
START_TEST(epoch_start)
{
    static const char explosive[] = "epochs=2,batch_size=20,learning_rate=0.01,momentum=0.9,seed=4,"
                                    "schedule=step,step_epochs=1,step_factor=1e30";
    modeconn_path *path = path_of("degree=3"), *other = path_of("degree=3"), *start = NULL;
    modeconn_fitter *fitter = fitter_of(path, explosive), *next = fitter_of(other, explosive);
    small_stop stop = {.at = 1};
    int64_t done = -1;
    OK(modeconn_fitter_run(fitter, 1, NULL, NULL));
    OK(modeconn_path_save(path, folder_path("start")));
    OK(modeconn_path_load(context, folder_path("start"), &start));
    FAILS(modeconn_fitter_run(fitter, -1, small_progress, &stop), MODECONN_ERROR_CANCELLED, "");
    OK(modeconn_fitter_save(fitter, folder_path("fit")));
    OK(modeconn_fitter_load(next, folder_path("fit")));
    ck_assert(!equal_paths(other, start));
    for (int again = 0; again < 2; again++) { /* and the fitter stays usable */
        FAILS(modeconn_fitter_run(next, -1, NULL, NULL), MODECONN_ERROR_NUMERIC,
              "path fit, epoch 1, step 1, learning rate 1e+28: at t = ");
        ck_assert(equal_paths(other, start));
        OK(modeconn_fitter_epochs(next, &done, NULL));
        ck_assert_int_eq(done, 1);
        for (int64_t i = 0; i < first->n_theta; i++) {
            ck_assert(next->velocity[1][i] == 0.0f && next->velocity[2][i] == 0.0f);
        }
    }
    modeconn_path_destroy(start);
    modeconn_fitter_destroy(next);
    modeconn_fitter_destroy(fitter);
    modeconn_path_destroy(other);
    modeconn_path_destroy(path);
}
END_TEST

START_TEST(other_fits)
{
    modeconn_path *path = path_of("degree=2"), *cubic = path_of("degree=3"), *moved = NULL;
    modeconn_fitter *fitter = fitter_of(path, settings), *other = NULL;
    OK(modeconn_fitter_run(fitter, 1, NULL, NULL));
    OK(modeconn_fitter_save(fitter, folder_path("fit")));
    other = fitter_of(cubic, settings);
    FAILS(modeconn_fitter_load(other, folder_path("fit")), MODECONN_ERROR_ARGUMENT, "3 points");
    modeconn_fitter_destroy(other);
    other = fitter_of(path, "epochs=3,batch_size=20,learning_rate=0.06,schedule=cosine,seed=4,"
                            "views=cue,nocue");
    FAILS(modeconn_fitter_load(other, folder_path("fit")), MODECONN_ERROR_ARGUMENT,
          "learning_rate=0.06");
    modeconn_fitter_destroy(other);
    other = fitter_of(path, "epochs=3,batch_size=20,learning_rate=0.05,schedule=cosine,seed=4");
    FAILS(modeconn_fitter_load(other, folder_path("fit")), MODECONN_ERROR_ARGUMENT, "dataset");
    modeconn_fitter_destroy(other);
    first->theta[3] += 1;
    moved = path_of("degree=2");
    other = fitter_of(moved, settings);
    FAILS(modeconn_fitter_load(other, folder_path("fit")), MODECONN_ERROR_ARGUMENT, "ends");
    OK(modeconn_path_save(moved, folder_path("path")));
    FAILS(modeconn_fitter_load(other, folder_path("path")), MODECONN_ERROR_FORMAT, "format");
    FAILS(modeconn_fitter_load(other, folder_path("none")), MODECONN_ERROR_IO, "none");
    FAILS(modeconn_fitter_load(NULL, "x"), MODECONN_ERROR_ARGUMENT, "fitter");
    FAILS(modeconn_fitter_load(other, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_fitter_save(NULL, "x"), MODECONN_ERROR_ARGUMENT, "fitter");
    FAILS(modeconn_fitter_save(other, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_fitter_save(other, folder_path("no/fit")), MODECONN_ERROR_IO, "no/fit");
    FAILS(modeconn_fitter_run(NULL, 1, NULL, NULL), MODECONN_ERROR_ARGUMENT, "fitter");
    FAILS(modeconn_fitter_run(other, -2, NULL, NULL), MODECONN_ERROR_ARGUMENT, "-2");
    FAILS(modeconn_fitter_epochs(NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "fitter");
    FAILS(modeconn_fitter_create(path, data, NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    modeconn_fitter_destroy(NULL);
    modeconn_fitter_destroy(other);
    modeconn_fitter_destroy(fitter);
    modeconn_path_destroy(moved);
    modeconn_path_destroy(cubic);
    modeconn_path_destroy(path);
}
END_TEST

/* Puts `to` (of equal length) for the first `from` in a saved path and loads that. */
static int32_t load_with(const char *from, const char *to)
{
    size_t size, length = strlen(from);
    modeconn_path *path = path_of("degree=2"), *loaded = NULL;
    OK(modeconn_path_save(path, folder_path("bad")));
    char *bytes = file_get(folder_path("bad"), &size), *at = NULL;
    for (size_t i = 0; at == NULL && i + length <= size; i++) {
        at = memcmp(bytes + i, from, length) == 0 ? bytes + i : NULL;
    }
    ck_assert_msg(at != NULL, "no %s", from);
    ck_assert_uint_eq(strlen(to), length);
    memcpy(at, to, length);
    file_put(folder_path("bad"), bytes, size);
    int32_t status = modeconn_path_load(context, folder_path("bad"), &loaded);
    ck_assert_ptr_null(loaded);
    free(bytes);
    modeconn_path_destroy(path);
    return status;
}

START_TEST(hostile)
{
    modeconn_path *path = path_of("degree=2"), *loaded = NULL;
    modeconn_model *model = NULL;
    size_t size;
    FAILS(load_with("path.1", "path.2"), MODECONN_ERROR_FORMAT, "path.2");
    FAILS(load_with("bezier", "spline"), MODECONN_ERROR_UNKNOWN, "spline");
    FAILS(load_with("points\":\"3", "points\":\"4"), MODECONN_ERROR_UNKNOWN, "3.");
    FAILS(load_with("points\":\"3", "points\":\"2"), MODECONN_ERROR_UNKNOWN, "tensors");
    FAILS(load_with("points\":\"3", "points\":\"1"), MODECONN_ERROR_FORMAT, "is 1");
    FAILS(load_with("points\":\"3", "points\":\"x"), MODECONN_ERROR_FORMAT, "points");
    FAILS(load_with("vgg13", "vgg99"), MODECONN_ERROR_UNKNOWN, "vgg99");
    FAILS(load_with("modeconn.family", "modeconn.famili"), MODECONN_ERROR_FORMAT, "family");
    FAILS(load_with("2.training_data\":\"none\"", "modeconn.fit\":\"no JSON\""),
          MODECONN_ERROR_FORMAT, "fit");
    FAILS(load_with("1.linear.weight", "1.linear.wieght"), MODECONN_ERROR_UNKNOWN,
          "1.linear.weight");
    OK(modeconn_path_save(path, folder_path("good")));
    char *bytes = file_get(folder_path("good"), &size);
    memcpy(bytes + size - 4, "\xff\xff\xff\x7f", 4); /* NaN */
    file_put(folder_path("bad"), bytes, size);
    FAILS(modeconn_path_load(context, folder_path("bad"), &loaded), MODECONN_ERROR_NUMERIC, "2");
    for (size_t cut = 0; cut < size; cut += size / 40) {
        file_put(folder_path("bad"), bytes, cut);
        FAILS(modeconn_path_load(context, folder_path("bad"), &loaded), MODECONN_ERROR_FORMAT,
              "bad");
    }
    FAILS(modeconn_model_load(context, folder_path("good"), &model), MODECONN_ERROR_FORMAT,
          "not a saved model");
    OK(modeconn_model_save(first, folder_path("model")));
    FAILS(modeconn_path_load(context, folder_path("model"), &loaded), MODECONN_ERROR_FORMAT,
          "not a saved path");
    FAILS(modeconn_path_load(context, folder_path("none"), &loaded), MODECONN_ERROR_IO, "none");
    FAILS(modeconn_path_load(NULL, "x", &loaded), MODECONN_ERROR_ARGUMENT, "context");
    FAILS(modeconn_path_load(context, NULL, &loaded), MODECONN_ERROR_ARGUMENT, "file");
    FAILS(modeconn_path_load(context, "x", NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_path_save(NULL, "x"), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_save(path, NULL), MODECONN_ERROR_ARGUMENT, "file");
    free(bytes);
    modeconn_path_destroy(path);
}
END_TEST

/* Every block moves in exactly one of the listed groups, and nothing else does. */
START_TEST(groups)
{
    modeconn_path *path = path_of("degree=2,start=random"), *one = NULL;
    int64_t count = 0, n = first->n_theta;
    int *moves = calloc((size_t)n, sizeof(*moves));
    ck_assert_ptr_nonnull(moves);
    OK(modeconn_path_group_count(path, &count));
    ck_assert_int_eq(count, 21); /* ten convolutions, ten norms, one linear layer */
    for (int64_t g = 0; g < count; g++) {
        char name[64];
        OK(modeconn_path_group_name(path, g, name, sizeof(name), NULL));
        OK(modeconn_path_group(path, name, &one));
        for (int64_t i = 0; i < n; i++) {
            for (int k = 1; k < 3; k++) {
                float value = one->points[k]->theta[i];
                bool own = value != first->theta[i];
                ck_assert(!own || value == path->points[k]->theta[i]);
                moves[i] += k == 2 && own;
            }
        }
        ck_assert(small_equal(one->points[0], first));
        ck_assert_int_eq(one->points[2]->n_meta, 0); /* nobody trained that one */
        modeconn_path_destroy(one);
    }
    for (int64_t i = 0; i < n; i++) {
        ck_assert_int_eq(moves[i], first->theta[i] != second->theta[i]);
    }
    OK(modeconn_path_group(path, "layers.0", &one)); /* a prefix: its statistics go along */
    ck_assert(one->points[2]->statistics[0] == second->statistics[0]);
    modeconn_path_destroy(one);
    OK(modeconn_path_group(path, "linear", &one));
    ck_assert(one->points[2]->statistics[0] == first->statistics[0]);
    modeconn_path_destroy(one);
    char small[2];
    one = NULL;
    FAILS(modeconn_path_group(path, "layers.", &one), MODECONN_ERROR_UNKNOWN, "layers.");
    FAILS(modeconn_path_group(path, "lay", &one), MODECONN_ERROR_UNKNOWN, "lay");
    FAILS(modeconn_path_group(NULL, "linear", &one), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_group(path, NULL, &one), MODECONN_ERROR_ARGUMENT, "group");
    FAILS(modeconn_path_group(path, "linear", NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_path_group_count(NULL, &count), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_group_count(path, NULL), MODECONN_ERROR_ARGUMENT, "count");
    FAILS(modeconn_path_group_name(NULL, 0, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_group_name(path, 21, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "21");
    FAILS(modeconn_path_group_name(path, -1, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(modeconn_path_group_name(path, 0, small, 2, NULL), MODECONN_ERROR_BUFFER, "");
    free(moves);
    modeconn_path_destroy(path);
}
END_TEST

START_TEST(out_of_memory)
{
    failing allocator;
    modeconn_context *failing_one = failing_context(&allocator);
    modeconn_dataset *points = small_points(failing_one, 6, 1);
    modeconn_model *model = small_model(failing_one, "mlp", "5", points);
    for (long k = 1;; k++) {
        modeconn_path *path = NULL, *loaded = NULL, *group = NULL;
        modeconn_fitter *fitter = NULL;
        modeconn_options *options = options_of("path_fit", "epochs=1");
        long live = atomic_load(&allocator.live);
        failing_at(&allocator, k);
        int32_t status = modeconn_path_create(model, model, NULL, &path);
        status = status < 0 ? status : modeconn_fitter_create(path, points, options, &fitter);
        status = status < 0 ? status : modeconn_fitter_run(fitter, -1, NULL, NULL);
        status = status < 0 ? status : modeconn_fitter_save(fitter, folder_path("fit"));
        status = status < 0 ? status : modeconn_fitter_load(fitter, folder_path("fit"));
        status = status < 0 ? status : modeconn_path_save(path, folder_path("a"));
        status = status < 0 ? status : modeconn_path_load(failing_one, folder_path("a"), &loaded);
        status = status < 0 ? status : modeconn_path_group(path, "linear", &group);
        failing_at(&allocator, 0);
        modeconn_path_destroy(group);
        modeconn_fitter_destroy(fitter);
        modeconn_path_destroy(loaded);
        modeconn_path_destroy(path);
        modeconn_options_destroy(options);
        ck_assert_int_eq(atomic_load(&allocator.live), live);
        if (status == MODECONN_OK || status == MODECONN_ERROR_UNKNOWN) {
            ck_assert_int_gt(k, 50);
            break;
        }
        ck_assert_msg(status == MODECONN_ERROR_MEMORY, "%ld: %s", k, modeconn_last_error());
    }
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(points);
    modeconn_context_destroy(failing_one);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, saves, 0, 3);
    tcase_add_test(tests, resumes);
    tcase_add_test(tests, not_finite);
    tcase_add_test(tests, epoch_start);
    tcase_add_test(tests, other_fits);
    tcase_add_test(tests, hostile);
    tcase_add_test(tests, groups);
    tcase_add_test(tests, out_of_memory);
}

int main(void)
{
    return unit_run("path/file", add);
}
