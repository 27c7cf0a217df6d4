/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The progress bar, on standard error and only where that is a terminal; and Ctrl-C, which becomes
 * a flag that the library's progress callback turns into a cancellation.
 */
#include "cli.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void catch_signals(void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    /* One shot: a second Ctrl-C ends the program at once. */
    action.sa_flags = (int)(SA_RESETHAND | SA_RESTART);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_interrupted(void)
{
    return interrupted != 0;
}

void cli_progress_begin(cli_progress *progress, double total)
{
    *progress = (cli_progress){
        .terminal = isatty(STDERR_FILENO) != 0, .total = total, .started = cli_seconds()};
    catch_signals(on_signal);
}

void cli_progress_phase(cli_progress *progress, double work, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(progress->label, sizeof(progress->label), format, list);
    va_end(list);
    progress->done += progress->phase;
    progress->phase = work;
    progress->drawn = 0.0;
    cli_progress_step(progress, 0, 0, 1, (double)NAN, (double)NAN, (double)NAN, (double)NAN);
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void draw(const cli_progress *progress, double share, double loss, double accuracy)
{
    char figures[64] = "", left[32] = "";
    double elapsed = cli_seconds() - progress->started;
    if (isfinite(loss)) {
        int n = snprintf(figures, sizeof(figures), "  loss %.3f", loss);
        if (isfinite(accuracy)) {
            snprintf(figures + n, sizeof(figures) - (size_t)n, "  acc %.1f%%", 100.0 * accuracy);
        }
    }
    if (share > 0.005 && elapsed > 1.0) {
        double seconds = elapsed * (1.0 - share) / share;
        snprintf(left, sizeof(left), "  %d:%02d left", (int)(seconds / 60.0),
                 (int)fmod(seconds, 60.0));
    }
    int room = columns() - 1 - (int)(strlen(progress->label) + strlen(figures) + strlen(left)) - 9;
    int width = room > 30 ? 30 : room;
    char bar[32] = "";
    if (width >= 4) {
        int full = (int)(share * width);
        for (int i = 0; i < width; i++) {
            bar[i] = i < full ? '=' : i == full ? '>' : ' ';
        }
        bar[width] = '\0';
        fprintf(stderr, "\r\033[K%s [%s] %3d%%%s%s", progress->label, bar, (int)(100.0 * share),
                figures, left);
    } else {
        fprintf(stderr, "\r\033[K%3d%%%s", (int)(100.0 * share), left);
    }
    fflush(stderr);
}

int32_t cli_progress_step(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                          double accuracy, double rate, double seconds_left)
{
    cli_progress *progress = user;
    (void)epoch;
    (void)rate;
    (void)seconds_left;
    double now = cli_seconds();
    /* Ten frames a second are enough for an eye. */
    if (progress->terminal && now - progress->drawn > 0.1) {
        double part = total > 0 ? (double)step / (double)total : 0.0;
        double share = (progress->done + progress->phase * part) / progress->total;
        progress->drawn = now;
        draw(progress, share < 1.0 ? share : 1.0, loss, accuracy);
    }
    return interrupted != 0 ? 1 : 0;
}

void cli_progress_clear(cli_progress *progress)
{
    if (progress->terminal) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}

void cli_progress_end(cli_progress *progress)
{
    cli_progress_clear(progress);
    catch_signals(SIG_DFL);
}

void cli_say_epoch(const cli_args *args, const modeconn_history *history, int64_t epoch,
                   int64_t total)
{
    double loss = 0.0, accuracy = 0.0, rate = 0.0, speed = 0.0;
    modeconn_history_value(history, "loss", epoch, &loss);
    modeconn_history_value(history, "accuracy", epoch, &accuracy);
    modeconn_history_value(history, "learning_rate", epoch, &rate);
    modeconn_history_value(history, "samples_per_second", epoch, &speed);
    cli_say(args, "epoch %3d/%d  loss %.4f  accuracy %.2f %%  rate %-8.4g %.0f samples/s\n",
            (int)epoch + 1, (int)total, loss, 100.0 * accuracy, rate, speed);
}
