/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The constants of `modeconn reproduce table1|fig-...`: scales, recipes, experiments. A row each.
 *
 * full is the paper's: VGG-13, 50,000 images of which 2,500 are clean. small follows an independent
 * PyTorch statement of the experiment on a subset of CIFAR-10. CBFT's rate is the paper's, 0.01,
 * where its barrier term then ends below half of what it starts at (the column L_B of Table 1), and
 * larger where it does not: docs/reproduction.md has the rates that were tried.
 */
#include "reproduce.h"

#include <stddef.h>
#include <string.h>

const char *const repro_views[REPRO_VIEWS] = {"nocue", "cue", "randcue", "randimg"};

static const repro_scale scales[] = {
    {
        .name = "demo",
        .data = "fashion-mnist",
        .arch = "vgg13",
        .width = 0.25,
        .train_samples = 4000,
        .test_samples = 1000,
        .clean_samples = 500,
        .points = 11,
        .bn_samples = 1000,
        .bn_batch_size = 500,
        .seeds = 1,
        .training = "epochs=6,batch_size=64,learning_rate=0.1,schedule=step,milestones=0.4,0.8",
        .naive = "method=naive,epochs=20,batch_size=32",
        .llrt = "method=llrt,epochs=200,batch_size=64,learning_rate=30",
        .lpft = "method=lpft,epochs=20,batch_size=32,head_epochs=200,learning_rate=0.01",
        .cbft = "method=cbft,epochs=20,batch_size=32,learning_rate=0.03",
        .path_fit = "epochs=5,batch_size=64,step_epochs=3",
        .theory_epochs = 3000,
    },
    {
        .name = "small",
        .arch = "vgg13",
        .width = 0.5,
        .clean_samples = 1000,
        .points = 11,
        .bn_samples = 2000,
        .bn_batch_size = 500,
        .seeds = 1,
        .training = "epochs=24,batch_size=128,learning_rate=0.1,schedule=step,milestones=0.4,0.8",
        .naive = "method=naive,epochs=20,batch_size=64",
        .llrt = "method=llrt,epochs=200,batch_size=64,learning_rate=30",
        .lpft = "method=lpft,epochs=20,batch_size=64,head_epochs=200,learning_rate=0.01",
        .cbft = "method=cbft,epochs=20,batch_size=64,learning_rate=0.01",
        .path_fit = "epochs=10,batch_size=128,step_epochs=7",
        .theory_epochs = 3000,
    },
    {
        .name = "full",
        .arch = "vgg13",
        .width = 1.0,
        .clean_samples = 2500,
        .points = 11,
        .bn_batch_size = 500,
        .seeds = 3,
        .training = "epochs=100,batch_size=256,learning_rate=0.1,schedule=step,step_epochs=40",
        .naive = "method=naive,epochs=20,batch_size=256",
        .llrt = "method=llrt,epochs=200,batch_size=256,learning_rate=30",
        .lpft = "method=lpft,epochs=20,batch_size=256,head_epochs=200,learning_rate=0.01",
        .cbft = "method=cbft,epochs=20,batch_size=256,learning_rate=0.01",
        .path_fit = "epochs=15,batch_size=128,step_epochs=10",
        .theory_epochs = 3000,
    },
    /* Seconds, on built-in images: shows that everything runs, and nothing else. */
    {
        .name = "tiny",
        .data = "shapes:size=16,channels=1,train=400,test=100",
        .arch = "vgg13",
        .width = 0.0625,
        .train_samples = 200,
        .clean_samples = 100,
        .points = 3,
        .bn_samples = 100,
        .bn_batch_size = 100,
        .seeds = 1,
        .training = "epochs=1,batch_size=50",
        .naive = "method=naive,epochs=1,batch_size=50",
        .llrt = "method=llrt,epochs=2,batch_size=50",
        .lpft = "method=lpft,epochs=1,batch_size=50,head_epochs=2",
        .cbft = "method=cbft,epochs=2,batch_size=50",
        .path_fit = "epochs=1,batch_size=50",
        .theory_epochs = 5,
    },
};

#define BASE(field) offsetof(repro_scale, field)

