/* scripted_model.h: folders of the model of tests (src/models/scripted.c), for tests in C.
 *
 *     char folder[TINY_PATH];
 *     scripted_make(folder, "{\"vocab_size\":50,\"script\":[7,8,9],\"eos_token_id\":1}");
 *     ...
 *     scripted_remove(folder);
 */
#ifndef HD_TESTS_SCRIPTED_MODEL_H
#define HD_TESTS_SCRIPTED_MODEL_H

#include "unit/tiny_model.h"

/* A folder with this config.json, its model_type added. */
static inline void scripted_make(char folder[TINY_PATH], const char *config)
{
    char path[TINY_PATH + 32];
    hd_error err = {0};
    json_t *json;
    if (hd_json_parse(&json, config, strlen(config), &err) != HD_OK) fail_msg("%s", err.text);
    json_object_set_new(json, "model_type", json_string("hadal_scripted"));
    snprintf(folder, TINY_PATH, "/tmp/hadal-scripted-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(json_dump_file(json, path, 0), 0);
    json_decref(json);
}

static inline void scripted_remove(const char *folder)
{
    char path[TINY_PATH + 32];
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    rmdir(folder);
}

#endif
