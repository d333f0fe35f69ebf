/* store/secret.c: which secret the database belongs to; see store.h. */
#include <string.h>

#include "store/store_internal.h"

static hd_status add(hd_store *store, const uint8_t *check, hd_error *err)
{
    sqlite3_stmt *statement;
    bool row;
    HD_TRY(hd_store_statement(store, HD_SQL_CHECK_ADD, &statement, err));
    (void)sqlite3_bind_blob(statement, 1, check, HD_STORE_CHECK, SQLITE_STATIC);
    return hd_store_step(store, statement, &row, err);
}

/* *found is false when none was ever given. */
static hd_status compare(hd_store *store, const uint8_t *check, bool *found, bool *same, hd_error *err)
{
    sqlite3_stmt *statement;
    HD_TRY(hd_store_statement(store, HD_SQL_CHECK_GET, &statement, err));
    HD_TRY(hd_store_step(store, statement, found, err));
    if (!*found) return HD_OK;
    const void *value = sqlite3_column_blob(statement, 0);
    *same = sqlite3_column_bytes(statement, 0) == HD_STORE_CHECK && value && memcmp(value, check, HD_STORE_CHECK) == 0;
    (void)sqlite3_reset(statement);
    return HD_OK;
}

hd_status hd_store_check_secret(hd_store *store, const uint8_t check[HD_STORE_CHECK], bool *same, hd_error *err)
{
    bool found = false;
    *same = false;
    (void)pthread_mutex_lock(&store->mutex);
    hd_status status = compare(store, check, &found, same, err);
    if (status == HD_OK && !found) {
        status = add(store, check, err);
        if (status == HD_OK)
            status = compare(store, check, &found, same, err); /* another process may have been faster */
    }
    (void)pthread_mutex_unlock(&store->mutex);
    return status;
}
