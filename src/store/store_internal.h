/* store/store_internal.h: what the files of the store room share: the connection and its prepared statements.
 *
 * Every function of the door takes the mutex, runs statements and leaves none of them open: an open statement would
 * keep showing the database as it was when it began.
 */
#ifndef HD_STORE_INTERNAL_H
#define HD_STORE_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>

#include "store/store.h"

/* How long we wait for another process that writes; its transactions take milliseconds. */
#define HD_STORE_BUSY_MS 5000

/* One per constant SQL text (the table is in store.c); prepared at first use. */
typedef enum hd_sql {
    HD_SQL_CHECK_ADD,
    HD_SQL_CHECK_GET,
    HD_SQL_KEY_ADD,
    HD_SQL_KEY_LIST,
    HD_SQL_KEY_COUNT,
    HD_SQL_KEY_BY_DIGEST,
    HD_SQL_KEY_BY_ID,
    HD_SQL_KEY_BY_NAME,
    HD_SQL_KEY_REVOKE,
    HD_SQL_KEY_TOUCH,
    HD_SQL_COUNT
} hd_sql;

struct hd_store {
    pthread_mutex_t mutex;
    sqlite3 *db;
    char *path; /* for messages */
    sqlite3_stmt *statements[HD_SQL_COUNT];
};

/* The statement, reset and without values; the caller holds the mutex. */
hd_status hd_store_statement(hd_store *store, hd_sql which, sqlite3_stmt **out, hd_error *err);

/* Runs a statement to its next row: *row is false when there is no more, and then the statement is reset, as it is
 * after an error. */
hd_status hd_store_step(hd_store *store, sqlite3_stmt *statement, bool *row, hd_error *err);

/* What SQLite's `code` means for the user of this database. */
hd_status hd_store_fail(const hd_store *store, int code, hd_error *err);

/* migrations.c: brings a database that was just opened to this program's form; the caller holds the mutex or is alone.
 */
hd_status hd_store_migrate(hd_store *store, hd_error *err);

#endif
