/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tests of the safetensors reader and writer: round trips, the layout byte for byte, and every
 * kind of damage.
 */
#include "core/core.h"
#include "failing.h"
#include "folder.h"
#include "io/io.h"
#include "io/safetensors.h"
#include "unit.h"

#include <math.h>
#include <sys/stat.h>

/* ---- helpers ------------------------------------------------------------------------------- */

/* A file of this header and `n_data` bytes counting up from 0; its path. */
static const char *put(const char *header, size_t n_data)
{
    size_t length = strlen(header);
    unsigned char *bytes = calloc(1, 8 + length + n_data);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(length >> (8 * i));
    }
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < n_data; i++) {
        bytes[8 + length + i] = (unsigned char)i;
    }
    const char *path = folder_path("file.safetensors");
    file_put(path, bytes, 8 + length + n_data);
    free(bytes);
    return path;
}

/* The file is refused as damaged; the text names the path and `culprit`. */
static void refused(const char *path, const char *culprit)
{
    mc_safetensors *file = (mc_safetensors *)folder;
    FAILS(mc_safetensors_read(NULL, path, &file), MODECONN_ERROR_FORMAT, culprit);
    ck_assert_ptr_null(file);
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), path));
}

static mc_tensor tensor_of(const char *name, const char *dtype, const void *data, int64_t size)
{
    return (mc_tensor){
        .name = name, .dtype = dtype, .data = data, .size = size, .rank = 1, .shape = {size}};
}

/* What `dtype` bytes become as one float. */
static float converted(const char *dtype, uint64_t bits)
{
    mc_tensor tensor = tensor_of("x", dtype, &bits, 1);
    float value = -1;
    OK(mc_tensor_to_f32(&tensor, &value));
    return value;
}

/* ---- round trips --------------------------------------------------------------------------- */

START_TEST(test_round_trip)
{
    static const float values[6] = {0, -1.5F, 3e-39F, 1e30F, 5, 6};
    static const int64_t counts[2] = {-7, INT64_MAX};
    static const double scalar = 0.1;
    mc_tensor tensors[4] = {
        tensor_of("weight", "F32", values, 6), tensor_of("count", "I64", counts, 2),
        tensor_of("scalar", "F64", &scalar, 1), tensor_of("none", "F32", NULL, 0)};
    tensors[0].rank = 2;
    tensors[0].shape[0] = 2;
    tensors[0].shape[1] = 3;
    tensors[2].rank = 0;
    tensors[3].rank = 3;
    tensors[3].shape[0] = 4;
    tensors[3].shape[2] = 9;
    static const char *const keys[] = {"b", "a"}, *const texts[] = {"2", ""};
    const char *path = folder_path("m.safetensors");
    OK(mc_safetensors_write(NULL, path, tensors, 4, keys, texts, 2));

    mc_safetensors *file = NULL;
    OK(mc_safetensors_read(NULL, path, &file));
    ck_assert_int_eq(mc_safetensors_count(file), 4);
    for (int64_t i = 0; i < 4; i++) {
        const mc_tensor *got = mc_safetensors_at(file, i), *put_in = &tensors[i];
        ck_assert_str_eq(got->name, put_in->name);
        ck_assert_str_eq(got->dtype, put_in->dtype);
        ck_assert_int_eq(got->rank, put_in->rank);
        ck_assert_int_eq(got->size, put_in->size);
        ck_assert_mem_eq(got->shape, put_in->shape, (size_t)got->rank * sizeof(int64_t));
        ck_assert_ptr_eq(mc_safetensors_find(file, put_in->name), got);
    }
    ck_assert_mem_eq(mc_safetensors_at(file, 0)->data, values, sizeof(values));
    ck_assert_mem_eq(mc_safetensors_at(file, 1)->data, counts, sizeof(counts));
    ck_assert_mem_eq(mc_safetensors_at(file, 2)->data, &scalar, sizeof(scalar));
    ck_assert_ptr_null(mc_safetensors_find(file, "weigh"));
    ck_assert_ptr_null(mc_safetensors_find(file, "weight2"));
    ck_assert_ptr_null(mc_safetensors_find(file, "__metadata__"));
    ck_assert_int_eq(mc_safetensors_meta_count(file), 2);
    for (int64_t i = 0; i < 2; i++) {
        const char *key = NULL, *text = NULL;
        mc_safetensors_meta_at(file, i, &key, &text);
        ck_assert_str_eq(key, keys[i]);
        ck_assert_str_eq(text, texts[i]);
        ck_assert_str_eq(mc_safetensors_meta(file, key), texts[i]);
    }
    ck_assert_ptr_null(mc_safetensors_meta(file, "c"));
    mc_safetensors_free(file);
    mc_safetensors_free(NULL);
}
END_TEST

