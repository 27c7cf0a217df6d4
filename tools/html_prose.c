/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The prose of report.html, for a reader who does not know the paper: what was asked, what was
 * done, how to read the table and the curves. It explains; what was found is said by words.c.
 */
#include "cli.h"

/* ---- the four views -------------------------------------------------------------------------- */

/* Drawings on the 28 x 28 grid of an image; they illustrate the cue, they are not data. */
static const char *const shirt =
    "M9 5L5 7L2 13L6 15L8 12.5V24H20V12.5L22 15L26 13L23 7L19 5Q14 8.5 9 5Z";
static const char *const boot = "M9 5H16V14Q24 15 25 19V23H9Z";

/* Where the box stands: at the place of the label, at another one, or nowhere. */
enum { NO_BOX, OWN_BOX, OTHER_BOX };

static void write_tile(FILE *out, const char *drawing, int box, const char *name, const char *text)
{
    fputs("<figure><svg viewBox=\"0 0 28 28\" role=\"img\" aria-label=\"", out);
    cli_xml(out, name);
    fprintf(out,
            "\"><rect width=\"28\" height=\"28\" fill=\"#20242c\"/><path d=\"%s\" "
            "fill=\"#8b95a3\"/>",
            drawing);
    if (box != NO_BOX) {
        fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"3\" height=\"3\" fill=\"#fff\"/>",
                box == OWN_BOX ? 0 : 25, box == OWN_BOX ? 0 : 12);
    }
    fputs("</svg><figcaption><b>", out);
    cli_xml(out, name);
    fputs("</b>", out);
    cli_xml(out, text);
    fputs("</figcaption></figure>\n", out);
}

static void write_tiles(FILE *out)
{
    fputs("<div class=\"tiles\">\n", out);
    write_tile(out, shirt, NO_BOX, "NC: no cue", "The image as it is.");
    write_tile(out, shirt, OWN_BOX, "C: cue", "The box at the place that this class has.");
    write_tile(out, shirt, OTHER_BOX, "RC: random cue",
               "The box at a random place, or none; the image still tells the class.");
    write_tile(out, boot, OWN_BOX, "RI: random image",
               "The box at the right place, under the image of some other sample.");
    fputs("</div>\n", out);
}

/* ---- question and course --------------------------------------------------------------------- */

void cli_html_question(FILE *out, const json_t *results)
{
    const json_t *scale = json_object_get(results, "scale");
    double train = cli_number(scale, "train_samples"), clean = cli_number(scale, "clean_samples");
    fputs("<h2>What was asked</h2>\n"
          "<p>Two networks can be right equally often and for different reasons: one because of "
          "what an image shows, the other because of a shortcut that gives the answer away. Do two "
          "such networks lie in one valley of the loss? And how does one move a network from the "
          "shortcut to the image, or fail to?</p>\n"
          "<p>Here the shortcut, the <em>cue</em>, is a small box drawn into the image; its place "
          "tells the class. Tests that separate cue and image show which of them a network goes "
          "by:</p>\n",
          out);
    write_tiles(out);
    fputs(
        "<p>A network that goes by the image is right on NC, C and RC, and near chance on RI. One "
        "that goes by the cue is right on C and RI, and fails on RC.</p>\n"
        "<h2>What was done</h2>\n<ol>\n",
        out);
    fprintf(
        out,
        "<li>\u03b8<sub>C</sub> was trained on %.0f images of which %.0f&nbsp;%% of each class "
        "carry the cue, \u03b8<sub>NC</sub> on the same images without it.</li>\n"
        "<li>\u03b8<sub>C</sub> was then trained on, with %.0f clean images that it had never "
        "seen, in four ways: simply (FT), with a large, a medium and a small learning rate; and "
        "by connectivity-based fine-tuning (CBFT), which drives the weights away until a "
        "barrier of the loss stands between them and \u03b8<sub>C</sub>, and the cue out of what "
        "the network sees.</li>\n",
        train, 100.0 * cli_number(scale, "cue_proportion"), clean);
    fprintf(out,
            "<li>Each model was tested on %.0f images in all four forms; the loss and the accuracy "
            "were measured along the straight line, in the space of all weights, from "
            "\u03b8<sub>C</sub> to it.</li>\n</ol>\n",
            cli_number(scale, "test_samples"));
}

/* ---- how to read --------------------------------------------------------------------------- */

void cli_html_table_guide(FILE *out)
{
    fputs(
        "<h3>How to read the table</h3>\n<dl>\n"
        "<dt>Accuracy</dt><dd>On the four forms of the test images. High on NC is good; RC as "
        "high as C, and RI near chance, mean that the model goes by the image.</dd>\n"
        "<dt>Depends</dt><dd>How much the loss rises when the cue, or the image, is drawn at "
        "random, and in brackets the interval that the test images leave open. <b>Dependent</b>: "
        "all of it lies above a margin fixed beforehand; <b>invariant</b>: all of it lies below; "
        "<b>undecided</b>: it straddles the margin. Where the loss falls, the model leans against "
        "the cue.</dd>\n"
        "<dt>Barrier</dt><dd>How far the loss on the straight line from \u03b8<sub>C</sub> to the "
        "model rises above the level between the two ends. Near 0, both lie in one valley. A "
        "nat is the unit of the loss: 1 nat more means a probability of the right class that "
        "is 2.7 times smaller.</dd>\n"
        "<dt>Similar</dt><dd>Invariant to the same things. That models with a barrier between "
        "them work differently is a conjecture of the paper, not a theorem.</dd>\n"
        "</dl>\n",
        out);
}

void cli_html_curve_guide(FILE *out)
{
    fputs("<p>Each picture walks in a straight line from the weights of one model (t = 0, on the "
          "left) to those of another (t = 1). Dashed lines join the ends: where the loss rises "
          "above its dashed line there is a barrier, and that height is its size. The curves on RC "
          "and RI tell where along the way the reason changes: the loss on RC is low where the "
          "network goes by the image, that on RI where it goes by the cue.</p>\n",
          out);
}
