/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Line charts as SVG: one to four panels side by side under one title and legend. Colours are set
 * explicitly, background included, so that a picture looks the same in light and dark viewers.
 */
#include "cli.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

static const double panel_height = 250.0;
static const double left_margin = 62.0, right_margin = 18.0, top = 104.0, below = 52.0;

static const char *const ink = "#1d2330", *const soft = "#5b6472", *const rule = "#e4e7ec";

void cli_xml(FILE *out, const char *text)
{
    while (*text != '\0') {
        int n = cli_utf8(text);
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            /* Control characters are not XML. */
            if (n == 1) {
                fputc((unsigned char)*text < 0x20 ? ' ' : *text, out);
            } else if (n > 1) {
                fwrite(text, 1, (size_t)n, out);
            } else {
                fputs("\ufffd", out);
            }
        }
        text += n > 0 ? n : 1;
    }
}

/* Text in which theta_NAME becomes a theta with a subscript (raised again by the next run). */
static void pretty(FILE *out, const char *text)
{
    const char *at;
    int open = 0;
    while ((at = strstr(text, "theta_")) != NULL) {
        char run[256];
        snprintf(run, sizeof(run), "%.*s", (int)(at - text), text);
        cli_xml(out, run);
        text = at + strlen("theta_");
        fputs("\u03b8<tspan dy=\"3\" font-size=\"75%\">", out);
        for (; isalnum((unsigned char)*text); text++) {
            fputc(*text, out);
        }
        fputs("</tspan>", out);
        if (*text != '\0') {
            fputs("<tspan dy=\"-3\">", out);
            open++;
        }
    }
    cli_xml(out, text);
    for (; open > 0; open--) {
        fputs("</tspan>", out);
    }
}

/* ---- axes ---------------------------------------------------------------------------------- */

typedef struct axis {
    double low, high, step, start, length; /* pixels: start + length * share, length signed */
} axis;

/* 1, 2 or 5 times a power of ten: about `ticks` steps over the range. */
static double nice_step(double range, int ticks)
{
    double raw = range / ticks, power = pow(10.0, floor(log10(raw))), digit = raw / power;
    return power * (digit < 1.5 ? 1.0 : digit < 3.5 ? 2.0 : digit < 7.5 ? 5.0 : 10.0);
}

static double place(const axis *a, double value)
{
    return a->start + a->length * (value - a->low) / (a->high - a->low);
}

static axis vertical_axis(const cli_panel *panel)
{
    double low = 0.0, high = panel->percent ? 1.0 : panel->reach;
    for (int s = 0; s < panel->n_series && !panel->percent; s++) {
        for (int i = 0; i < panel->n; i++) {
            double y = panel->series[s].y[i];
            if (isfinite(y)) {
                low = fmin(low, y);
                high = fmax(high, y);
            }
        }
    }
    if (!(high > low)) {
        high = low + 1.0;
    }
    double step = panel->percent ? 0.2 : nice_step(high - low, 5);
    return (axis){.low = step * floor(low / step),
                  .high = step * ceil(high / step - 1e-9),
                  .step = step,
                  .start = top + panel_height,
                  .length = -panel_height};
}

static axis horizontal_axis(const cli_panel *panel, double x0, double width)
{
    double low = panel->n > 0 ? panel->x[0] : 0.0;
    double high = panel->n > 0 ? panel->x[panel->n - 1] : 1.0;
    if (!(high > low)) {
        low -= 0.5;
        high += 0.5;
    }
    return (axis){
        .low = low, .high = high, .step = nice_step(high - low, 5), .start = x0, .length = width};
}

