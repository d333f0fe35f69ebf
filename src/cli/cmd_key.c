/* cli/cmd_key.c: `hadal key`: makes, lists and revokes the API keys of a service. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/data_dir.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "security/security.h"

typedef struct key_options {
    const char *data, *name;
    const char *which; /* the key to revoke */
    bool json;
} key_options;

/* ---- create ---- */

static hd_status create(hd_api_keys *keys, const char *folder, const key_options *o, hd_error *err)
{
    char text[HD_API_KEY_CHARS + 1];
    int64_t id = 0;
    HD_TRY(hd_api_keys_create(keys, o->name, text, &id, err));
    fprintf(stderr, "key %lld of ", (long long)id);
    hd_terminal_name(stderr, folder, 0);
    fputs("; it is shown this once and can't be read back:\n", stderr);
    puts(text);
    hd_wipe(text, sizeof text);
    return HD_OK;
}

/* ---- list ---- */

/* "2026-11-22 19:34" of this place, or "-" for never. */
static const char *time_text(char text[32], int64_t ms)
{
    struct tm local;
    time_t when = (time_t)(ms / 1000);
    if (!ms || !localtime_r(&when, &local) || !strftime(text, 32, "%Y-%m-%d %H:%M", &local)) snprintf(text, 32, "-");
    return text;
}

/* RFC 3339 in UTC; null for never. */
static json_t *time_json(int64_t ms)
{
    char text[32];
    struct tm utc;
    time_t when = (time_t)(ms / 1000);
    if (!ms || !gmtime_r(&when, &utc) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)) return json_null();
    return json_string(text);
}

static void print_rows(const hd_key_row *rows, size_t count)
{
    char created[32], used[32], revoked[32];
    int width = 4;
    for (size_t i = 0; i < count; i++)
        width = HD_MAX(width, (int)strlen(rows[i].name));
    printf("%4s  %-*s  %-10s  %-16s  %-16s  %s\n", "ID", width, "NAME", "KEY", "CREATED", "LAST USED", "REVOKED");
    for (size_t i = 0; i < count; i++) {
        printf("%4lld  ", (long long)rows[i].id);
        hd_terminal_name(stdout, rows[i].name[0] ? rows[i].name : "-", width);
        printf("  %-7s...  %-16s  %-16s  %s\n", rows[i].hint, time_text(created, rows[i].created_ms),
               time_text(used, rows[i].last_used_ms), time_text(revoked, rows[i].revoked_ms));
    }
}

static hd_status print_json(const hd_key_row *rows, size_t count, hd_error *err)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < count; i++) {
        const hd_key_row *row = &rows[i];
        json_t *item = json_pack("{s:I, s:o, s:s, s:o, s:o, s:o}", "id", (json_int_t)row->id, "name",
                                 row->name[0] ? hd_json_text(row->name, strlen(row->name)) : json_null(), "hint",
                                 row->hint, "created", time_json(row->created_ms), "last_used",
                                 time_json(row->last_used_ms), "revoked", time_json(row->revoked_ms));
        if (json_array_append_new(array, item) == 0) continue;
        json_decref(array);
        array = NULL;
    }
    return hd_json_print(stdout, array, true, err);
}

static hd_status list(hd_api_keys *keys, const char *folder, const key_options *o, hd_error *err)
{
    hd_key_row *rows;
    size_t count;
    HD_TRY(hd_api_keys_list(keys, &rows, &count, err));
    hd_status status = HD_OK;
    if (o->json) {
        status = print_json(rows, count, err);
    } else if (count == 0) {
        hd_terminal_name(stderr, folder, 0);
        fputs(" has no key yet; hadal key create makes one\n", stderr);
    } else {
        print_rows(rows, count);
    }
    hd_free(rows);
    return status;
}

/* ---- revoke ---- */

static hd_status revoke(hd_api_keys *keys, const char *folder, const key_options *o, hd_error *err)
{
    hd_key_row row;
    (void)folder;
    HD_TRY(hd_api_keys_revoke(keys, o->which, &row, err));
    fprintf(stderr, "key %lld (%s...) is revoked\n", (long long)row.id, row.hint);
    return HD_OK;
}

/* ---- the command ---- */

typedef struct key_action {
    const char *name;
    unsigned folder_flags;
    bool takes_key, takes_name, takes_json;
    hd_status (*run)(hd_api_keys *keys, const char *folder, const key_options *o, hd_error *err);
} key_action;

static const key_action actions[] = {
    {.name = "create", .folder_flags = HD_DATA_CREATE, .takes_name = true, .run = create},
    {.name = "list", .takes_json = true, .run = list},
    {.name = "revoke", .takes_key = true, .run = revoke},
};

