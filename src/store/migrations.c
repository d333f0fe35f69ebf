/* store/migrations.c: the form of the database, step by step; see store_internal.h.
 *
 * `user_version` counts the steps that a database has had, `application_id` says that it is ours.  A step that was
 * released is never changed: what comes later is a new step at the end of the table.  All missing steps run in one
 * transaction, so that a crash leaves the old form whole.
 */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "store/store_internal.h"

#define APPLICATION_ID 0x6864616c /* "hdal" */

static const char *const migrations[] = {
    /* 1: API keys.  AUTOINCREMENT: ids are never used again, what is derived from them stays apart.  A revoked key
     * keeps its row and gives its name free. */
    "CREATE TABLE secret_check (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL) STRICT;"
    "CREATE TABLE api_keys ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  name TEXT NOT NULL,"
    "  hint TEXT NOT NULL,"
    "  digest BLOB NOT NULL UNIQUE,"
    "  created_ms INTEGER NOT NULL,"
    "  revoked_ms INTEGER,"
    "  last_used_ms INTEGER"
    ") STRICT;"
    "CREATE UNIQUE INDEX api_keys_live_names ON api_keys (name) WHERE revoked_ms IS NULL AND name <> '';",
};

#define NEWEST ((int)HD_ARRAY_LEN(migrations))

static hd_status run(hd_store *store, const char *sql, hd_error *err)
{
    int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? HD_OK : hd_store_fail(store, code, err);
}

/* How many steps the database has had.  One statement: each of its own could see another moment of a database that
 * another process is making. */
static hd_status read_version(hd_store *store, int *version, hd_error *err)
{
    static const char sql[] = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
                              " FROM pragma_application_id, pragma_user_version";
    sqlite3_stmt *statement = NULL;
    int application = 0, tables = 0;
    int code = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(statement);
    hd_status status = code == SQLITE_ROW ? HD_OK : hd_store_fail(store, code, err);
    if (status == HD_OK) {
        application = sqlite3_column_int(statement, 0);
        *version = sqlite3_column_int(statement, 1);
        tables = sqlite3_column_int(statement, 2);
    }
    (void)sqlite3_finalize(statement);
    HD_TRY(status);
    bool is_new = application == 0 && *version == 0 && tables == 0;
    if (!is_new && (application != APPLICATION_ID || *version < 1))
        return hd_fail(err, HD_E_FORMAT, "%s is the database of another program; take another folder, or move it away",
                       store->path);
    if (*version > NEWEST)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "%s was written by a newer hadal (form %d; this one knows forms up to %d); use that program, or "
                       "restore a backup of before",
                       store->path, *version, NEWEST);
    return HD_OK;
}

static hd_status run_missing(hd_store *store, hd_error *err)
{
    char sql[96];
    int version = 0;
    HD_TRY(read_version(store, &version, err)); /* another process may have been faster */
    for (int i = version; i < NEWEST; i++)
        HD_TRY(run(store, migrations[i], err));
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID, NEWEST);
    return run(store, sql, err);
}

hd_status hd_store_migrate(hd_store *store, hd_error *err)
{
    int version = 0;
    HD_TRY(read_version(store, &version, err));
    HD_TRY(run(store, "PRAGMA journal_mode = WAL", err)); /* the file is ours: it may be written to */
    if (version == NEWEST) return HD_OK;
    HD_TRY(run(store, "BEGIN IMMEDIATE", err));
    hd_status status = run_missing(store, err);
    if (status == HD_OK) status = run(store, "COMMIT", err);
    if (status != HD_OK) (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}
