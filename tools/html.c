/* SPDX-License-Identifier: BSD-3-Clause
 *
 * report.html: one self-contained page, its style and figures inline, nothing fetched from
 * anywhere.
 */
#include "cli.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    "html{color-scheme:light}"
    "body{margin:0;background:#f5f6f8;color:#1d2330;font:16px/1.55 system-ui,-apple-system,"
    "'Segoe UI','DejaVu Sans',Arial,sans-serif}"
    "main{max-width:1060px;margin:0 auto;padding:48px 24px 64px}"
    "h1{font-size:30px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}"
    "h2{font-size:21px;line-height:1.3;margin:48px 0 12px}h3{font-size:16px;margin:28px 0 8px}"
    "p,ol{margin:0 0 12px}main>p,ol,dl,.words{max-width:76ch}ol{padding-left:22px}"
    "li{margin:0 0 6px}"
    ".sub{color:#5b6472;margin:0 0 28px}"
    ".words{background:#fff;border-left:4px solid #0072b2;border-radius:4px;padding:16px 22px;"
    "margin:0 0 20px;box-shadow:0 1px 2px rgba(20,30,50,.08)}"
    ".words p{margin:0 0 8px}.words p:last-child{margin:0}"
    ".card{background:#fff;border-radius:6px;box-shadow:0 1px 2px rgba(20,30,50,.08);"
    "padding:8px 12px;margin:0 0 20px;overflow-x:auto}"
    ".tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:18px;margin:4px 0 16px}"
    ".tiles figure{margin:0}.tiles svg{max-width:150px}"
    ".tiles figcaption{font-size:14px;line-height:1.4;margin-top:6px;color:#343c49}"
    "table{border-collapse:collapse;width:100%;font-size:14.5px;"
    "font-variant-numeric:tabular-nums}"
    "th{font-weight:600;text-align:right;padding:6px 7px;color:#5b6472;font-size:13px;"
    "vertical-align:bottom}"
    "thead tr:last-child th{border-bottom:2px solid #d4d9e0}"
    "td,tbody th{text-align:right;padding:9px 7px;border-bottom:1px solid #e9ecf0;"
    "white-space:nowrap}"
    "tbody th{color:#1d2330;font-size:14.5px;vertical-align:middle}"
    "thead td,tbody tr:last-child>*{border-bottom:0}"
    "tr>*:first-child{text-align:left;position:sticky;left:0;background:#fff}"
    "th.g,td.v{text-align:left}"
    "td small,tbody th small{display:block;font-weight:400;color:#5b6472;font-size:12.5px;"
    "line-height:1.3}"
    ".bar{display:block;height:3px;border-radius:2px;background:#e9ecf0;margin-top:3px;width:54px;"
    "margin-left:auto}.bar i{display:block;height:3px;border-radius:2px}"
    ".pill{display:inline-block;border-radius:10px;padding:1px 9px;font-size:12.5px;"
    "font-weight:600}"
    ".invariant{background:#dcf2ea;color:#00573e}.dependent{background:#fde5d6;color:#8a3b00}"
    ".undecided{background:#e9ecf0;color:#434b58}"
    "sub{line-height:0}"
    "figure.card{padding:14px 16px 8px}"
    "figcaption b{display:block;font-size:16px}"
    "figcaption small{display:block;color:#5b6472;font-size:13.5px}"
    ".legend{display:flex;flex-wrap:wrap;gap:2px 20px;margin:6px 0 4px;font-size:13.5px}"
    ".legend span{display:inline-flex;align-items:center;gap:6px}.legend svg{width:24px}"
    ".panels{display:flex;flex-wrap:wrap;gap:8px}.panels svg{flex:1 1 290px;min-width:0;"
    "max-width:460px}"
    "svg{display:block;width:100%;height:auto}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:6px 18px;margin:0 0 16px;"
    "font-size:15px}"
    "dt{font-weight:600}dd{margin:0;color:#343c49}"
    ".cap{color:#5b6472;font-size:13.5px;line-height:1.5}"
    "footer{margin-top:40px;border-top:1px solid #d9dde3;padding-top:14px;color:#5b6472;"
    "font-size:13px;overflow-wrap:anywhere}"
    "@media(max-width:640px){main{padding:28px 14px}h1{font-size:24px}"
    ".tiles{grid-template-columns:repeat(2,1fr)}dl{display:block}dd{margin:0 0 10px}"
    "tbody th small{white-space:normal;min-width:104px}}"
    "@media print{body{background:#fff}.card,.words{box-shadow:none}}";