static hd_status run_action(const key_action *action, const key_options *o, hd_error *err)
{
    char *path = NULL;
    hd_data_folder *folder = NULL;
    hd_store *store = NULL;
    hd_api_keys *keys = NULL;
    HD_TRY(hd_data_dir(&path, o->data, err));
    hd_status status = hd_data_folder_open(&folder, path, action->folder_flags, err);
    if (status == HD_OK) status = hd_store_open(&store, path, err);
    if (status == HD_OK) status = hd_api_keys_open(&keys, folder, store, err);
    if (status == HD_OK) status = action->run(keys, path, o, err);
    hd_api_keys_close(&keys);
    hd_store_close(&store);
    hd_data_folder_close(&folder);
    hd_free(path);
    return status;
}

/* NULL after a message. */
static const key_action *find_action(const char *word)
{
    const char *names[HD_ARRAY_LEN(actions)];
    for (size_t i = 0; i < HD_ARRAY_LEN(actions); i++) {
        if (strcmp(actions[i].name, word) == 0) return &actions[i];
        names[i] = actions[i].name;
    }
    const char *near = hd_suggest(word, names, HD_ARRAY_LEN(names));
    (void)hd_cli_usage("key", near ? "unknown action '%s'; did you mean %s?" : "unknown action '%s'; there are %s",
                       word, near ? near : "create, list and revoke");
    return NULL;
}

/* What is wrong with options or operands of an action; NULL when nothing is. */
static const char *wrong_usage(const key_action *action, const hd_args *args)
{
    if (hd_args_given(args, "name") && !action->takes_name)
        return action->takes_key ? "--name is for create; give the name without it" : "--name is for create";
    if (hd_args_given(args, "json") && !action->takes_json) return "--json is for list";
    if (action->takes_key && !args->operands[1]) return "NAME|ID|KEY is missing: which one is to be revoked?";
    if (!action->takes_key && args->operands[1])
        return action->takes_name ? "create takes no argument; --name gives the key a name" : "list takes no argument";
    return NULL;
}

static const hd_manual manual = {
    .command = "key",
    .synopsis = "key create [--data DIR] [--name NAME]\nkey list [--data DIR] [--json]\n"
                "key revoke [--data DIR] NAME|ID|KEY",
    .description =
        "Manages the API keys of hadal serve, also while it runs: what create and revoke do holds from the next "
        "request "
        "on.\n"
        "create makes a key and prints it, as the last line of standard output. It is shown this once: the data folder "
        "holds a digest of it that can't be turned back. The data folder is made when it is absent.\n"
        "list shows all keys, by number, name and first characters, when they were made, last used (to the minute) and "
        "revoked.\n"
        "revoke ends a key for good. Its name is then free for another one. A KEY on the command line can be read by "
        "other users of this machine while the command runs; give the name or the number where that matters.",
    .examples = "  hadal key create --name laptop\n  KEY=$(hadal key create --data /srv/hadal --name ci)\n"
                "  hadal key list --json | jq '.[] | select(.revoked == null) | .name'\n  hadal key revoke laptop\n",
    .environment = "  HADAL_DATA   the data folder\n",
    .files = "  ~/.local/share/hadal/server             the data folder (XDG_DATA_HOME)\n"
             "  ~/.local/share/hadal/server/hadal.db    the digests of the keys\n"
             "  ~/.local/share/hadal/server/secret      what they were made with; keep it, and to yourself\n",
};

int hd_cmd_key(int argc, char **argv)
{
    key_options o = {.data = NULL};
    hd_opt opts[] = {
        {.name = "data",
         .type = HD_OPT_STRING,
         .value = &o.data,
         .metavar = "DIR",
         .help = "The data folder of the service.",
         .initial = HD_DATA_DIR_INITIAL},
        {.name = "name",
         .type = HD_OPT_STRING,
         .value = &o.name,
         .metavar = "NAME",
         .help = "create: a name for the key, at most 64 bytes, that no other live key has.",
         .initial = ""},
        {.name = "json", .type = HD_OPT_FLAG, .value = &o.json, .help = "list: print a JSON array."},
    };
    static const char *const operand_names[] = {"create|list|revoke", "NAME|ID|KEY"};
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)}};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = 1,
                    .min_operands = 1,
                    .max_operands = 2,
                    .operand_names = operand_names};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    const key_action *action = find_action(args.operands[0]);
    if (!action) return HD_EXIT_USAGE;
    const char *wrong = wrong_usage(action, &args);
    if (wrong) return hd_cli_usage("key", "%s", wrong);
    o.which = args.operands[1];

    hd_error err = {.status = HD_OK};
    return run_action(action, &o, &err) == HD_OK ? HD_EXIT_OK : hd_cli_fail("key", &err);
}
