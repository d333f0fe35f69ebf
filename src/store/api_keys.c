/* store/api_keys.c: the table of API keys; see store.h. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "store/store_internal.h"

#define TOUCH_MS 60000 /* uses are noted to the minute */

/* Text of a column, cut to `size`. */
static void copy_text(char *out, size_t size, sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    snprintf(out, size, "%s", text ? (const char *)text : "");
}

static void read_row(hd_key_row *row, sqlite3_stmt *statement)
{
    *row = (hd_key_row){.id = sqlite3_column_int64(statement, 0),
                        .created_ms = sqlite3_column_int64(statement, 3),
                        .revoked_ms = sqlite3_column_int64(statement, 4),
                        .last_used_ms = sqlite3_column_int64(statement, 5)};
    copy_text(row->name, sizeof row->name, statement, 1);
    copy_text(row->hint, sizeof row->hint, statement, 2);
}

/* ---- adding, revoking, noting a use ---- */

static hd_status add(hd_store *store, const char *name, const char *hint, const uint8_t *digest, int64_t *id,
                     hd_error *err)
{
    sqlite3_stmt *statement;
    bool row;
    HD_TRY(hd_store_statement(store, HD_SQL_KEY_ADD, &statement, err));
    (void)sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(statement, 2, hint, -1, SQLITE_STATIC);
    (void)sqlite3_bind_blob(statement, 3, digest, HD_KEY_DIGEST, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 4, (int64_t)hd_clock_unix_ms());
    hd_status status = hd_store_step(store, statement, &row, err);
    if (status != HD_OK && (sqlite3_extended_errcode(store->db) & 0xff) == SQLITE_CONSTRAINT)
        return hd_fail(err, HD_E_ARGUMENT, "a live key named '%s' is there already; take another name, or revoke it",
                       name);
    if (status == HD_OK) *id = sqlite3_last_insert_rowid(store->db);
    return status;
}

hd_status hd_store_key_add(hd_store *store, const char *name, const char *hint, const uint8_t digest[HD_KEY_DIGEST],
                           int64_t *id, hd_error *err)
{
    if (strlen(name) > HD_KEY_NAME || strlen(hint) > HD_KEY_HINT)
        return hd_fail(err, HD_E_ARGUMENT, "the name of a key has at most %d bytes", HD_KEY_NAME);
    (void)pthread_mutex_lock(&store->mutex);
    hd_status status = add(store, name, hint, digest, id, err);
    (void)pthread_mutex_unlock(&store->mutex);
    return status;
}

/* Runs an update of the row `id` with the present time; *changed tells whether there was one. */
static hd_status update(hd_store *store, hd_sql which, int64_t id, bool *changed, hd_error *err)
{
    sqlite3_stmt *statement;
    bool row;
    HD_TRY(hd_store_statement(store, which, &statement, err));
    (void)sqlite3_bind_int64(statement, 1, id);
    (void)sqlite3_bind_int64(statement, 2, (int64_t)hd_clock_unix_ms());
    HD_TRY(hd_store_step(store, statement, &row, err));
    *changed = sqlite3_changes(store->db) > 0;
    return HD_OK;
}

hd_status hd_store_key_revoke(hd_store *store, int64_t id, hd_error *err)
{
    bool changed = false;
    (void)pthread_mutex_lock(&store->mutex);
    hd_status status = update(store, HD_SQL_KEY_REVOKE, id, &changed, err);
    (void)pthread_mutex_unlock(&store->mutex);
    if (status == HD_OK && !changed)
        status = hd_fail(err, HD_E_NOT_FOUND, "no live key has the id %lld", (long long)id);
    return status;
}

hd_status hd_store_key_touch(hd_store *store, const hd_key_row *row, hd_error *err)
{
    int64_t since = (int64_t)hd_clock_unix_ms() - row->last_used_ms;
    bool changed;
    if (row->last_used_ms && since >= 0 && since < TOUCH_MS) return HD_OK; /* below 0: the clock was set back */
    (void)pthread_mutex_lock(&store->mutex);
    (void)sqlite3_busy_timeout(store->db, 0);
    hd_status status = update(store, HD_SQL_KEY_TOUCH, row->id, &changed, err);
    (void)sqlite3_busy_timeout(store->db, HD_STORE_BUSY_MS);
    (void)pthread_mutex_unlock(&store->mutex);
    return status == HD_E_BUSY ? HD_OK : status;
}