void cli_html(FILE *out, const char *text)
{
    while (*text != '\0') {
        size_t plain = strcspn(text, "t ");
        if (plain > 0) {
            char run[256];
            size_t length = plain < sizeof(run) ? plain : sizeof(run) - 1;
            memcpy(run, text, length);
            run[length] = '\0';
            cli_xml(out, run);
            text += length;
        } else if (strncmp(text, "theta_", 6) == 0) {
            fputs("\u03b8<sub>", out);
            for (text += 6; isalnum((unsigned char)*text); text++) {
                fputc(*text, out);
            }
            fputs("</sub>", out);
        } else if (strncmp(text, " %", 2) == 0) {
            fputs("&nbsp;%", out); /* no line break between a number and its sign */
            text += 2;
        } else {
            fputc(*text++, out);
        }
    }
}

static void begin_page(FILE *out, const char *title)
{
    fprintf(out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    cli_xml(out, title);
    fprintf(out, "</title>\n<style>%s</style>\n</head>\n<body>\n<main>\n", style);
}

static void end_page(FILE *out, const json_t *build, double seconds)
{
    fputs("<footer>", out);
    if (build != NULL) {
        const json_t *blis = json_object_get(build, "blis");
        fputs("libmodeconn ", out);
        cli_xml(out, cli_string(build, "version"));
        fputs(", instructions ", out);
        cli_xml(out, cli_string(build, "isa"));
        fputs(", BLIS ", out);
        cli_xml(out, cli_string(blis, "version"));
        fputs(", ", out);
        cli_xml(out, cli_string(build, "compiler"));
        fputs(". ", out);
    }
    if (isfinite(seconds)) {
        fprintf(out, "Took %.0f s. ", seconds);
    }
    fputs("After Lubana, Bigelow, Dick, Krueger and Tanaka, <cite>Mechanistic Mode "
          "Connectivity</cite>, ICML 2023.</footer>\n</main>\n</body>\n</html>\n",
          out);
}

/* ---- table --------------------------------------------------------------------------------- */

static const struct {
    const char *view, *color;
} view_columns[] = {
    {"nocue", "#0072b2"}, {"cue", "#d55e00"}, {"randcue", "#009e73"}, {"randimg", "#a8558f"}};

static void write_accuracy(FILE *out, const json_t *model, int column)
{
    double accuracy = cli_number(
        cli_at(model, (const char *const[]){"views", view_columns[column].view, NULL}), "accuracy");
    if (!isfinite(accuracy)) {
        fputs("<td>\u2013</td>", out);
        return;
    }
    fprintf(out,
            "<td>%.1f<span class=\"bar\"><i style=\"width:%.0f%%;background:%s\"></i></span></td>",
            100.0 * accuracy, 100.0 * accuracy, view_columns[column].color);
}

static void write_verdict(FILE *out, const json_t *model, const char *attribute)
{
    const json_t *probe = cli_at(model, (const char *const[]){"probe", attribute, NULL});
    const char *verdict = cli_string(probe, "verdict");
    if (probe == NULL) {
        fputs("<td class=\"v\">\u2013</td>", out);
        return;
    }
    fputs("<td class=\"v\"><span class=\"pill ", out);
    cli_xml(out, verdict);
    fputs("\">", out);
    cli_xml(out, verdict);
    fprintf(out, "</span><small>%+.2f [%.2f, %.2f] nats</small></td>",
            cli_two_decimals(cli_number(probe, "effect")),
            cli_two_decimals(cli_number(probe, "low")),
            cli_two_decimals(cli_number(probe, "high")));
}

static void write_barrier(FILE *out, const json_t *model, const char *view)
{
    double barrier = cli_number(
        cli_at(model, (const char *const[]){"barrier_to_theta_C", view, "loss", NULL}), "linear");
    if (isfinite(barrier) && json_object_get(model, "curve_to_theta_C") != NULL) {
        fprintf(out, "<td>%.2f</td>", cli_two_decimals(barrier));
    } else {
        fputs("<td>\u2013</td>", out);
    }
}

static void write_table(FILE *out, const json_t *models)
{
    fputs("<div class=\"card\" role=\"region\" aria-label=\"Table of the models\" tabindex=\"0\">"
          "<table>\n<thead><tr><td></td><th colspan=\"4\" scope=\"colgroup\">Accuracy on the test "
          "images, %</th><th colspan=\"2\" scope=\"colgroup\" class=\"g\">Does its loss depend on "
          "...</th><th colspan=\"2\" scope=\"colgroup\">Barrier to \u03b8<sub>C</sub>, nats</th>"
          "</tr>\n<tr><th scope=\"col\">Model</th>",
          out);
    for (int v = 0; v < CLI_COUNT(view_columns); v++) {
        fprintf(out, "<th scope=\"col\">%s</th>", cli_view_short(view_columns[v].view));
    }
    fputs("<th scope=\"col\" class=\"g\">the cue?</th><th scope=\"col\" class=\"g\">the image?</th>"
          "<th scope=\"col\">NC</th><th scope=\"col\">C</th></tr></thead>\n<tbody>\n",
          out);
    for (int i = 0; cli_demo_models[i] != NULL; i++) {
        const json_t *model = json_object_get(models, cli_demo_models[i]);
        if (model == NULL) {
            continue;
        }
        fputs("<tr><th scope=\"row\">", out);
        cli_html(out, cli_demo_models[i]);
        fputs("<small>", out);
        cli_html(out, cli_string(model, "made_by"));
        fputs("</small></th>", out);
        for (int v = 0; v < CLI_COUNT(view_columns); v++) {
            write_accuracy(out, model, v);
        }
        write_verdict(out, model, "cue");
        write_verdict(out, model, "image");
        write_barrier(out, model, "nocue");
        write_barrier(out, model, "cue");
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

/* ---- page of the demo ------------------------------------------------------------------------ */

static void write_words(FILE *out, const json_t *results)
{
    json_t *words = cli_demo_words(results), *line;
    size_t i;
    fputs("<div class=\"words\">\n", out);
    json_array_foreach(words, i, line)
    {
        fputs("<p>", out);
        cli_html(out, json_string_value(line));
        fputs("</p>\n", out);
    }
    fputs("</div>\n", out);
    json_decref(words);
}

static void write_curve(FILE *out, const json_t *models, const char *name)
{
    const json_t *curve = cli_at(models, (const char *const[]){name, "curve_to_theta_C", NULL});
    char title[128], ends[128], id[64];
    if (curve == NULL) {
        return;
    }
    snprintf(title, sizeof(title), "From theta_C to %s, in a straight line", name);
    snprintf(ends, sizeof(ends), "from theta_C (t = 0) to %s (t = 1)", name);
    snprintf(id, sizeof(id), "curve-%s", name);
    const cli_figure figure = {.title = title, .id = id, .ends = ends, .write = cli_chart_page};
    cli_figure_curve(out, curve, &figure);
}

static void write_terms(FILE *out, const json_t *models)
{
    const json_t *history = cli_at(models, (const char *const[]){"CBFT", "history", NULL});
    const cli_figure figure = {
        .title = "The terms of CBFT, epoch by epoch", .id = "cbft-terms", .write = cli_chart_page};
    if (history == NULL) {
        return;
    }
    fputs(
        "<h2>Inside connectivity-based fine-tuning</h2>\n<p>CBFT lowers the sum of three terms: "
        "the cross-entropy on clean images; a barrier term, which is near 0 once the loss "
        "between \u03b8<sub>C</sub> and the new model has risen to the height that was asked for; "
        "and an invariance term, which is 0 when the network's last layer sees the same with and "
        "without the cue.</p>\n",
        out);
    cli_figure_history(out, history, &figure);
}

static void write_caption(FILE *out, const json_t *results)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL) {
        return;
    }
    cli_demo_caption(stream, results);
    if (fclose(stream) == 0) {
        fputs("<p class=\"cap\">", out);
        cli_html(out, text);
        fputs("</p>\n", out);
    }
    free(text);
}

static void write_demo(FILE *out, const json_t *results)
{
    const json_t *scale = json_object_get(results, "scale");
    const json_t *models = json_object_get(results, "models");
    begin_page(out, "Mechanistic mode connectivity: the demo");
    fputs("<h1>Right for which reason?</h1>\n<p class=\"sub\">Mechanistic mode connectivity on ",
          out);
    cli_xml(out, cli_string(scale, "data"));
    fputs(": two ways to train one network, four ways to change its mind</p>\n", out);
    cli_html_question(out, results);
    fputs("<h2>What it shows</h2>\n", out);
    write_words(out, results);
    write_table(out, models);
    cli_html_table_guide(out);
    fputs("<h2>What lies between the models</h2>\n", out);
    cli_html_curve_guide(out);
    for (int i = 1; cli_demo_models[i] != NULL; i++) {
        write_curve(out, models, cli_demo_models[i]);
    }
    write_terms(out, models);
    fputs("<h2>Scale and settings</h2>\n", out);
    write_caption(out, results);
    end_page(out, json_object_get(scale, "build"), cli_number(scale, "seconds"));
}

/* ---- page of one curve ---------------------------------------------------------------------- */

static void write_barrier_table(FILE *out, const json_t *curve)
{
    static const char *const definitions[] = {"linear", "mean", "max", "half"};
    static const char *const headings[] = {"over the linear baseline", "over the mean of the ends",
                                           "over the larger end", "at t = \u00bd"};
    const char *name;
    json_t *view;
    fputs("<div class=\"card\"><table>\n<thead><tr><th>Barrier of the loss, nats</th>", out);
    for (int i = 0; i < CLI_COUNT(headings); i++) {
        fprintf(out, "<th>%s</th>", headings[i]);
    }
    fputs("</tr></thead>\n<tbody>\n", out);
    json_object_foreach(json_object_get(curve, "views"), name, view)
    {
        const json_t *barrier = cli_at(view, (const char *const[]){"barrier", "loss", NULL});
        fputs("<tr><td>", out);
        cli_xml(out, name);
        fputs("</td>", out);
        for (int i = 0; i < CLI_COUNT(definitions); i++) {
            double height = cli_number(barrier, definitions[i]);
            if (isfinite(height)) {
                fprintf(out, "<td>%.3f</td>", height);
            } else {
                fputs("<td>\u2013</td>", out);
            }
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

static bool write_one_curve(FILE *out, const json_t *curve)
{
    begin_page(out, "A curve between two models");
    fputs("<h1>Between two models</h1>\n<p class=\"sub\">", out);
    cli_xml(out, cli_string(curve, "from"));
    fputs(json_object_get(curve, "from") != NULL ? " \u2192 " : "", out);
    cli_xml(out, cli_string(curve, "to"));
    fputs("</p>\n", out);
    const cli_figure figure = {.title = "Loss and accuracy along the path",
                               .id = "curve",
                               .ends = CLI_ENDS,
                               .write = cli_chart_page};
    bool done = cli_figure_curve(out, curve, &figure);
    cli_html_curve_guide(out);
    write_barrier_table(out, curve);
    end_page(out, NULL, (double)NAN);
    return done;
}

/* Results of the demo: its scale and at least one of its models. */
static bool is_demo(const json_t *results)
{
    const json_t *models = json_object_get(results, "models");
    bool any = false;
    for (int i = 0; cli_demo_models[i] != NULL; i++) {
        any = any || json_is_object(json_object_get(models, cli_demo_models[i]));
    }
    return any && json_is_object(json_object_get(results, "scale"));
}

bool cli_html_report(FILE *out, const json_t *results)
{
    if (is_demo(results)) {
        write_demo(out, results);
        return true;
    }
    const json_t *curve = json_object_get(results, "curve"); /* of connect --plot */
    curve = curve != NULL ? curve : results;
    return json_is_array(json_object_get(curve, "t")) && write_one_curve(out, curve);
}
