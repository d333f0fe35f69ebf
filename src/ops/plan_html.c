/* ops/plan_html.c: a plan as one page to print: no script, nothing from elsewhere, charts drawn as SVG in place.
 *
 * Every text that did not come from this file is escaped. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/plan.h"

/* Text of an element or an attribute in double quotes. */
static void escaped(hd_buf *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&': (void)hd_buf_puts(out, "&amp;"); break;
        case '<': (void)hd_buf_puts(out, "&lt;"); break;
        case '>': (void)hd_buf_puts(out, "&gt;"); break;
        case '"': (void)hd_buf_puts(out, "&quot;"); break;
        case '\'': (void)hd_buf_puts(out, "&#39;"); break;
        default: (void)hd_buf_putc(out, (unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text); break;
        }
    }
}

static void element(hd_buf *out, const char *open, const char *text, const char *close)
{
    (void)hd_buf_puts(out, open);
    escaped(out, text);
    (void)hd_buf_puts(out, close);
}

/* ---- charts ---- */

enum { CHART_WIDTH = 720, LABEL_WIDTH = 170, BAR_HEIGHT = 16, BAR_STEP = 22, VALUE_WIDTH = 140 };

typedef struct chart {
    hd_buf *out;
    double largest; /* of the values: the full width */
    int rows, at;
} chart;

static double width_of(const chart *c, double value)
{
    double room = CHART_WIDTH - LABEL_WIDTH - VALUE_WIDTH;
    return c->largest > 0 && isfinite(value) ? fmax(value, 0) / c->largest * room : 0;
}

static void open_chart(chart *c, hd_buf *out, const char *title, double largest, int rows)
{
    *c = (chart){.out = out, .largest = largest, .rows = rows};
    element(out, "<figure><figcaption>", title, "</figcaption>\n");
    (void)hd_buf_printf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\"><title>",
                        CHART_WIDTH, rows * BAR_STEP + 8);
    element(out, "", title, "</title>\n");
}

static void bar(chart *c, const char *label, double value, const char *text, const char *class)
{
    int y = 4 + c->at++ * BAR_STEP;
    double width = width_of(c, value);
    (void)hd_buf_printf(c->out, "<text x=\"%d\" y=\"%d\" class=\"name\">", LABEL_WIDTH - 8, y + 13);
    element(c->out, "", label, "</text>");
    (void)hd_buf_printf(c->out, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" class=\"%s\"/>", LABEL_WIDTH, y,
                        width, BAR_HEIGHT, class);
    (void)hd_buf_printf(c->out, "<text x=\"%.1f\" y=\"%d\">", LABEL_WIDTH + width + 6, y + 13);
    element(c->out, "", text, "</text>\n");
}

/* A line down the whole chart, such as the memory that there is. */
static void mark(chart *c, double value, const char *text)
{
    double x = LABEL_WIDTH + width_of(c, value);
    if (!isfinite(value) || value > c->largest) return;
    (void)hd_buf_printf(c->out, "<line x1=\"%.1f\" y1=\"0\" x2=\"%.1f\" y2=\"%d\" class=\"mark\"><title>", x, x,
                        c->rows * BAR_STEP + 8);
    element(c->out, "", text, "</title></line>\n");
}

static void close_chart(chart *c)
{
    (void)hd_buf_puts(c->out, "</svg></figure>\n");
}

static void chart_of_memory(hd_buf *out, const hd_plan *p)
{
    char v[HD_PLAN_TEXT];
    const hd_plan_fit *f = &p->fit;
    const struct {
        const char *label;
        double value;
    } parts[] = {{"weights", f->weights}, {"cache", f->cache}, {"work space", f->work}, {"peak", f->needed}};
    chart c;
    double largest = fmax(f->needed, isfinite(f->available) ? f->available : 0);
    open_chart(&c, out, "Memory, beside what there is (line)", largest, 5);
    for (size_t i = 0; i < HD_ARRAY_LEN(parts); i++)
        bar(&c, parts[i].label, parts[i].value, hd_plan_bytes(v, parts[i].value), i == 3 ? "strong" : "plain");
    bar(&c, "there is", f->available, hd_plan_bytes(v, f->available), "other");
    mark(&c, f->available, "memory of the machine");
    close_chart(&c);
}

