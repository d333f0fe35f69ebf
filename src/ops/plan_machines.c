/* ops/plan_machines.c: the table of machines and prices, and users' files in the same form.
 *
 * The JSON tree stays alive and owns the strings.  Every key is checked, and one that is not known is refused, so that
 * a mistyped one is not taken for "not published". */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "machines_json.h"
#include "ops/plan.h"

#define MAX_MACHINES 1000
#define MAX_COUNT 4096
#define MOST 1e21 /* of any figure: far above any machine, so that no product overflows */

struct hd_plan_machines {
    json_t *root;
    hd_plan_machine *machines;
    size_t count;
    hd_plan_price *prices;
    size_t price_count;
};

typedef struct entry {
    const json_t *json;
    const char *where, *name; /* of the file and of the machine, for errors */
} entry;

static hd_status wrong(const entry *e, const char *key, const char *what, hd_error *err)
{
    return hd_fail(err, HD_E_FORMAT, "%s: %s: \"%s\" %s", e->where, e->name, key, what);
}

static hd_status text_of(const entry *e, const char *key, bool needed, const char **out, hd_error *err)
{
    const json_t *v = json_object_get(e->json, key);
    *out = "";
    if (!v || json_is_null(v)) return needed ? wrong(e, key, "is missing", err) : HD_OK;
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return wrong(e, key, "must be a string", err);
    if (json_string_length(v) > 400) return wrong(e, key, "is longer than 400 bytes", err);
    *out = json_string_value(v);
    return HD_OK;
}

/* Above 0; NAN where it is null or absent. */
static hd_status number_of(const entry *e, const char *key, double least, double *out, hd_error *err)
{
    const json_t *v = json_object_get(e->json, key);
    *out = NAN;
    if (!v || json_is_null(v)) return HD_OK;
    if (!json_is_number(v)) return wrong(e, key, "must be a number, or null where it is not known", err);
    if (!(json_number_value(v) >= least && json_number_value(v) <= MOST))
        return wrong(e, key, least > 0 ? "must be above 0" : "must not be negative", err);
    *out = json_number_value(v);
    return HD_OK;
}

static hd_status check_keys(const entry *e, const char *const *keys, size_t count, hd_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)e->json, key, value)
    {
        size_t i = 0;
        while (i < count && strcmp(keys[i], key) != 0)
            i++;
        if (i < count) continue;
        return hd_fail(err, HD_E_FORMAT, "%s: %s: \"%.64s\" is no key of this table; see docs/plan.md", e->where,
                       e->name, key);
    }
    return HD_OK;
}

static bool name_is_plain(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return len > 0 && len <= 64 && !name[len];
}

static hd_status read_machine(hd_plan_machine *m, const json_t *json, const char *where, size_t index, hd_error *err)
{
    static const char *const keys[] = {"name",    "title",       "kind",  "memory_bytes", "bandwidth_bytes_per_second",
                                       "numbers", "power_watts", "price", "currency",     "operations_per_second",
                                       "source",  "date",        "note"};
    char place[48];
    snprintf(place, sizeof place, "machine number %zu", index + 1);
    entry e = {.json = json, .where = where, .name = place};
    if (!json_is_object(json)) return hd_fail(err, HD_E_FORMAT, "%s: %s is not an object", where, place);
    HD_TRY(text_of(&e, "name", true, &m->name, err));
    if (!name_is_plain(m->name)) return wrong(&e, "name", "must be 1 to 64 letters, digits, '.', '_' or '-'", err);
    e.name = m->name;
    HD_TRY(check_keys(&e, keys, HD_ARRAY_LEN(keys), err));
    HD_TRY(text_of(&e, "title", false, &m->title, err));
    HD_TRY(text_of(&e, "kind", true, &m->kind, err));
    HD_TRY(text_of(&e, "numbers", false, &m->numbers, err));
    HD_TRY(text_of(&e, "currency", false, &m->currency, err));
    HD_TRY(text_of(&e, "source", false, &m->source, err));
    HD_TRY(text_of(&e, "date", false, &m->date, err));
    HD_TRY(text_of(&e, "note", false, &m->note, err));
    HD_TRY(number_of(&e, "memory_bytes", 1, &m->memory, err));
    HD_TRY(number_of(&e, "bandwidth_bytes_per_second", 1, &m->bandwidth, err));
    HD_TRY(number_of(&e, "operations_per_second", 1, &m->operations, err));
    HD_TRY(number_of(&e, "power_watts", 1e-3, &m->watts, err));
    HD_TRY(number_of(&e, "price", 0, &m->price, err));
    if (!*m->title) m->title = m->name;
    if (strcmp(m->kind, "cpu") != 0 && strcmp(m->kind, "gpu") != 0 && strcmp(m->kind, "accelerator") != 0)
        return wrong(&e, "kind", "must be cpu, gpu or accelerator", err);
    if (isfinite(m->price) && !*m->currency) return wrong(&e, "currency", "is missing: the price is in what?", err);
    return HD_OK;
}