START_TEST(test_bytes_as_the_format_says)
{
    static const char expected[] = "{\"__metadata__\":{\"k\":\"v\"},\"w\":{\"dtype\":\"F32\","
                                   "\"shape\":[1],\"data_offsets\":[0,4]}}";
    static const float one = 1;
    static const char *const key = "k", *const text = "v";
    mc_tensor tensor = tensor_of("w", "F32", &one, 1);
    const char *path = folder_path("m.safetensors");
    OK(mc_safetensors_write(NULL, path, &tensor, 1, &key, &text, 1));
    size_t size = 0;
    char *bytes = file_get(path, &size);
    size_t header = (unsigned char)bytes[0];
    ck_assert_mem_eq(bytes + 1, "\0\0\0\0\0\0\0", 7);
    ck_assert_uint_eq(header % 8, 0);
    ck_assert_uint_ge(header, strlen(expected));
    ck_assert_uint_lt(header, strlen(expected) + 8);
    ck_assert_mem_eq(bytes + 8, expected, strlen(expected));
    for (size_t i = strlen(expected); i < header; i++) {
        ck_assert_int_eq(bytes[8 + i], ' ');
    }
    ck_assert_uint_eq(size, 8 + header + 4);
    ck_assert_mem_eq(bytes + 8 + header, "\0\0\x80\x3f", 4);
    free(bytes);
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

/* The tensors begin at a multiple of 8 whatever the header's length. */
START_TEST(test_alignment)
{
    static const float value = 2;
    for (size_t length = 1; length < 20; length++) {
        char name[32] = "";
        memset(name, 'n', length);
        mc_tensor tensor = tensor_of(name, "F32", &value, 1);
        mc_safetensors *file = NULL;
        const char *path = folder_path("m.safetensors");
        OK(mc_safetensors_write(NULL, path, &tensor, 1, NULL, NULL, 0));
        struct stat info;
        ck_assert_int_eq(stat(path, &info), 0);
        ck_assert_int_eq(info.st_size % 8, 4);
        OK(mc_safetensors_read(NULL, path, &file));
        ck_assert_int_eq(mc_safetensors_meta_count(file), 0);
        ck_assert_ptr_null(mc_safetensors_meta(file, "k"));
        ck_assert_mem_eq(mc_safetensors_at(file, 0)->data, &value, sizeof(value));
        mc_safetensors_free(file);
    }
}
END_TEST

START_TEST(test_awkward_names)
{
    static const char *const names[] = {"",
                                        " ",
                                        "a\"b\\c/d",
                                        "line\nbreak\ttab",
                                        "\x01\x1f\x7f",
                                        "\xc3\xa4\xf0\x9f\x98\x80",
                                        "%s%n",
                                        "{}[]:,",
                                        "__metadata",
                                        "a.b.c"};
    enum { N = sizeof(names) / sizeof(names[0]) };
    float values[N];
    mc_tensor tensors[N];
    for (int i = 0; i < N; i++) {
        values[i] = (float)i;
        tensors[i] = tensor_of(names[i], "F32", &values[i], 1);
    }
    const char *path = folder_path("m.safetensors");
    OK(mc_safetensors_write(NULL, path, tensors, N, names, names, N));
    mc_safetensors *file = NULL;
    OK(mc_safetensors_read(NULL, path, &file));
    ck_assert_int_eq(mc_safetensors_count(file), N);
    for (int i = 0; i < N; i++) {
        float value = -1;
        const mc_tensor *tensor = mc_safetensors_find(file, names[i]);
        ck_assert_ptr_nonnull(tensor);
        OK(mc_tensor_to_f32(tensor, &value));
        ck_assert_float_eq(value, (float)i);
        ck_assert_str_eq(mc_safetensors_at(file, i)->name, names[i]);
        ck_assert_str_eq(mc_safetensors_meta(file, names[i]), names[i]);
    }
    mc_safetensors_free(file);
}
END_TEST

START_TEST(test_nothing_at_all)
{
    mc_safetensors *file = NULL;
    const char *path = folder_path("m.safetensors");
    OK(mc_safetensors_write(NULL, path, NULL, 0, NULL, NULL, 0));
    OK(mc_safetensors_read(NULL, path, &file));
    ck_assert_int_eq(mc_safetensors_count(file), 0);
    mc_safetensors_free(file);
}
END_TEST

/* ---- the writer's refusals ----------------------------------------------------------------- */

static void write_refused(const mc_tensor *tensors, int64_t n, const char *key, const char *text,
                          const char *culprit)
{
    const char *keys[2] = {key, key}, *texts[2] = {text, text};
    const char *path = folder_path("m.safetensors");
    int64_t n_meta = key == NULL ? 0 : strcmp(key, "twice") == 0 ? 2 : 1;
    FAILS(mc_safetensors_write(NULL, path, tensors, n, keys, texts, n_meta),
          MODECONN_ERROR_ARGUMENT, culprit);
    ck_assert_int_eq(folder_count(), 0);
}

START_TEST(test_writer_refuses)
{
    static const float values[2] = {1, 2};
    mc_tensor same[2] = {tensor_of("same", "F32", values, 2), tensor_of("same", "F32", values, 2)};
    write_refused(same, 2, NULL, NULL, "\"same\": the name is given twice");
    same[1] = tensor_of("__metadata__", "F32", values, 2);
    write_refused(same, 2, NULL, NULL, "reserved");
    same[1] = tensor_of("bad\xff", "F32", values, 2);
    write_refused(same, 2, NULL, NULL, "UTF-8");
    same[1] = tensor_of("odd", "F31", values, 2);
    write_refused(same, 2, NULL, NULL, "\"odd\": the type is unknown");
    same[1] = tensor_of("odd", "F32", values, 2);
    same[1].shape[0] = 3;
    write_refused(same, 2, NULL, NULL, "\"odd\": the shape");
    same[1].shape[0] = -2;
    write_refused(same, 2, NULL, NULL, "\"odd\": the shape");
    same[1].rank = 9;
    write_refused(same, 2, NULL, NULL, "\"odd\": it has more than 8 dimensions");
    write_refused(same, 1, "key\xff", "text", "UTF-8");
    write_refused(same, 1, "key", "\xc3", "\"key\" is not UTF-8");
    write_refused(same, 1, "twice", "text", "\"twice\" is given twice");
}
END_TEST

START_TEST(test_writer_failures_keep_the_old_file)
{
    static const float values[2] = {1, 2};
    mc_tensor tensor = tensor_of("w", "F32", values, 2);
    FAILS(mc_safetensors_write(NULL, "/dev/full", &tensor, 1, NULL, NULL, 0), MODECONN_ERROR_IO,
          "/dev/full: No space left");
    FAILS(mc_safetensors_write(NULL, folder_path("no/m"), &tensor, 1, NULL, NULL, 0),
          MODECONN_ERROR_IO, "no/m");
    const char *path = folder_path("m.safetensors");
    file_put(path, "old", 3);
    failing memory = {0};
    modeconn_context context = {
        .alloc = failing_alloc, .release = failing_free, .alloc_user = &memory};
    for (long k = 1;; k++) {
        failing_at(&memory, k);
        int32_t status = mc_safetensors_write(&context, path, &tensor, 1, NULL, NULL, 0);
        ck_assert_int_eq(memory.live, 0);
        ck_assert_int_eq(folder_count(), 1);
        if (status == MODECONN_OK) {
            ck_assert_int_gt(k, 3);
            break;
        }
        ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
        char *text = file_get(path, NULL);
        ck_assert_str_eq(text, "old");
        free(text);
    }
}
END_TEST

/* ---- files of others ----------------------------------------------------------------------- */

START_TEST(test_valid_files_of_others)
{
    static const char *const headers[] = {
        /* tensors not in the order of their bytes, padding, odd header length */
        "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[5,8]},"
        "\"a\":{\"data_offsets\":[0,5],\"shape\":[5],\"dtype\":\"BOOL\"}}   ",
        /* empty tensors between, and with sizes whose product would overflow but for the zero */
        "{\"a\":{\"dtype\":\"I8\",\"shape\":[8],\"data_offsets\":[0,8]},"
        "\"b\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[8,8]},"
        "\"c\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904,4611686018427387904,0],"
        "\"data_offsets\":[0,0]}}",
        /* unaligned wide types, a key of a later version */
        "{\"a\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[0,1]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5],\"later\":null},"
        "\"c\":{\"dtype\":\"F8_E4M3\",\"shape\":[3,1,1,1,1,1,1,1],\"data_offsets\":[5,8]}}"};
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        mc_safetensors *file = NULL;
        OK(mc_safetensors_read(NULL, put(headers[i], 8), &file));
        const mc_tensor *a = mc_safetensors_find(file, "a"), *b = mc_safetensors_find(file, "b");
        ck_assert_int_eq(*(const unsigned char *)a->data, 0);
        ck_assert(b->size == 0 || *(const unsigned char *)b->data == (i == 0 ? 5 : 1));
        mc_safetensors_free(file);
    }
}
END_TEST

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"w\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

