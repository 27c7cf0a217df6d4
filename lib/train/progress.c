/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Progress of a long call: steps done, time left (elapsed / steps done * steps left), cancelling.
 */
#include "train/train.h"
#include <math.h>

void mc_progress_init(mc_progress *progress, modeconn_progress_fn fn, void *user, int64_t total)
{
    *progress = (mc_progress){.fn = fn, .user = user, .total = total, .started = mc_seconds()};
}

static int32_t ask(const mc_progress *progress, double loss, double accuracy, double rate)
{
    if (progress->fn == NULL) {
        return MODECONN_OK;
    }
    double elapsed = mc_seconds() - progress->started, left = NAN;
    if (progress->step > 0) {
        left = elapsed / (double)progress->step * (double)(progress->total - progress->step);
    }
    if (progress->fn(progress->user, progress->epoch, progress->step, progress->total, loss,
                     accuracy, rate, left) == 0) {
        return MODECONN_OK;
    }
    return mc_fail(MODECONN_ERROR_CANCELLED,
                   "cancelled by the progress callback after step %lld "
                   "of %lld",
                   (long long)progress->step, (long long)progress->total);
}

int32_t mc_progress_step(mc_progress *progress, int64_t epoch, double loss, double accuracy,
                         double rate)
{
    progress->epoch = epoch;
    progress->step++;
    return ask(progress, loss, accuracy, rate);
}

int32_t mc_progress_poll(mc_progress *progress)
{
    return ask(progress, NAN, NAN, NAN);
}
