/* cli/serve_cheaper.c: the options of `hadal serve` for a second, cheaper precision of its models. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/serve.h"

hd_opt_group hd_serve_cheaper_group(hd_serve_flags *f)
{
    const hd_opt opts[] = {
        {.name = "cheaper",
         .type = HD_OPT_LIST,
         .value = &f->cheaper,
         .metavar = "[NAME=]MODEL",
         .help =
             "The same model in a cheaper precision, held beside the served one of that NAME (which is needed where "
             "several are served): under load, new requests go to it."},
        {.name = "cheaper-above",
         .type = HD_OPT_INT,
         .value = &f->cheaper_above,
         .metavar = "N",
         .min = 1,
         .max = 1000000,
         .help = "With so many requests of the model, new ones go to the cheaper precision."},
        {.name = "cheaper-below",
         .type = HD_OPT_INT,
         .value = &f->cheaper_below,
         .metavar = "N",
         .min = 0,
         .max = 1000000,
         .help = "With so many or less for --cheaper-hold seconds, they go to the full one again."},
        {.name = "cheaper-hold",
         .type = HD_OPT_FLOAT,
         .value = &f->cheaper_hold,
         .metavar = "SECONDS",
         .min = 0,
         .max = 86400,
         .help = "How long the load must have been low for that."},
    };
    memcpy(f->second, opts, sizeof opts);
    _Static_assert(sizeof f->second == sizeof opts, "the table has its place");
    return (hd_opt_group){"OPTIONS OF A SECOND PRECISION", f->second, HD_ARRAY_LEN(opts)};
}

/* "NAME=MODEL" cut in two; a path that exists is one, whatever signs it has. */
const char *hd_serve_split_name(const char *given, char *name, size_t size)
{
    struct stat st;
    const char *sign = strchr(given, '=');
    name[0] = '\0';
    if (!sign || stat(given, &st) == 0) return given;
    snprintf(name, size, "%.*s", (int)(sign - given), given);
    return sign + 1;
}

hd_status hd_serve_check_cheaper(const hd_serve_flags *f, hd_error *err)
{
    for (size_t i = 1; i < HD_ARRAY_LEN(f->second); i++)
        if (f->second[i].given && f->cheaper.count == 0)
            return hd_fail(err, HD_E_ARGUMENT, "--%s says when --cheaper is used: give that, too", f->second[i].name);
    if (f->cheaper.count == 0) return HD_OK;
    if (f->cheaper_below >= f->cheaper_above)
        return hd_fail(err, HD_E_ARGUMENT,
                       "--cheaper-below is %lld and --cheaper-above %lld: it must be less, so that the model does not "
                       "go back and forth with each request",
                       (long long)f->cheaper_below, (long long)f->cheaper_above);
    for (size_t i = 0; i < f->cheaper.count; i++) {
        char name[256];
        const char *model = hd_serve_split_name(f->cheaper.items[i], name, sizeof name);
        if (!model[0] || model == f->cheaper.items[i] + 1)
            return hd_fail(err, HD_E_ARGUMENT,
                           "--cheaper %s: it must be MODEL, or NAME=MODEL, where NAME is that of a "
                           "served model",
                           f->cheaper.items[i]);
        if (!name[0] && f->model_count > 1)
            return hd_fail(err, HD_E_ARGUMENT,
                           "--cheaper %s: which of the %zu models is it a cheaper precision of?  Write NAME=MODEL",
                           f->cheaper.items[i], f->model_count);
    }
    return HD_OK;
}

hd_precision_rule hd_serve_cheaper_rule(const hd_serve_flags *f)
{
    return (hd_precision_rule){
        .above = (int)f->cheaper_above, .below = (int)f->cheaper_below, .hold_ns = (uint64_t)(f->cheaper_hold * 1e9)};
}
