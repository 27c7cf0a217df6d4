/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The demo's table and what it shows in words. Every sentence follows from the verdicts and
 * barriers in results.json; none is written in advance.
 */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const cli_demo_models[] = {"theta_C",  "theta_NC", "FT_large", "FT_medium",
                                       "FT_small", "CBFT",     NULL};

static const char *const view_names[] = {"nocue", "cue", "randcue", "randimg"};

static const json_t *model_of(const json_t *results, const char *name)
{
    return json_object_get(json_object_get(results, "models"), name);
}

static double accuracy_of(const json_t *model, const char *view)
{
    return cli_number(cli_at(model, (const char *const[]){"views", view, NULL}), "accuracy");
}

static const json_t *probe_of(const json_t *model, const char *attribute)
{
    return cli_at(model, (const char *const[]){"probe", attribute, NULL});
}

static double barrier_of(const json_t *model, const char *view)
{
    return cli_number(
        cli_at(model, (const char *const[]){"barrier_to_theta_C", view, "loss", NULL}), "linear");
}

/* The larger barrier of the two views that the data-generating process itself makes. */
static double larger_barrier(const json_t *model)
{
    return fmax(barrier_of(model, "nocue"), barrier_of(model, "cue"));
}

static double tolerance_of(const json_t *results)
{
    double value = cli_number(json_object_get(results, "scale"), "tolerance");
    return isfinite(value) ? value : 0.1;
}

/* ---- table --------------------------------------------------------------------------------- */

static void print_verdict(FILE *out, const json_t *probe)
{
    const char *verdict = cli_string(probe, "verdict");
    const char *word = strcmp(verdict, "invariant") == 0   ? "yes"
                       : strcmp(verdict, "dependent") == 0 ? "no"
                                                           : "open";
    fprintf(
        out, "  %-4s %+6.2f [%5.2f, %5.2f]", word, cli_two_decimals(cli_number(probe, "effect")),
        cli_two_decimals(cli_number(probe, "low")), cli_two_decimals(cli_number(probe, "high")));
}

void cli_demo_table(FILE *out, const json_t *results)
{
    fprintf(out, "%-10s %-23s   %-26s  %-26s %s\n", "", "accuracy, %", "invariant to the cue?",
            "to the image?", "barrier to");
    fprintf(out, "%-10s", "model");
    for (int v = 0; v < CLI_COUNT(view_names); v++) {
        fprintf(out, " %5s", cli_view_short(view_names[v]));
    }
    fprintf(out, "  %-26s  %-26s  theta_C, nats\n", "rise in loss, nats", "rise in loss, nats");
    fprintf(out, "%-10s %-23s   %-26s  %-26s   NC     C\n", "", "", "", "");
    for (int i = 0; cli_demo_models[i] != NULL; i++) {
        const char *name = cli_demo_models[i];
        const json_t *model = model_of(results, name);
        if (model == NULL) {
            continue;
        }
        fprintf(out, "%-10s", name);
        for (int v = 0; v < CLI_COUNT(view_names); v++) {
            fprintf(out, " %5.1f", 100.0 * accuracy_of(model, view_names[v]));
        }
        print_verdict(out, probe_of(model, "cue"));
        print_verdict(out, probe_of(model, "image"));
        if (strcmp(name, "theta_C") == 0) {
            fprintf(out, "     -     -\n");
        } else {
            fprintf(out, " %5.2f %5.2f\n", cli_two_decimals(barrier_of(model, "nocue")),
                    cli_two_decimals(barrier_of(model, "cue")));
        }
    }
}

/* ---- words --------------------------------------------------------------------------------- */

enum { DEPENDENT, INVARIANT, UNDECIDED };

static int verdict_of(const json_t *probe)
{
    const char *verdict = cli_string(probe, "verdict");
    return strcmp(verdict, "dependent") == 0   ? DEPENDENT
           : strcmp(verdict, "invariant") == 0 ? INVARIANT
                                               : UNDECIDED;
}

/* Definition 4, as modeconn_compare() decides it, from the two probes. */
static int similarity(const json_t *first, const json_t *second)
{
    static const char *const attributes[] = {"cue", "image"};
    int answer = MODECONN_VERDICT_SIMILAR;
    for (int i = 0; i < CLI_COUNT(attributes); i++) {
        int a = verdict_of(probe_of(first, attributes[i]));
        int b = verdict_of(probe_of(second, attributes[i]));
        if (a == UNDECIDED || b == UNDECIDED) {
            answer = answer == MODECONN_VERDICT_SIMILAR ? MODECONN_VERDICT_UNDECIDED : answer;
        } else if (a != b) {
            answer = MODECONN_VERDICT_DISSIMILAR;
        }
    }
    return answer;
}

