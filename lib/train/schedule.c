/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Learning rates of update k (from 0) of T = total:
 *
 *     constant   rate
 *     step       rate * factor^(number of drops at or before k)
 *     cosine     rate/2 * (1 + cos(pi k / T)); with `reference` schedule[max(k-1, 0)], because the
 *                paper's code sets the rate after the update
 *
 * A warm-up multiplies the first updates by (k + 1) / warmup.
 */
#include "train/train.h"
#include <math.h>
#include <string.h>

static double at_constant(const mc_schedule *schedule, int64_t k)
{
    (void)k;
    return schedule->rate;
}

static double at_step(const mc_schedule *schedule, int64_t k)
{
    int64_t drops = 0;
    if (schedule->every > 0) {
        drops = k / schedule->every;
    } else {
        while (drops < schedule->n_milestones && schedule->milestones[drops] <= k) {
            drops++;
        }
    }
    return schedule->rate * pow(schedule->factor, (double)drops);
}

static double at_cosine(const mc_schedule *schedule, int64_t k)
{
    static const double pi = 3.14159265358979323846;
    int64_t position = schedule->reference && k > 0 ? k - 1 : k;
    return 0.5 * schedule->rate * (1 + cos(pi * (double)position / (double)schedule->total));
}

const mc_schedule_row mc_schedules[] = {
    {"constant", at_constant},
    {"step", at_step},
    {"cosine", at_cosine},
};
const int64_t mc_schedules_count = (int64_t)(sizeof(mc_schedules) / sizeof(mc_schedules[0]));

int32_t mc_schedule_find(const char *name, mc_schedule *schedule)
{
    for (int64_t i = 0; i < mc_schedules_count; i++) {
        if (strcmp(mc_schedules[i].name, name) == 0) {
            schedule->at = mc_schedules[i].at;
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no schedule \"%s\"", name);
}

double mc_schedule_rate(const mc_schedule *schedule, int64_t k)
{
    double rate = schedule->at(schedule, k);
    if (k < schedule->warmup) {
        rate *= (double)(k + 1) / (double)schedule->warmup;
    }
    return rate;
}

/* Next value of a comma-separated list, `text` moved past it; false where it is no number. */
static bool next_value(const char **text, double *value)
{
    char item[64];
    size_t size = strcspn(*text, ",");
    if (size >= sizeof(item)) {
        return false;
    }
    memcpy(item, *text, size);
    item[size] = '\0';
    *text += size;
    if (**text == ',') {
        (*text)++;
        if (**text == '\0') { /* nothing after the comma */
            return false;
        }
    }
    return mc_parse_f64(item, value) && isfinite(*value) && *value > 0;
}

int32_t mc_schedule_milestones(mc_schedule *schedule, const char *text)
{
    double values[MC_MILESTONES_MAX];
    int64_t n = 0;
    for (const char *rest = text; *rest != '\0'; n++) {
        if (n == MC_MILESTONES_MAX) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "milestones \"%s\": more than %d", text,
                           MC_MILESTONES_MAX);
        }
        if (!next_value(&rest, &values[n])) {
            return mc_fail(MODECONN_ERROR_ARGUMENT,
                           "milestones \"%s\": value %d is not a positive number", text,
                           (int)n + 1);
        }
        if (n > 0 && !(values[n] > values[n - 1])) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "milestones \"%s\": %g after %g", text,
                           values[n], values[n - 1]);
        }
        if (n > 0 && (values[n] < 1) != (values[0] < 1)) {
            return mc_fail(MODECONN_ERROR_ARGUMENT,
                           "milestones \"%s\": shares of the run (below 1) and epochs mixed", text);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        double update = values[0] < 1 ? values[i] * (double)schedule->total
                                      : values[i] * (double)schedule->per_epoch;
        /* A drop beyond the run never comes; the bound keeps the conversion defined. */
        schedule->milestones[i] = update < 9e15 ? llround(update) : INT64_MAX;
    }
    schedule->n_milestones = n;
    return MODECONN_OK;
}

int32_t mc_schedule_init(mc_schedule *schedule, const modeconn_options *options,
                         const mc_option_kind *kind, int64_t epochs, int64_t per_epoch)
{
    const char *milestones = mc_option_str(options, kind, "milestones");
    double warmup = mc_option_f64(options, kind, "warmup_epochs");

    schedule->rate = mc_option_f64(options, kind, "learning_rate");
    schedule->factor = mc_option_f64(options, kind, "step_factor");
    schedule->per_epoch = per_epoch;
    if (!mc_mul(epochs, per_epoch, &schedule->total)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "epochs: %lld of %lld updates are too many",
                       (long long)epochs, (long long)per_epoch);
    }
    if (warmup > (double)epochs) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "warmup_epochs %g is longer than the %lld epochs",
                       warmup, (long long)epochs);
    }
    schedule->warmup = llround(warmup * (double)per_epoch);
    if (milestones[0] == '\0' &&
        !mc_mul(mc_option_i64(options, kind, "step_epochs"), per_epoch, &schedule->every)) {
        schedule->every = INT64_MAX; /* later than any update */
    }
    int32_t status = mc_schedule_milestones(schedule, milestones);
    return status < 0 ? status
                      : mc_schedule_find(mc_option_str(options, kind, "schedule"), schedule);
}