START_TEST(test_damaged_headers)
{
    static const struct {
        const char *header, *culprit;
    } cases[] = {
        {"", "not a JSON object"},
        {"[]", "not a JSON object"},
        {" {}", "not a JSON object"},
        {"{", "damaged header"},
        {"{}}", "damaged header"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"w\\u0000\":{}}", "damaged header"},
        {"{\"\xff\":{}}", "damaged header"},
        {"{\"w\":[]}", "\"w\": its entry is not an object"},
        {"{\"w\":{}}", "\"w\": its dtype"},
        {ENTRY("7", "[2]", "[0,8]"), "\"w\": its dtype"},
        {ENTRY("\"F33\"", "[2]", "[0,8]"), "\"w\": its dtype"},
        {ENTRY("\"f32\"", "[2]", "[0,8]"), "\"w\": its dtype"},
        {ENTRY("\"F32\"", "2", "[0,8]"), "\"w\": its shape"},
        {ENTRY("\"F32\"", "[-2]", "[0,8]"), "\"w\": its shape"},
        {ENTRY("\"F32\"", "[2.0]", "[0,8]"), "\"w\": its shape"},
        {ENTRY("\"F32\"", "[\"2\"]", "[0,8]"), "\"w\": its shape"},
        {ENTRY("\"F32\"", "[2,1,1,1,1,1,1,1,1]", "[0,8]"), "\"w\": its shape"},
        {ENTRY("\"F32\"", "[4611686018427387904]", "[0,8]"), "\"w\": its shape is too large"},
        {ENTRY("\"F32\"", "[3037000500,3037000500]", "[0,8]"), "\"w\": its shape is too large"},
        {ENTRY("\"F32\"", "[99999999999999999999]", "[0,8]"), "damaged header"},
        {ENTRY("\"F32\"", "[2]", "8"), "\"w\": its data_offsets are not"},
        {ENTRY("\"F32\"", "[2]", "[8]"), "\"w\": its data_offsets are not"},
        {ENTRY("\"F32\"", "[2]", "[0,4,8]"), "\"w\": its data_offsets are not"},
        {ENTRY("\"F32\"", "[2]", "[-8,0]"), "\"w\": its data_offsets are not"},
        {ENTRY("\"F32\"", "[2]", "[8,0]"), "\"w\": its data_offsets lie outside"},
        {ENTRY("\"F32\"", "[2]", "[8,16]"), "\"w\": its data_offsets lie outside"},
        {ENTRY("\"F32\"", "[2]", "[0,9223372036854775807]"), "lie outside"},
        {ENTRY("\"F32\"", "[3]", "[0,8]"), "\"w\": its data_offsets do not hold"},
        {ENTRY("\"F32\"", "[1]", "[0,4]"), "4 bytes after the last tensor"},
        {ENTRY("\"F32\"", "[1]", "[4,8]"), "\"w\" leaves a gap"},
        {"{}", "8 bytes after the last tensor"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
         "\"b\" overlaps"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}",
         "\"b\" overlaps"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
         "\"b\" leaves a gap"},
        {"{\"__metadata__\":[]}", "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"k\":1}}", "metadata \"k\" is not text"},
        {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        refused(put(cases[i].header, 8), cases[i].culprit);
    }
}
END_TEST