/* Adds the sentence that `stream` gathered to the array and begins anew. */
typedef struct sentence {
    FILE *stream;
    char *text;
    size_t size;
} sentence;

static FILE *begin(sentence *s)
{
    s->text = NULL;
    s->stream = open_memstream(&s->text, &s->size);
    return s->stream;
}

static bool end(sentence *s, json_t *words)
{
    bool done = fclose(s->stream) == 0;
    if (done && s->size > 0) {
        done = json_array_append_new(words, json_string(s->text)) == 0;
    }
    free(s->text);
    return done;
}

/* Models of the demo, theta_C apart, in one group. */
typedef struct group {
    const char *names[8];
    const json_t *models[8];
    int n;
} group;

static const char *joint(const group *g, int i)
{
    return i == 0 ? "" : i == g->n - 1 ? " and " : ", ";
}

static void print_names(FILE *out, const group *g)
{
    for (int i = 0; i < g->n; i++) {
        fprintf(out, "%s%s", joint(g, i), g->names[i]);
    }
}

static void print_effects(FILE *out, const group *g)
{
    for (int i = 0; i < g->n; i++) {
        double effect = cli_number(probe_of(g->models[i], "cue"), "effect");
        fprintf(out, "%s%+.2f", joint(g, i), cli_two_decimals(effect));
    }
}

/* The larger barrier of each, and the view that it is of. */
static void print_barriers(FILE *out, const group *g)
{
    for (int i = 0; i < g->n; i++) {
        double barrier = larger_barrier(g->models[i]);
        const char *view = barrier_of(g->models[i], "cue") >= barrier ? "C" : "NC";
        fprintf(out, "%s%.2f nats on %s", joint(g, i), cli_two_decimals(barrier), view);
        if (g->n > 1) {
            fprintf(out, " for %s", g->names[i]);
        }
    }
}

/* A loss that falls by more than the margin: invariant by the one-sided rule, yet the cue counts.
 */
static void print_leaning(FILE *out, const group *g, double margin)
{
    for (int i = 0; i < g->n; i++) {
        double high = cli_number(probe_of(g->models[i], "cue"), "high");
        if (high < -margin) {
            fprintf(out, " The loss of %s even falls: it leans against the cue.", g->names[i]);
        }
    }
}

static double largest_barrier(const group *g)
{
    double largest = 0.0;
    for (int i = 0; i < g->n; i++) {
        largest = fmax(largest, larger_barrier(g->models[i]));
    }
    return largest;
}

static void say_origin(FILE *out, const json_t *model)
{
    const json_t *probe = probe_of(model, "cue");
    switch (verdict_of(probe)) {
    case DEPENDENT:
        fputs("theta_C relies on the cue: ", out);
        break;
    case INVARIANT:
        fputs("theta_C is invariant to the cue: ", out);
        break;
    default:
        fputs("Whether theta_C relies on the cue these images cannot tell: ", out);
    }
    fprintf(out,
            "with the cue drawn at random its loss changes by %+.2f nats [%.2f, %.2f] and its "
            "accuracy from %.1f to %.1f %%.",
            cli_number(probe, "effect"), cli_number(probe, "low"), cli_number(probe, "high"),
            100.0 * accuracy_of(model, "cue"), 100.0 * accuracy_of(model, "randcue"));
}

static void say_group(FILE *out, const group *g, int verdict, bool parted, double margin)
{
    bool many = g->n > 1;
    if (verdict == UNDECIDED) {
        fputs("Whether ", out);
    }
    print_names(out, g);
    if (verdict == INVARIANT) {
        fputs(many ? " are invariant to the cue" : " is invariant to the cue", out);
    } else {
        fputs(many ? " rely on the cue" : " relies on the cue", out);
        fputs(verdict == UNDECIDED ? " these images cannot tell" : "", out);
    }
    fputs(many ? " (their loss changes by " : " (its loss changes by ", out);
    print_effects(out, g);
    fputs(" nats with a random one)", out);
    if (parted) {
        fprintf(out, ", and a barrier parts %s from theta_C: ", many ? "them" : "it");
        print_barriers(out, g);
        fputc('.', out);
    } else {
        fprintf(out,
                ", and no barrier parts %s from theta_C: on NC and C the straight line rises by %s"
                "%.2f nats.",
                many ? "them" : "it", largest_barrier(g) < 0.005 ? "" : "at most ",
                cli_two_decimals(largest_barrier(g)));
    }
    if (verdict == INVARIANT) {
        print_leaning(out, g, margin);
    }
}