static void write_axes(FILE *out, const cli_panel *panel, const axis *ax, const axis *ay)
{
    double bottom = ay->start, right = ax->start + ax->length;
    fprintf(out, "<g stroke=\"%s\" stroke-width=\"1\">\n", rule);
    int n_y = (int)floor((ay->high - ay->low) / ay->step + 1e-6);
    for (int i = 0; i <= n_y; i++) {
        double y = place(ay, ay->low + i * ay->step);
        fprintf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", ax->start, right,
                y, y);
    }
    fprintf(out, "</g>\n<g font-size=\"12\" fill=\"%s\">\n", soft);
    int decimals = ay->step < 0.999 ? (int)ceil(-log10(ay->step) - 1e-6) : 0;
    for (int i = 0; i <= n_y; i++) {
        double value = ay->low + i * ay->step;
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", ax->start - 8.0,
                place(ay, value) + 4.0);
        if (panel->percent) {
            fprintf(out, "%.0f%s</text>\n", 100.0 * value, i == n_y ? " %" : "");
        } else {
            fprintf(out, "%.*f</text>\n", decimals, fabs(value) < 1e-12 ? 0.0 : value);
        }
    }
    double first = ax->step * ceil(ax->low / ax->step - 1e-9);
    for (int i = 0; first + i * ax->step <= ax->high + 1e-9; i++) {
        double value = first + i * ax->step, x = place(ax, value);
        fprintf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>", x, x,
                bottom, bottom + 5.0, soft);
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.*f</text>\n", x,
                bottom + 19.0, ax->step < 0.999 ? 1 : 0, value);
    }
    fprintf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
            ax->start, right, bottom, bottom, soft);
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
            ax->start + ax->length / 2.0, bottom + 40.0);
    pretty(out, panel->x_label);
    fprintf(out, "</text>\n</g>\n<text x=\"%.1f\" y=\"%.1f\" font-size=\"13\" font-weight=\"600\">",
            ax->start, top - 12.0);
    pretty(out, panel->y_label);
    fputs("</text>\n", out);
}

/* ---- series -------------------------------------------------------------------------------- */

static void write_marker(FILE *out, int marker, double x, double y, const char *color)
{
    switch (marker) {
    case 1:
        fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\" fill=\"%s\"/>\n",
                x - 3.5, y - 3.5, color);
        break;
    case 2:
        fprintf(out, "<path d=\"M%.1f %.1fl4.4 7.6h-8.8z\" fill=\"%s\"/>\n", x, y - 4.6, color);
        break;
    case 3:
        fprintf(out, "<path d=\"M%.1f %.1fl4.6 4.6l-4.6 4.6l-4.6 -4.6z\" fill=\"%s\"/>\n", x,
                y - 4.6, color);
        break;
    default:
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.8\" fill=\"%s\"/>\n", x, y, color);
    }
}

static void write_series(FILE *out, const cli_panel *panel, const cli_series *series,
                         const axis *ax, const axis *ay)
{
    int last = panel->n - 1;
    if (panel->baseline && last > 0 && isfinite(series->y[0]) && isfinite(series->y[last])) {
        fprintf(out,
                "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" "
                "stroke-width=\"1.2\" stroke-dasharray=\"4 4\" opacity=\"0.55\"/>\n",
                place(ax, panel->x[0]), place(ay, series->y[0]), place(ax, panel->x[last]),
                place(ay, series->y[last]), series->color);
    }
    fprintf(out,
            "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2.2\" stroke-linejoin=\"round\" "
            "d=\"",
            series->color);
    bool pen = false;
    for (int i = 0; i < panel->n; i++) {
        if (isfinite(series->y[i])) {
            fprintf(out, "%s%.1f %.1f", pen ? "L" : "M", place(ax, panel->x[i]),
                    place(ay, series->y[i]));
        }
        pen = isfinite(series->y[i]);
    }
    fputs("\"/>\n", out);
    for (int i = 0; i < panel->n; i++) {
        if (isfinite(series->y[i])) {
            write_marker(out, series->marker, place(ax, panel->x[i]), place(ay, series->y[i]),
                         series->color);
        }
    }
}

static void write_legend(FILE *out, const cli_panel *panel)
{
    double x = left_margin;
    fprintf(out, "<g font-size=\"12.5\" fill=\"%s\">\n", ink);
    for (int s = 0; s < panel->n_series; s++) {
        const cli_series *series = &panel->series[s];
        fprintf(out,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"68\" y2=\"68\" stroke=\"%s\" "
                "stroke-width=\"2.2\"/>\n",
                x, x + 24.0, series->color);
        write_marker(out, series->marker, x + 12.0, 68.0, series->color);
        fprintf(out, "<text x=\"%.1f\" y=\"72\">", x + 30.0);
        pretty(out, series->name);
        fputs("</text>\n", out);
        /* No font metrics here: an average glyph of this size is about 6.6 wide. */
        x += 30.0 + 6.6 * (double)strlen(series->name) + 22.0;
    }
    fputs("</g>\n", out);
}

static const cli_panel *fullest_panel(const cli_chart *chart)
{
    const cli_panel *fullest = &chart->panels[0];
    for (int p = 1; p < chart->n_panels; p++) {
        if (chart->panels[p].n_series > fullest->n_series) {
            fullest = &chart->panels[p];
        }
    }
    return fullest;
}

static const char *const font =
    "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif";