START_TEST(test_damaged_lengths)
{
    const char *path = folder_path("file.safetensors");
    file_put(path, "", 0);
    refused(path, "0 bytes");
    file_put(path, "\2\0\0\0\0\0\0", 7);
    refused(path, "7 bytes");
    file_put(path, "\2\0\0\0\0\0\0\0{", 9);
    refused(path, "a header of 2 bytes in a file of 9");
    file_put(path, "\377\377\377\377\377\377\377\377{}", 10);
    refused(path, "over the limit");
    file_put(path, "\1\341\365\5\0\0\0\0{}", 10); /* 100,000,001 */
    refused(path, "over the limit");
    file_put(path, "\0\341\365\5\0\0\0\0{}", 10); /* 100,000,000 */
    refused(path, "a header of 100000000 bytes in a file of 10");
    file_put(path, "PK\3\4 this is a zip file, as PyTorch writes them", 45);
    refused(path, "not a safetensors file");
}
END_TEST

START_TEST(test_not_readable)
{
    mc_safetensors *file = NULL;
    FAILS(mc_safetensors_read(NULL, folder_path("none"), &file), MODECONN_ERROR_IO,
          "none: No such file or directory");
    FAILS(mc_safetensors_read(NULL, folder, &file), MODECONN_ERROR_IO, "Is a directory");
    FAILS(mc_safetensors_read(NULL, "/dev/zero", &file), MODECONN_ERROR_IO,
          "/dev/zero: not a regular file");
    ck_assert_int_eq(mkfifo(folder_path("pipe"), 0600), 0);
    FAILS(mc_safetensors_read(NULL, folder_path("pipe"), &file), MODECONN_ERROR_IO,
          "not a regular file");
}
END_TEST

