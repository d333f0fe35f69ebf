/* models/names.c: the table of names and what can be asked of it; see names.h. */
#include <stdio.h>
#include <string.h>

#include "models/names.h"

#define NAME_ENTRY(id, gguf, safetensors) {gguf, safetensors},
const hd_name hd_names[HD_NAME_COUNT] = {HD_NAME_LIST(NAME_ENTRY)};
#undef NAME_ENTRY

void hd_name_expand(char *out, size_t size, const char *pattern, int layer, int expert)
{
    enum { NUMBER = 16 }; /* bytes that an int may take */
    size_t len = 0;
    int values[2] = {layer, expert}, used = 0;
    out[0] = '\0';
    for (const char *p = pattern; *p && len + NUMBER < size; p++) {
        if (p[0] == '%' && p[1] == 'd' && used < 2) {
            len += (size_t)snprintf(out + len, size - len, "%d", values[used++]);
            p++;
        } else {
            out[len++] = *p;
            out[len] = '\0';
        }
    }
}

bool hd_name_in_layers(hd_name_id id)
{
    return hd_names[id].gguf && strstr(hd_names[id].gguf, "%d");
}

bool hd_name_of_experts(hd_name_id id)
{
    const char *name = hd_names[id].safetensors, *first = name ? strstr(name, "%d") : NULL;
    return first && strstr(first + 2, "%d");
}

/* Reads the number of a layer at p; NULL: there is none. */
static const char *read_number(const char *p, int *number)
{
    const int most = 100000; /* layers; keeps the sum from overflowing */
    const char *begin = p;
    for (*number = 0; *p >= '0' && *p <= '9' && *number < most; p++)
        *number = *number * 10 + (*p - '0');
    return p > begin ? p : NULL;
}

/* Whether `name` is the pattern with numbers in its places, the first of which is the layer. */
static bool matches(const char *pattern, const char *name, int *layer)
{
    *layer = 0;
    for (int number, places = 0; *pattern; places++) {
        const char *place = strstr(pattern, "%d");
        size_t before = place ? (size_t)(place - pattern) : strlen(pattern);
        if (strncmp(name, pattern, before) != 0) return false;
        name += before;
        pattern += before;
        if (!place) break;
        if (!(name = read_number(name, &number))) return false;
        if (!places) *layer = number;
        pattern += 2;
    }
    return !*name;
}

bool hd_name_find_gguf(const char *name, hd_name_id *id, int *layer)
{
    for (*id = 0; *id < HD_NAME_COUNT; (*id)++)
        if (hd_names[*id].gguf && matches(hd_names[*id].gguf, name, layer)) return true;
    return false;
}

bool hd_name_find_release(const char *name, hd_name_id *id, int *layer)
{
    for (*id = 0; *id < HD_NAME_COUNT; (*id)++)
        if (hd_names[*id].safetensors && matches(hd_names[*id].safetensors, name, layer)) return true;
    return false;
}

bool hd_name_is_derived(const char *name)
{
    static const char suffix[] = "rotary_emb.inv_freq";
    size_t len = strlen(name);
    return len >= sizeof suffix - 1 && strcmp(name + len - (sizeof suffix - 1), suffix) == 0;
}