static bool say_groups(json_t *words, const json_t *results)
{
    double tolerance = tolerance_of(results);
    double margin = cli_number(json_object_get(results, "scale"), "margin");
    for (int verdict = DEPENDENT; verdict <= UNDECIDED; verdict++) {
        for (int parted = 0; parted < 2; parted++) {
            group g = {.n = 0};
            for (int i = 1; cli_demo_models[i] != NULL; i++) {
                const json_t *model = model_of(results, cli_demo_models[i]);
                if (model != NULL && verdict_of(probe_of(model, "cue")) == verdict &&
                    (larger_barrier(model) > tolerance) == (parted == 1)) {
                    g.names[g.n] = cli_demo_models[i];
                    g.models[g.n++] = model;
                }
            }
            sentence s;
            if (g.n > 0) {
                FILE *out = begin(&s);
                if (out == NULL) {
                    return false;
                }
                say_group(out, &g, verdict, parted == 1, margin);
                if (!end(&s, words)) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void say_similarity(FILE *out, const json_t *results)
{
    static const struct {
        int verdict;
        const char *one, *many;
    } forms[] = {
        {MODECONN_VERDICT_SIMILAR, "is mechanistically similar to theta_C",
         "are mechanistically similar to theta_C"},
        {MODECONN_VERDICT_DISSIMILAR, "is dissimilar to theta_C", "are dissimilar to theta_C"},
        {MODECONN_VERDICT_UNDECIDED, "remains undecided", "remain undecided"},
    };
    const json_t *origin = model_of(results, "theta_C");
    int said = 0;
    for (int f = 0; f < CLI_COUNT(forms); f++) {
        group g = {.n = 0};
        for (int i = 1; cli_demo_models[i] != NULL; i++) {
            const json_t *model = model_of(results, cli_demo_models[i]);
            if (model != NULL && similarity(origin, model) == forms[f].verdict) {
                g.names[g.n++] = cli_demo_models[i];
            }
        }
        if (g.n > 0) {
            fputs(said++ == 0 ? "By what they depend on (the paper's Definition 4), " : "; ", out);
            print_names(out, &g);
            fprintf(out, " %s", g.n > 1 ? forms[f].many : forms[f].one);
        }
    }
    if (said > 0) {
        fputs(". That a barrier means different mechanisms is the paper's Conjecture 1, which is "
              "not proved.",
              out);
    }
}

json_t *cli_demo_words(const json_t *results)
{
    json_t *words = json_array();
    const json_t *origin = model_of(results, "theta_C");
    sentence s;
    if (words == NULL || origin == NULL) {
        return words;
    }
    const json_t *scale = json_object_get(results, "scale");
    if (strcmp(cli_string(scale, "name"), "tiny") == 0 &&
        json_array_append_new(words, json_string("At the scale \"tiny\" networks learn next to "
                                                 "nothing: it shows that everything runs, and "
                                                 "nothing else.")) != 0) {
        goto failed;
    }
    FILE *out = begin(&s);
    if (out == NULL) {
        goto failed;
    }
    say_origin(out, origin);
    if (!end(&s, words) || !say_groups(words, results) || (out = begin(&s)) == NULL) {
        goto failed;
    }
    say_similarity(out, results);
    if (end(&s, words)) {
        return words;
    }
failed:
    json_decref(words);
    return NULL;
}

/* ---- caption ------------------------------------------------------------------------------- */

void cli_demo_caption(FILE *out, const json_t *results)
{
    const json_t *scale = json_object_get(results, "scale");
    const json_t *train = json_object_get(scale, "training");
    const json_t *tune = json_object_get(scale, "finetuning");
    fprintf(out,
            "Scale: %s, %.0f training images with the %s cue on %.0f %% of each class, %.0f test "
            "images; %s at width %.15g, %.0f epochs, batch %.0f, rate %.15g. theta_C and theta_NC "
            "are independent runs: each has its own initial weights and order of the images. "
            "Fine-tuning on "
            "%.0f clean images that theta_C never saw, %.0f epochs, batch %.0f. Barriers: %.0f "
            "points, batch-norm statistics reset on %.0f clean training images at each, so the "
            "ends of a curve can differ from the table, whose accuracies are each model's own; "
            "called a barrier above %.2g nats. Invariant: the whole %.0f %% interval of the rise "
            "in loss lies under %.2g nats. Seed %.0f.",
            cli_string(scale, "data"), cli_number(scale, "train_samples"), cli_string(scale, "cue"),
            100.0 * cli_number(scale, "cue_proportion"), cli_number(scale, "test_samples"),
            cli_string(scale, "arch"), cli_number(scale, "width"), cli_number(train, "epochs"),
            cli_number(train, "batch_size"), cli_number(train, "learning_rate"),
            cli_number(scale, "clean_samples"), cli_number(tune, "epochs"),
            cli_number(tune, "batch_size"), cli_number(scale, "points"),
            cli_number(scale, "bn_samples"), tolerance_of(results),
            100.0 * cli_number(scale, "confidence"), cli_number(scale, "margin"),
            cli_number(scale, "seed"));
}