/* A small but complete file. */
static char *sample_file(size_t *size)
{
    static const float values[4] = {1, 2, 3, 4};
    mc_tensor tensors[2] = {tensor_of("layers.0.weight", "F32", values, 4),
                            tensor_of("bias", "F32", values, 2)};
    static const char *const keys[] = {"modeconn.format"}, *const texts[] = {"1"};
    const char *path = folder_path("sample");
    OK(mc_safetensors_write(NULL, path, tensors, 2, keys, texts, 1));
    return file_get(path, size);
}

START_TEST(test_truncated_at_every_byte)
{
    size_t size = 0;
    char *bytes = sample_file(&size);
    for (size_t cut = 0; cut < size; cut++) {
        file_put(folder_path("cut"), bytes, cut);
        refused(folder_path("cut"), "cut");
    }
    free(bytes);
}
END_TEST

/* Every bit of length and header turned in turn: a status, never a crash, and what is accepted
 * must be wholly inside the file. */
START_TEST(test_every_bit_of_the_header_turned)
{
    size_t size = 0;
    char *bytes = sample_file(&size);
    size_t header = 8 + (unsigned char)bytes[0];
    for (size_t bit = 0; bit < header * 8; bit++) {
        mc_safetensors *file = NULL;
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << (bit % 8)));
        file_put(folder_path("turned"), bytes, size);
        int32_t status = mc_safetensors_read(NULL, folder_path("turned"), &file);
        ck_assert(status == MODECONN_OK || status == MODECONN_ERROR_FORMAT);
        for (int64_t i = 0; status == MODECONN_OK && i < mc_safetensors_count(file); i++) {
            float values[6];
            const mc_tensor *tensor = mc_safetensors_at(file, i);
            ck_assert_int_le(tensor->size, 6);
            (void)mc_tensor_to_f32(tensor, values);
        }
        mc_safetensors_free(file);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << (bit % 8)));
    }
    free(bytes);
}
END_TEST

START_TEST(test_random_bytes_in_the_header)
{
    size_t size = 0;
    char *bytes = sample_file(&size);
    char *damaged = malloc(size);
    ck_assert_ptr_nonnull(damaged);
    uint64_t header = 8 + (unsigned char)bytes[0];
    for (uint64_t round = 0; round < 1000; round++) {
        mc_safetensors *file = NULL;
        memcpy(damaged, bytes, size);
        for (uint32_t k = 0; k < 1 + round % 4; k++) {
            uint64_t random = mc_random_u64(1, 1, round, k);
            damaged[random % header] = (char)(random >> 32);
        }
        file_put(folder_path("random"), damaged, size);
        (void)mc_safetensors_read(NULL, folder_path("random"), &file);
        mc_safetensors_free(file);
    }
    free(damaged);
    free(bytes);
}
END_TEST

START_TEST(test_reader_out_of_memory)
{
    size_t size = 0;
    free(sample_file(&size));
    failing memory = {0};
    modeconn_context context = {
        .alloc = failing_alloc, .release = failing_free, .alloc_user = &memory};
    for (long k = 1;; k++) {
        mc_safetensors *file = NULL;
        failing_at(&memory, k);
        int32_t status = mc_safetensors_read(&context, folder_path("sample"), &file);
        if (status == MODECONN_OK) {
            mc_safetensors_free(file);
            ck_assert_int_eq(memory.live, 0);
            ck_assert_int_gt(k, 5);
            break;
        }
        ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
        ck_assert_ptr_null(file);
        ck_assert_int_eq(memory.live, 0);
    }
}
END_TEST