static void chart_of_recipes(hd_buf *out, const hd_plan *p)
{
    char v[HD_PLAN_TEXT];
    double largest = 0;
    chart c;
    for (size_t i = 0; i < p->model.recipe_count; i++)
        largest = fmax(largest, (double)p->model.recipes[i].tensor_bytes);
    if (!p->model.recipe_count) return;
    open_chart(&c, out, "Weights by recipe; the line is the memory of the machine", largest,
               (int)p->model.recipe_count);
    for (size_t i = 0; i < p->model.recipe_count; i++) {
        const hd_plan_recipe *r = &p->model.recipes[i];
        bool fits = p->fit.known && (double)r->tensor_bytes + p->fit.serving_peak - p->fit.weights <= p->fit.available;
        bar(&c, r->name, (double)r->tensor_bytes, hd_plan_bytes(v, (double)r->tensor_bytes), fits ? "plain" : "other");
    }
    mark(&c, p->fit.available, "memory of the machine");
    close_chart(&c);
}

static void chart_of_cost(hd_buf *out, const hd_plan *p)
{
    char v[HD_PLAN_TEXT], label[32];
    double largest = fmax(p->cost.own[5], p->cost.api[5]);
    chart c;
    open_chart(&c, out, "What it costs, year by year", largest, 12);
    for (int i = 0; i <= 5; i++) {
        snprintf(label, sizeof label, "owning, year %d", i);
        bar(&c, label, p->cost.own[i], hd_plan_number(v, p->cost.own[i]), "plain");
        snprintf(label, sizeof label, "interface, year %d", i);
        bar(&c, label, p->cost.api[i], hd_plan_number(v, p->cost.api[i]), "other");
    }
    close_chart(&c);
}

/* Bars from the low to the high value, around what is without a change. */
static void chart_of_sensitivities(hd_buf *out, const hd_plan *p)
{
    hd_plan_sensitivity s[HD_PLAN_SENSITIVITIES];
    char a[HD_PLAN_TEXT], b[HD_PLAN_TEXT];
    double least = p->cost.own[3] - p->cost.api[3], most = least, middle = least;
    hd_plan_sensitivities(s, &p->cost_ask);
    for (int i = 0; i < HD_PLAN_SENSITIVITIES; i++) {
        least = fmin(least, fmin(s[i].low, s[i].high));
        most = fmax(most, fmax(s[i].low, s[i].high));
    }
    chart c;
    open_chart(&c, out, "Owning less interface over 3 years, with 20 % less and more of each", most - least,
               HD_PLAN_SENSITIVITIES);
    for (int i = 0; i < HD_PLAN_SENSITIVITIES; i++) {
        int y = 4 + i * BAR_STEP;
        double low = fmin(s[i].low, s[i].high), high = fmax(s[i].low, s[i].high);
        (void)hd_buf_printf(out, "<text x=\"%d\" y=\"%d\" class=\"name\">", LABEL_WIDTH - 8, y + 13);
        element(out, "", s[i].what, "</text>");
        (void)hd_buf_printf(out, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" class=\"plain\"/>",
                            LABEL_WIDTH + width_of(&c, low - least), y, fmax(width_of(&c, high - low), 1), BAR_HEIGHT);
        (void)hd_buf_printf(out, "<text x=\"%d\" y=\"%d\">%s to %s</text>\n", CHART_WIDTH - VALUE_WIDTH + 6, y + 13,
                            hd_plan_number(a, s[i].low), hd_plan_number(b, s[i].high));
    }
    mark(&c, middle - least, "as planned");
    close_chart(&c);
}

