/* SPDX-License-Identifier: BSD-3-Clause
 *
 * seeds CORPUS: small valid inputs for the fuzz targets, in CORPUS/fuzz_model_load,
 * CORPUS/fuzz_idx, CORPUS/fuzz_cifar, CORPUS/fuzz_npy and CORPUS/fuzz_npz (folders are made).
 */
#include <errno.h>
#include <modeconn/modeconn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>
#include <zlib.h>

static int failed(const char *what)
{
    fprintf(stderr, "seeds: %s: %s\n", what, modeconn_last_error());
    return 1;
}

/* CORPUS/fuzz_target/name, its folders made. */
static int place(const char *corpus, const char *target, const char *name, char path[512])
{
    snprintf(path, 512, "%s", corpus);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return failed(path);
    }
    snprintf(path, 512, "%s/%s", corpus, target);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return failed(path);
    }
    snprintf(path, 512, "%s/%s/%s", corpus, target, name);
    return 0;
}

static int put(const char *path, const void *bytes, size_t size)
{
    FILE *stream = fopen(path, "wb");
    if (stream == NULL || fwrite(bytes, 1, size, stream) != size || fclose(stream) != 0) {
        return failed(path);
    }
    return 0;
}

static int model_seed(const char *corpus, modeconn_context *context, const char *arch)
{
    char path[512];
    modeconn_options *options = NULL;
    modeconn_model *model = NULL;
    modeconn_options_create(NULL, "model", &options);
    modeconn_options_parse(options, "width=0.01,channels=1,height=8,width_pixels=8,classes=3");
    modeconn_options_set_str(options, "hidden", "2");
    if (modeconn_model_create(context, arch, NULL, options, &model) < 0 ||
        modeconn_model_set_metadata(model, "note", "seed") < 0 ||
        place(corpus, "fuzz_model_load", arch, path) != 0 || modeconn_model_save(model, path) < 0) {
        return failed(arch);
    }
    modeconn_model_destroy(model);
    modeconn_options_destroy(options);
    return 0;
}

static int graph_seed(const char *corpus, modeconn_context *context)
{
    char path[512];
    int32_t node = 0;
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    modeconn_graph_create(context, 1, 8, 8, &graph);
    modeconn_graph_add(graph, "conv2d", "conv", "out_channels=2,kernel=3", &node, 1, &node);
    modeconn_graph_add(graph, "batch_norm", "norm", "", &node, 1, &node);
    modeconn_graph_add(graph, "relu", NULL, "", &node, 1, &node);
    modeconn_graph_add(graph, "layer_norm", "layer", "over=channels", &node, 1, &node);
    modeconn_graph_add(graph, "gelu", NULL, "approximate=tanh", &node, 1, &node);
    modeconn_graph_add(graph, "linear", "head", "out_features=3", &node, 1, &node);
    if (modeconn_model_from_graph(graph, node, -1, &model) < 0 ||
        place(corpus, "fuzz_model_load", "graph", path) != 0 ||
        modeconn_model_save(model, path) < 0) {
        return failed("graph");
    }
    modeconn_model_destroy(model);
    modeconn_graph_destroy(graph);
    return 0;
}

/* Two images of 3x2 and their labels; fuzz_idx.c says how they are put together. */
static int idx_seeds(const char *corpus)
{
    static const unsigned char images[28] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0,
                                             0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255};
    static const unsigned char labels[10] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 1};
    unsigned char plain[40] = {sizeof(images), 0}, zipped[300] = {0};
    char path[512];
    memcpy(plain + 2, images, sizeof(images));
    memcpy(plain + 2 + sizeof(images), labels, sizeof(labels));
    if (place(corpus, "fuzz_idx", "plain", path) != 0 || put(path, plain, sizeof(plain)) != 0) {
        return 1;
    }
    z_stream stream = {.next_in = (unsigned char *)images,
                       .avail_in = sizeof(images),
                       .next_out = zipped + 2,
                       .avail_out = 250};
    if (deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflate(&stream, Z_FINISH) != Z_STREAM_END) {
        return failed("deflate");
    }
    zipped[0] = (unsigned char)stream.total_out;
    memcpy(zipped + 2 + stream.total_out, labels, sizeof(labels));
    size_t size = 2 + stream.total_out + sizeof(labels);
    deflateEnd(&stream);
    return place(corpus, "fuzz_idx", "gzip", path) != 0 || put(path, zipped, size) != 0;
}

static int cifar_seed(const char *corpus)
{
    static unsigned char records[1 + 2 * 3073];
    char path[512];
    records[0] = 1; /* two files of one record */
    records[1] = 9;
    records[1 + 3073] = 3;
    if (place(corpus, "fuzz_cifar", "two", path) != 0 || put(path, records, sizeof(records)) != 0) {
        return 1;
    }
    records[0] = 0; /* one file, and one record of CIFAR-100: labels 9 and 7 */
    records[2] = 7;
    return place(corpus, "fuzz_cifar", "hundred", path) != 0 || put(path, records, 1 + 3074);
}

/* A .npy of n bytes 1, 2, ... with this shape, in 128 + n bytes. */
static size_t npy_of(unsigned char *to, const char *shape, int n)
{
    memset(to, ' ', 128);
    memcpy(to, "\x93NUMPY\x01\x00\x76\x00", 10);
    int length = snprintf((char *)to + 10, 117,
                          "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }", shape);
    to[10 + length] = ' ';
    to[127] = '\n';
    for (int i = 0; i < n; i++) {
        to[128 + i] = (unsigned char)(1 + i);
    }
    return 128 + (size_t)n;
}

/* Two images of 2x2 and their labels, as a pair and as an archive of either kind. */
static int numpy_seeds(const char *corpus)
{
    static unsigned char both[2 + 300];
    char path[512];
    size_t images = npy_of(both + 2, "(2, 2, 2)", 8);
    size_t labels = npy_of(both + 2 + images, "(2,)", 2);
    both[0] = (unsigned char)images;
    if (place(corpus, "fuzz_npy", "pair", path) != 0 || put(path, both, 2 + images + labels) != 0) {
        return 1;
    }
    for (int deflated = 0; deflated < 2; deflated++) {
        int error = 0;
        if (place(corpus, "fuzz_npz", deflated ? "deflated" : "stored", path) != 0) {
            return 1;
        }
        zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &error);
        if (zip == NULL) {
            return failed(path);
        }
        zip_file_add(zip, "x.npy", zip_source_buffer(zip, both + 2, images, 0), 0);
        zip_file_add(zip, "y.npy", zip_source_buffer(zip, both + 2 + images, labels, 0), 0);
        for (zip_uint64_t i = 0; i < 2; i++) {
            zip_set_file_compression(zip, i, deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
        }
        if (zip_close(zip) != 0) {
            return failed(path);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    modeconn_context *context = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: seeds CORPUS\n");
        return 2;
    }
    if (modeconn_context_create(NULL, &context) < 0) {
        return failed("context");
    }
    int bad = model_seed(argv[1], context, "mlp") || model_seed(argv[1], context, "vgg13") ||
              model_seed(argv[1], context, "resnet18") ||
              model_seed(argv[1], context, "resnet18_bottleneck") || graph_seed(argv[1], context) ||
              idx_seeds(argv[1]) || cifar_seed(argv[1]) || numpy_seeds(argv[1]);
    modeconn_context_destroy(context);
    return bad;
}