/* ---- finding ---- */

/* Takes the row that the statement finds. */
static hd_status find(hd_store *store, sqlite3_stmt *statement, hd_key_row *row, hd_error *err)
{
    bool found;
    HD_TRY(hd_store_step(store, statement, &found, err));
    if (!found) return hd_fail(err, HD_E_NOT_FOUND, "there is no such key");
    read_row(row, statement);
    (void)sqlite3_reset(statement);
    return HD_OK;
}

hd_status hd_store_key_by_digest(hd_store *store, const uint8_t digest[HD_KEY_DIGEST], hd_key_row *row, hd_error *err)
{
    sqlite3_stmt *statement;
    (void)pthread_mutex_lock(&store->mutex);
    hd_status status = hd_store_statement(store, HD_SQL_KEY_BY_DIGEST, &statement, err);
    if (status == HD_OK) (void)sqlite3_bind_blob(statement, 1, digest, HD_KEY_DIGEST, SQLITE_STATIC);
    if (status == HD_OK) status = find(store, statement, row, err);
    (void)pthread_mutex_unlock(&store->mutex);
    return status;
}

hd_status hd_store_key_by_id(hd_store *store, int64_t id, hd_key_row *row, hd_error *err)
{
    sqlite3_stmt *statement;
    (void)pthread_mutex_lock(&store->mutex);
    hd_status status = hd_store_statement(store, HD_SQL_KEY_BY_ID, &statement, err);
    if (status == HD_OK) (void)sqlite3_bind_int64(statement, 1, id);
    if (status == HD_OK) status = find(store, statement, row, err);
    (void)pthread_mutex_unlock(&store->mutex);
    return status;
}

hd_status hd_store_key_by_name(hd_store *store, const char *name, hd_key_row *row, hd_error *err)
{
    sqlite3_stmt *statement;
    (void)pthread_mutex_lock(&store->mutex);
    hd_status status = hd_store_statement(store, HD_SQL_KEY_BY_NAME, &statement, err);
    if (status == HD_OK) (void)sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    if (status == HD_OK) status = find(store, statement, row, err);
    (void)pthread_mutex_unlock(&store->mutex);
    return status;
}

/* ---- all of them ---- */

static hd_status list(hd_store *store, hd_key_row **rows, size_t *count, hd_error *err)
{
    sqlite3_stmt *statement;
    size_t room = 0;
    bool more;
    HD_TRY(hd_store_statement(store, HD_SQL_KEY_LIST, &statement, err));
    for (;;) {
        HD_TRY(hd_store_step(store, statement, &more, err));
        if (!more) return HD_OK;
        if (*count == room) {
            room = room ? 2 * room : 16;
            hd_key_row *bigger = hd_realloc_array(*rows, room, sizeof **rows);
            if (!bigger) {
                (void)sqlite3_reset(statement);
                return hd_fail(err, HD_E_MEMORY, "out of memory for a list of keys");
            }
            *rows = bigger;
        }
        read_row(&(*rows)[(*count)++], statement);
    }
}

hd_status hd_store_key_list(hd_store *store, hd_key_row **rows, size_t *count, hd_error *err)
{
    *rows = NULL;
    *count = 0;
    (void)pthread_mutex_lock(&store->mutex);
    hd_status status = list(store, rows, count, err);
    (void)pthread_mutex_unlock(&store->mutex);
    if (status != HD_OK) {
        hd_free(*rows);
        *rows = NULL;
        *count = 0;
    }
    return status;
}

static hd_status count_live(hd_store *store, int64_t *live, hd_error *err)
{
    sqlite3_stmt *statement;
    bool row;
    HD_TRY(hd_store_statement(store, HD_SQL_KEY_COUNT, &statement, err));
    HD_TRY(hd_store_step(store, statement, &row, err));
    *live = row ? sqlite3_column_int64(statement, 0) : 0;
    (void)sqlite3_reset(statement);
    return HD_OK;
}

hd_status hd_store_key_count(hd_store *store, int64_t *live, hd_error *err)
{
    *live = 0;
    (void)pthread_mutex_lock(&store->mutex);
    hd_status status = count_live(store, live, err);
    (void)pthread_mutex_unlock(&store->mutex);
    return status;
}