static void chart_of_modes(hd_buf *out, const hd_plan *p)
{
    chart c;
    open_chart(&c, out, "Ways to run it: weighted means of scores from 1 to 5", 5, HD_PLAN_MODES);
    for (int i = 0; i < HD_PLAN_MODES; i++) {
        char v[HD_PLAN_TEXT];
        int mode = p->modes.order[i];
        snprintf(v, sizeof v, "%.2f", p->modes.total[mode]);
        bar(&c, hd_plan_mode_name(mode), p->modes.total[mode], v, i ? "plain" : "strong");
    }
    close_chart(&c);
}

/* ---- tables ---- */

static void table_of_figures(hd_buf *out, const hd_plan *p)
{
    hd_plan_figure list[HD_PLAN_FIGURES_MAX];
    size_t count = hd_plan_figures(list, p);
    const char *group = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(group, list[i].group) != 0) {
            if (*group) (void)hd_buf_puts(out, "</tbody></table>\n");
            element(out, "<h2>", list[i].group, "</h2>\n");
            if (strcmp(list[i].group, "Memory") == 0) chart_of_memory(out, p);
            if (strcmp(list[i].group, "Cost") == 0) {
                chart_of_cost(out, p);
                chart_of_sensitivities(out, p);
            }
            (void)hd_buf_puts(out,
                              "<table><thead><tr><th>figure</th><th>value</th><th>formula</th></tr></thead><tbody>\n");
        }
        group = list[i].group;
        element(out, "<tr><td>", list[i].label, "</td>");
        element(out, "<td class=\"number\">", list[i].value, "</td>");
        element(out, "<td class=\"formula\">", list[i].formula, "</td></tr>\n");
    }
    if (count) (void)hd_buf_puts(out, "</tbody></table>\n");
}

static void table_of_modes(hd_buf *out, const hd_plan *p)
{
    (void)hd_buf_puts(out, "<table><thead><tr><th>criterion (weight)</th>");
    for (int i = 0; i < HD_PLAN_MODES; i++)
        element(out, "<th>", hd_plan_mode_name(p->modes.order[i]), "</th>");
    (void)hd_buf_puts(out, "</tr></thead><tbody>\n");
    for (int k = 0; k < HD_PLAN_CRITERIA; k++) {
        (void)hd_buf_printf(out, "<tr><td>%s (%g)</td>", hd_plan_criterion_name(k), p->modes.weights[k]);
        for (int i = 0; i < HD_PLAN_MODES; i++) {
            const char *reason;
            (void)hd_buf_printf(out, "<td><b>%d</b> ", hd_plan_score(p->modes.order[i], k, &reason));
            element(out, "<small>", reason, "</small></td>");
        }
        (void)hd_buf_puts(out, "</tr>\n");
    }
    (void)hd_buf_puts(out, "<tr><td>total = sum of weight x score / sum of weights</td>");
    for (int i = 0; i < HD_PLAN_MODES; i++)
        (void)hd_buf_printf(out, "<td><b>%.2f</b></td>", p->modes.total[p->modes.order[i]]);
    (void)hd_buf_puts(out, "</tr></tbody></table>\n");
}

/* ---- the page ---- */

static const char style[] =
    "body{font:14px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #bbb}"
    "table{border-collapse:collapse;width:100%;font-size:.85rem}td,th{border-bottom:1px solid #ddd;padding:.25rem "
    ".4rem;"
    "text-align:left;vertical-align:top}.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
    ".formula{color:#444}small{color:#555}.verdict{font-size:1.1rem;padding:.5rem .8rem;border-left:.4rem solid "
    "#2a6f4e;"
    "background:#eef6f1}.no{border-color:#a33;background:#f9eeee}figure{margin:1rem 0}figcaption{font-weight:600}"
    "svg{width:100%;height:auto}svg text{font:12px "
    "system-ui,sans-serif;fill:#1a1a1a;paint-order:stroke;stroke:#fff;stroke-width:3px}.name{text-anchor:end}"
    ".plain{fill:#4b7fb3}.strong{fill:#1f4f82}.other{fill:#b9bec4}.mark{stroke:#a33;stroke-width:1.5;"
    "stroke-dasharray:4 3}@media "
    "print{body{margin:0;max-width:none}h2{break-after:avoid}tr,figure{break-inside:avoid}}";