static void write_panel(FILE *out, const cli_panel *panel, double x0, double width)
{
    axis ax = horizontal_axis(panel, x0, width), ay = vertical_axis(panel);
    write_axes(out, panel, &ax, &ay);
    for (int s = 0; s < panel->n_series; s++) {
        write_series(out, panel, &panel->series[s], &ax, &ay);
    }
}

void cli_chart_write(FILE *out, const cli_chart *chart)
{
    double panel_width = chart->n_panels > 2 ? 300.0 : 400.0;
    double step = left_margin + panel_width + right_margin;
    double width = step * chart->n_panels;
    double height = top + panel_height + below + (chart->footnote != NULL ? 24.0 : 0.0);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-labelledby=\"%s-t %s-d\" "
            "font-family=\"%s\" fill=\"%s\">\n",
            width, height, width, height, chart->id, chart->id, font, ink);
    fprintf(out, "<title id=\"%s-t\">", chart->id);
    cli_xml(out, chart->title);
    fprintf(out, "</title>\n<desc id=\"%s-d\">", chart->id);
    cli_xml(out, chart->description != NULL ? chart->description : chart->title);
    fputs("</desc>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n", out);
    fprintf(out, "<text x=\"%.0f\" y=\"26\" font-size=\"17\" font-weight=\"600\">", left_margin);
    pretty(out, chart->title);
    fputs("</text>\n", out);
    if (chart->subtitle != NULL) {
        fprintf(out, "<text x=\"%.0f\" y=\"47\" font-size=\"12.5\" fill=\"%s\">", left_margin,
                soft);
        pretty(out, chart->subtitle);
        fputs("</text>\n", out);
    }
    const cli_panel *fullest = fullest_panel(chart);
    if (fullest->n_series > 1) { /* a single line is named by its axis */
        write_legend(out, fullest);
    }
    for (int p = 0; p < chart->n_panels; p++) {
        write_panel(out, &chart->panels[p], step * p + left_margin, panel_width);
    }
    if (chart->footnote != NULL) {
        fprintf(out, "<text x=\"%.0f\" y=\"%.0f\" font-size=\"12\" fill=\"%s\">", left_margin,
                height - 14.0, soft);
        pretty(out, chart->footnote);
        fputs("</text>\n", out);
    }
    fputs("</svg>\n", out);
}

static void write_page_legend(FILE *out, const cli_panel *panel)
{
    fputs("<p class=\"legend\">", out);
    for (int s = 0; s < panel->n_series; s++) {
        const cli_series *series = &panel->series[s];
        fprintf(out,
                "<span><svg viewBox=\"0 0 24 12\" width=\"24\" height=\"12\" "
                "aria-hidden=\"true\"><path d=\"M0 6h24\" stroke=\"%s\" stroke-width=\"2.2\"/>",
                series->color);
        write_marker(out, series->marker, 12.0, 6.0, series->color);
        fputs("</svg>", out);
        cli_html(out, series->name);
        fputs("</span> ", out);
    }
    fputs("</p>\n", out);
}

void cli_chart_page(FILE *out, const cli_chart *chart)
{
    const double panel_width = 300.0, step = left_margin + panel_width + right_margin;
    const double above = 30.0; /* room of a panel's own title */
    const cli_panel *fullest = fullest_panel(chart);
    fprintf(out, "<figure class=\"card\" id=\"%s\">\n<figcaption><b>", chart->id);
    cli_html(out, chart->title);
    fputs("</b>", out);
    if (chart->subtitle != NULL) {
        fputs("<small>", out);
        cli_html(out, chart->subtitle);
        fputs("</small>", out);
    }
    fputs("</figcaption>\n", out);
    if (fullest->n_series > 1) {
        write_page_legend(out, fullest);
    }
    fputs("<div class=\"panels\">\n", out);
    for (int p = 0; p < chart->n_panels; p++) {
        const cli_panel *panel = &chart->panels[p];
        fprintf(out, "<svg viewBox=\"0 %.0f %.0f %.0f\" role=\"img\" aria-label=\"", top - above,
                step, above + panel_height + below);
        cli_xml(out, panel->y_label);
        fputs(". ", out);
        cli_xml(out, chart->description != NULL ? chart->description : chart->title);
        fprintf(out, "\" font-family=\"%s\" fill=\"%s\">\n", font, ink);
        write_panel(out, panel, left_margin, panel_width);
        fputs("</svg>\n", out);
    }
    fputs("</div>\n</figure>\n", out);
}