/* ---- number formats ------------------------------------------------------------------------ */

START_TEST(test_conversions)
{
    ck_assert_float_eq(converted("F32", 0x3fc00000), 1.5F);
    ck_assert_float_eq(converted("F64", 0x3fb999999999999a), 0.1F);
    ck_assert_float_eq(converted("F64", 0x47efffffefffffff), 0x1.fffffep127F); /* rounds down */
    ck_assert(isinf(converted("F64", 0x7ff0000000000000)));
    ck_assert(isnan(converted("F64", 0x7ff8000000000000)));
    ck_assert_float_eq(converted("BF16", 0x3fc0), 1.5F);
    ck_assert_float_eq(converted("BF16", 0xc000), -2);
    ck_assert(isnan(converted("BF16", 0x7fc0)));
    ck_assert_float_eq(converted("F16", 0x3e00), 1.5F);
    ck_assert_float_eq(converted("F16", 0xc000), -2);
    ck_assert_float_eq(converted("F16", 0x7bff), 65504);
    ck_assert_float_eq(converted("F16", 0x0400), 0x1p-14F); /* smallest normal */
    ck_assert_float_eq(converted("F16", 0x03ff), 1023 * 0x1p-24F);
    ck_assert_float_eq(converted("F16", 0x8001), -0x1p-24F); /* smallest subnormal */
    ck_assert(converted("F16", 0x8000) == 0 && signbit(converted("F16", 0x8000)));
    ck_assert(isinf(converted("F16", 0x7c00)) && isinf(converted("F16", 0xfc00)));
    ck_assert_float_lt(converted("F16", 0xfc00), 0);
    ck_assert(isnan(converted("F16", 0x7e00)));
}
END_TEST

START_TEST(test_doubles_that_do_not_fit)
{
    static const double values[] = {1e39, -1e300, 0x1.ffffffp127};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        const double pair[2] = {0.5, values[i]};
        float out[2] = {0, 0};
        mc_tensor tensor = tensor_of("w", "F64", pair, 2);
        FAILS(mc_tensor_to_f32(&tensor, out), MODECONN_ERROR_NUMERIC, "value 1 of tensor \"w\"");
        FAILS(mc_tensor_to_f32(&tensor, out), MODECONN_ERROR_NUMERIC, "does not fit float32");
    }
}
END_TEST

START_TEST(test_every_half_is_ordered_like_its_bits)
{
    float before = -1;
    for (uint64_t bits = 0; bits < 0x7c00; bits++) {
        float value = converted("F16", bits);
        ck_assert_float_gt(value, before);
        ck_assert_float_eq(converted("F16", bits | 0x8000), -value);
        before = value;
    }
}
END_TEST

START_TEST(test_integers_do_not_convert)
{
    static const char *const dtypes[] = {"I64", "U8", "BOOL", "F8_E5M2"};
    static const int64_t one = 1;
    float value = 0;
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
        mc_tensor tensor = tensor_of("steps", dtypes[i], &one, 1);
        FAILS(mc_tensor_to_f32(&tensor, &value), MODECONN_ERROR_FORMAT, "\"steps\"");
        FAILS(mc_tensor_to_f32(&tensor, &value), MODECONN_ERROR_FORMAT, dtypes[i]);
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, folder_make, folder_remove);
    tcase_add_test(tests, test_round_trip);
    tcase_add_test(tests, test_bytes_as_the_format_says);
    tcase_add_test(tests, test_alignment);
    tcase_add_test(tests, test_awkward_names);
    tcase_add_test(tests, test_nothing_at_all);
    tcase_add_test(tests, test_writer_refuses);
    tcase_add_test(tests, test_writer_failures_keep_the_old_file);
    tcase_add_test(tests, test_valid_files_of_others);
    tcase_add_test(tests, test_damaged_headers);
    tcase_add_test(tests, test_damaged_lengths);
    tcase_add_test(tests, test_not_readable);
    tcase_add_test(tests, test_truncated_at_every_byte);
    tcase_add_test(tests, test_every_bit_of_the_header_turned);
    tcase_add_test(tests, test_random_bytes_in_the_header);
    tcase_add_test(tests, test_reader_out_of_memory);
    tcase_add_test(tests, test_conversions);
    tcase_add_test(tests, test_doubles_that_do_not_fit);
    tcase_add_test(tests, test_every_half_is_ordered_like_its_bits);
    tcase_add_test(tests, test_integers_do_not_convert);
}

int main(void)
{
    return unit_run("io_safetensors", add);
}
