/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bench_jobs: our side of the benchmark. Stays alive between measurements, so that its figures are
 * those of a warm process and can alternate with the peer's. A request is a JSON object on a line
 * of standard input, the reply a line of standard output ({"error": ...} where it failed):
 *
 *     {"op": "info"}                                  build and instruction set
 *     {"op": "open", "job": KIND, ...settings}        "id", "parameters"
 *     {"op": "run", "id": I, "steps": S}              "seconds"
 *     {"op": "close", "id": I}
 *     {"op": "profile", "steps": S, ...settings}      bench.h
 *     {"op": "memory"}                                "peak_kb": VmHWM of this process
 *
 * peer.py speaks the same.
 */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = 8 };
static bench_job jobs[JOBS];

static json_t *error_reply(const char *text)
{
    return json_pack("{s:s}", "error", text);
}

static json_t *info(void)
{
    char text[1024];
    if (modeconn_build_info(text, (int64_t)sizeof text, NULL) < 0) {
        return error_reply(modeconn_last_error());
    }
    return json_loads(text, 0, NULL);
}

static json_t *open_job(const json_t *request)
{
    int64_t id = 0, parameters = 0;
    while (id < JOBS && jobs[id].kind != NULL) {
        id++;
    }
    if (id == JOBS) {
        return error_reply("too many open jobs");
    }
    if (bench_open(request, &jobs[id]) < 0) {
        json_t *reply = error_reply(modeconn_last_error());
        bench_close(&jobs[id]);
        return reply;
    }
    modeconn_model_parameter_count(jobs[id].model[0], &parameters);
    return json_pack("{s:I, s:I}", "id", (json_int_t)id, "parameters", (json_int_t)parameters);
}

static bench_job *find_job(const json_t *request)
{
    int64_t id = bench_number(request, "id", -1);
    return id >= 0 && id < JOBS && jobs[id].kind != NULL ? &jobs[id] : NULL;
}

static json_t *run_job(const json_t *request)
{
    bench_job *job = find_job(request);
    double seconds = 0;
    if (job == NULL) {
        return error_reply("no such job");
    }
    if (job->kind->run(job, bench_number(request, "steps", 1), &seconds) < 0) {
        return error_reply(modeconn_last_error());
    }
    return json_pack("{s:f}", "seconds", seconds);
}

static json_t *close_job(const json_t *request)
{
    bench_job *job = find_job(request);
    if (job == NULL) {
        return error_reply("no such job");
    }
    bench_close(job);
    return json_object();
}

static json_t *profile(const json_t *request)
{
    json_t *out = NULL;
    if (bench_profile(request, bench_number(request, "steps", 5), &out) < 0) {
        return error_reply(modeconn_last_error());
    }
    return out;
}

static json_t *memory(void)
{
    char line[256];
    long long peak = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, (int)sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %lld", &peak) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return peak < 0 ? error_reply("no VmHWM in /proc/self/status")
                    : json_pack("{s:I}", "peak_kb", (json_int_t)peak);
}

static json_t *answer(const char *line)
{
    json_error_t error;
    json_t *request = json_loads(line, 0, &error), *reply = NULL;
    if (request == NULL) {
        return error_reply(error.text);
    }
    const char *op = json_string_value(json_object_get(request, "op"));
    op = op != NULL ? op : "";
    if (strcmp(op, "info") == 0) {
        reply = info();
    } else if (strcmp(op, "open") == 0) {
        reply = open_job(request);
    } else if (strcmp(op, "run") == 0) {
        reply = run_job(request);
    } else if (strcmp(op, "close") == 0) {
        reply = close_job(request);
    } else if (strcmp(op, "profile") == 0) {
        reply = profile(request);
    } else if (strcmp(op, "memory") == 0) {
        reply = memory();
    } else {
        reply = error_reply("unknown op");
    }
    json_decref(request);
    return reply;
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) > 0) {
        json_t *reply = answer(line);
        json_dumpf(reply, stdout, JSON_COMPACT);
        json_decref(reply);
        putchar('\n');
        fflush(stdout);
    }
    free(line);
    for (int i = 0; i < JOBS; i++) {
        bench_close(&jobs[i]);
    }
    return EXIT_SUCCESS;
}