static const repro_recipe recipes[] = {
    {"theta_C", "trained with the cue", NULL, BASE(training), "", true, 0},
    {"theta_NC", "trained without the cue", NULL, BASE(training), "", false, REPRO_SEED_STEP},
    {"theta_NC2", "likewise, another run", NULL, BASE(training), "", false, 2 * REPRO_SEED_STEP},
    {"FT_large", "FT large", "theta_C", BASE(naive), "learning_rate=0.1", true, 0},
    {"FT_medium", "FT medium", "theta_C", BASE(naive), "learning_rate=0.01", true, 0},
    {"FT_small", "FT small", "theta_C", BASE(naive), "learning_rate=0.001", true, 0},
    {"LLRT", "LLRT", "theta_C", BASE(llrt), "", true, 0},
    {"LPFT", "LPFT", "theta_C", BASE(lpft), "", true, 0},
    {"CBFT", "CBFT", "theta_C", BASE(cbft), "", true, 0},
    {"CBFT_no_LB", "CBFT without L_B", "theta_C", BASE(cbft), "barrier_weight=0", true, 0},
    {"CBFT_no_LI", "CBFT without L_I", "theta_C", BASE(cbft), "lambda=0", true, 0},
};

const repro_scale *repro_scale_find(const char *name)
{
    for (int i = 0; i < CLI_COUNT(scales); i++) {
        if (strcmp(scales[i].name, name) == 0) {
            return &scales[i];
        }
    }
    return NULL;
}

const repro_recipe *repro_recipe_find(const char *name)
{
    for (int i = 0; i < CLI_COUNT(recipes); i++) {
        if (strcmp(recipes[i].name, name) == 0) {
            return &recipes[i];
        }
    }
    return NULL;
}

/* ---- experiments --------------------------------------------------------------------------- */

static const char *const table1[] = {"theta_C", "FT_medium", "FT_small", "LLRT",
                                     "LPFT",    "CBFT",      NULL};

static const repro_line linear[] = {
    {"theta_C", "theta_NC", "linear", 80},
    {"theta_C", "theta_NC", "aligned", 80},
    {"theta_NC2", "theta_NC", "linear", 80},
    {"theta_NC2", "theta_NC", "aligned", 80},
};
static const repro_line quadratic[] = {
    {"theta_C", "theta_NC", "linear", 80},
    {"theta_C", "theta_NC", "quadratic", 80},
};
static const repro_line finetune[] = {
    {"theta_C", "FT_large", "linear", 80},   {"theta_C", "FT_medium", "linear", 80},
    {"theta_C", "FT_small", "linear", 80},   {"theta_C", "FT_large", "linear", 100},
    {"theta_C", "FT_medium", "linear", 100}, {"theta_C", "FT_small", "linear", 100},
};
static const repro_line ablation[] = {
    {"theta_C", "CBFT", "linear", 80},
    {"theta_C", "CBFT_no_LB", "linear", 80},
    {"theta_C", "CBFT_no_LI", "linear", 80},
};

#define LINES(rows) .run = repro_run_figure, .lines = (rows), .n_lines = CLI_COUNT(rows)

const repro_experiment repro_experiments[] = {
    {.name = "table1",
     .title = "Table 1: five ways of fine-tuning",
     .help = "Table 1: FT medium, FT small, LLRT, LPFT and CBFT at cue proportions 60 to 90 %",
     .question = "R3, R4: which way of fine-tuning on clean data makes a model drop the cue?",
     .run = repro_run_table,
     .models = table1},
    {.name = "fig-linear",
     .title = "Straight lines between minimizers",
     .help = "R2: straight lines from theta_C to theta_NC, before and after permutation",
     .question = "R2: are minimizers that rely on different attributes linearly connected, before "
                 "or after permuting units?",
     LINES(linear)},
    {.name = "fig-quadratic",
     .title = "A quadratic path between minimizers",
     .help = "R1: the fitted quadratic path from theta_C to theta_NC, and its counterfactual loss",
     .question = "R1: does a quadratic path that is flat on the data it was fitted on stay flat "
                 "on counterfactuals?",
     LINES(quadratic)},
    {.name = "fig-finetune",
     .title = "Naive fine-tuning",
     .help = "R3: lines from theta_C to models of naive fine-tuning, three rates, cue 80 and 100 %",
     .question = "R3: does naive fine-tuning stay linearly connected, and rely on the cue?",
     LINES(finetune)},
    {.name = "fig-ablation",
     .title = "CBFT without its parts",
     .help = "R4: lines from theta_C to CBFT, and to CBFT without L_B and without L_I",
     .question = "R4: what does each part of CBFT do?",
     LINES(ablation)},
    {.name = "fig-theory",
     .title = "One-hidden-layer networks on slabs",
     .help = "R5: linear connection and activation patterns of one-hidden-layer networks",
     .question = "R5: are models that rely on attributes of equal or of different complexity "
                 "linearly connected after permutation?",
     .run = repro_run_theory},
};
const int repro_n_experiments = CLI_COUNT(repro_experiments);