static void verdict(hd_buf *out, const hd_plan *p)
{
    char a[HD_PLAN_TEXT], b[HD_PLAN_TEXT];
    const hd_plan_fit *f = &p->fit;
    (void)hd_buf_printf(out, "<p class=\"verdict%s\">", f->known && !f->fits ? " no" : "");
    if (!f->known)
        (void)hd_buf_puts(out, "Whether it fits is not known: the memory of the machine is not.");
    else
        (void)hd_buf_printf(out, "%s: %s of %s.", f->fits ? "It fits" : "It does not fit", hd_plan_bytes(a, f->needed),
                            hd_plan_bytes(b, f->available));
    if (f->known && !f->fits)
        (void)hd_buf_printf(out,
                            " %lld of these machines would hold it. With the room for it:", (long long)f->machines);
    if (isfinite(f->decode))
        (void)hd_buf_printf(out, " %s writes %s tokens a second", f->known && !f->fits ? "it" : "It",
                            hd_plan_number(a, f->decode));
    if (isfinite(f->decode) && isfinite(f->prefill))
        (void)hd_buf_printf(out, " and reads %s", hd_plan_number(b, f->prefill));
    if (isfinite(f->decode)) (void)hd_buf_puts(out, ".");
    (void)hd_buf_puts(out, "</p>\n");
}

void hd_plan_to_html(hd_buf *out, const hd_plan *p)
{
    char a[HD_PLAN_TEXT], b[HD_PLAN_TEXT];
    const hd_plan_machine *m = p->ask.machine;
    (void)hd_buf_puts(
        out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
             "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    element(out, "<title>Plan: ", p->model.name, "</title>");
    (void)hd_buf_printf(out, "<style>%s</style></head><body>\n", style);
    element(out, "<h1>", p->model.name, "</h1>\n<p>");
    (void)hd_buf_printf(out, "%s weights, %s of them for a token, ", hd_plan_number(a, (double)p->model.parameters),
                        hd_plan_number(b, (double)p->model.active));
    escaped(out, p->model.weights);
    (void)hd_buf_printf(out, ", on %d &times; ", p->ask.count);
    escaped(out, m->title);
    (void)hd_buf_printf(out, "; %lld users of %lld tokens.", (long long)p->ask.users, (long long)p->ask.context);
    (void)hd_buf_puts(out, "</p>\n");
    verdict(out, p);
    if (p->model.note) element(out, "<p>Of the model: ", p->model.note, ".</p>\n");
    if (*m->note) element(out, "<p>Of the machine: ", m->note, ".</p>\n");
    if (*m->source) {
        element(out, "<p>Source of the machine's figures: ", m->source, "");
        element(out, *m->date ? ", read " : "", m->date, ".</p>\n");
    }
    if (!p->ask.here && strcmp(m->kind, "cpu") != 0)
        (void)hd_buf_puts(out,
                          "<p>Speed is that of an engine which reaches on this card the shares that are stated; this "
                          "program computes on processors.</p>\n");
    table_of_figures(out, p);
    (void)hd_buf_puts(out, "<h2>Weights</h2>\n");
    chart_of_recipes(out, p);
    (void)hd_buf_puts(out, "<h2>Ways to run it</h2>\n");
    chart_of_modes(out, p);
    table_of_modes(out, p);
    (void)hd_buf_puts(out, "</body></html>\n");
}
