/* base/json.c: see json.h. */
#include "base/json.h"

#include <string.h>

#include "base/mapping.h"

hd_status hd_json_parse(json_t **out, const char *text, size_t len, hd_error *err)
{
    json_error_t why;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &why);
    if (*out) return HD_OK;
    if (json_error_code(&why) == json_error_out_of_memory) return hd_fail(err, HD_E_MEMORY, "out of memory in JSON");
    return hd_fail(err, HD_E_FORMAT, "not valid JSON: line %d, column %d: %s", why.line, why.column, why.text);
}

hd_status hd_json_parse_file(json_t **out, const char *path, size_t max_bytes, hd_error *err)
{
    hd_mapping *map = NULL;
    *out = NULL;
    HD_TRY(hd_mapping_open(&map, path, err));
    hd_status status;
    if (hd_mapping_size(map) > max_bytes)
        status = hd_fail(err, HD_E_LIMIT, "%s: %zu bytes, at most %zu are read", path, hd_mapping_size(map), max_bytes);
    else {
        status = hd_json_parse(out, (const char *)hd_mapping_data(map), hd_mapping_size(map), err);
        if (status != HD_OK) status = hd_fail_in(err, status, "%s", path);
    }
    if (hd_mapping_failed(map)) { /* what was parsed, well or badly, is not the file */
        json_decref(*out);
        *out = NULL;
        status = hd_fail(err, HD_E_IO, "%s: the file shrank or could not be read while it was parsed", path);
    }
    hd_mapping_close(&map);
    return status;
}