static hd_status read_price(hd_plan_price *p, const json_t *json, const char *where, size_t index, hd_error *err)
{
    char place[48];
    snprintf(place, sizeof place, "price number %zu", index + 1);
    entry e = {.json = json, .where = where, .name = place};
    if (!json_is_object(json)) return hd_fail(err, HD_E_FORMAT, "%s: %s is not an object", where, place);
    HD_TRY(text_of(&e, "name", true, &p->name, err));
    HD_TRY(text_of(&e, "currency", true, &p->currency, err));
    HD_TRY(text_of(&e, "source", false, &p->source, err));
    HD_TRY(text_of(&e, "date", false, &p->date, err));
    HD_TRY(number_of(&e, "input", 0, &p->input, err));
    HD_TRY(number_of(&e, "cached", 0, &p->cached, err));
    HD_TRY(number_of(&e, "output", 0, &p->output, err));
    if (!isfinite(p->input)) return wrong(&e, "input", "is missing", err);
    if (!isfinite(p->output)) return wrong(&e, "output", "is missing", err);
    if (!isfinite(p->cached)) p->cached = p->input;
    return HD_OK;
}

static hd_status read_lists(hd_plan_machines *t, const char *where, hd_error *err)
{
    /* a file may be a single machine */
    const json_t *list = json_object_get(t->root, "machines"), *prices = json_object_get(t->root, "prices");
    bool single = json_is_object(t->root) && !list && json_object_get(t->root, "name");
    if (!single && (!json_is_array(list) || json_array_size(list) == 0))
        return hd_fail(err, HD_E_FORMAT, "%s: \"machines\" must be a list with at least one machine", where);
    if (prices && !json_is_array(prices)) return hd_fail(err, HD_E_FORMAT, "%s: \"prices\" must be a list", where);
    t->count = single ? 1 : json_array_size(list);
    t->price_count = single ? 0 : json_array_size(prices);
    if (t->count > MAX_MACHINES || t->price_count > MAX_MACHINES)
        return hd_fail(err, HD_E_LIMIT, "%s: more than %d machines or prices", where, MAX_MACHINES);
    t->machines = hd_calloc(t->count, sizeof *t->machines);
    t->prices = hd_calloc(t->price_count + 1, sizeof *t->prices);
    if (!t->machines || !t->prices) return hd_fail(err, HD_E_MEMORY, "no memory for the table of machines");
    for (size_t i = 0; i < t->count; i++)
        HD_TRY(read_machine(&t->machines[i], single ? t->root : json_array_get(list, i), where, i, err));
    for (size_t i = 0; i < t->count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcasecmp(t->machines[i].name, t->machines[k].name) == 0)
                return hd_fail(err, HD_E_FORMAT, "%s: there are two machines named %s", where, t->machines[i].name);
    for (size_t i = 0; i < t->price_count; i++)
        HD_TRY(read_price(&t->prices[i], json_array_get(prices, i), where, i, err));
    return HD_OK;
}

hd_status hd_plan_machines_parse(hd_plan_machines **out, const char *where, const char *text, size_t len, hd_error *err)
{
    *out = NULL;
    hd_plan_machines *t = hd_calloc(1, sizeof *t);
    if (!t) return hd_fail(err, HD_E_MEMORY, "no memory for the table of machines");
    hd_status status = hd_json_parse(&t->root, text, len, err);
    if (status != HD_OK)
        status = hd_fail_in(err, status, "%s", where);
    else
        status = read_lists(t, where, err);
    if (status == HD_OK)
        *out = t;
    else
        hd_plan_machines_close(&t);
    return status;
}

hd_status hd_plan_machines_open(hd_plan_machines **out, hd_error *err)
{
    return hd_plan_machines_parse(out, "the table of machines", (const char *)machines_json, machines_json_size, err);
}

void hd_plan_machines_close(hd_plan_machines **ref)
{
    hd_plan_machines *t = *ref;
    if (!t) return;
    *ref = NULL;
    json_decref(t->root);
    hd_free(t->machines);
    hd_free(t->prices);
    hd_free(t);
}

size_t hd_plan_machines_count(const hd_plan_machines *machines)
{
    return machines->count;
}

const hd_plan_machine *hd_plan_machines_at(const hd_plan_machines *machines, size_t index)
{
    return &machines->machines[index];
}

const hd_plan_machine *hd_plan_machines_find(const hd_plan_machines *machines, const char *name)
{
    for (size_t i = 0; i < machines->count; i++)
        if (strcasecmp(machines->machines[i].name, name) == 0) return &machines->machines[i];
    return NULL;
}

size_t hd_plan_split_count(const char *text, int *count)
{
    const char *colon = strrchr(text, ':');
    *count = 1;
    if (!colon) return strlen(text);
    *count = 0;
    for (const char *c = colon + 1; *c; c++) {
        if (*c < '0' || *c > '9' || *count > MAX_COUNT) return 0;
        *count = *count * 10 + (*c - '0');
    }
    return *count >= 1 && *count <= MAX_COUNT ? (size_t)(colon - text) : 0;
}

size_t hd_plan_price_count(const hd_plan_machines *machines)
{
    return machines->price_count;
}

const hd_plan_price *hd_plan_price_at(const hd_plan_machines *machines, size_t index)
{
    return &machines->prices[index];
}

const hd_plan_price *hd_plan_price_find(const hd_plan_machines *machines, const char *name)
{
    for (size_t i = 0; i < machines->price_count; i++)
        if (strcasecmp(machines->prices[i].name, name) == 0) return &machines->prices[i];
    return NULL;
}
