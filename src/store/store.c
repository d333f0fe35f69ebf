/* store/store.c: opens the database, prepares statements, and says in plain words what SQLite complains of; see
 * store.h.
 *
 * The journal is a write-ahead log, so that `hadal key` writes while a service reads.  `synchronous` is FULL: with
 * NORMAL a power cut could bring back a key whose revocation was acknowledged.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "store/store_internal.h"

#define KEY_COLUMNS "id, name, hint, created_ms, revoked_ms, last_used_ms"

static const char *const sql_texts[HD_SQL_COUNT] = {
    [HD_SQL_CHECK_ADD] = "INSERT OR IGNORE INTO secret_check (one, value) VALUES (1, ?1)",
    [HD_SQL_CHECK_GET] = "SELECT value FROM secret_check",
    [HD_SQL_KEY_ADD] = "INSERT INTO api_keys (name, hint, digest, created_ms) VALUES (?1, ?2, ?3, ?4)",
    [HD_SQL_KEY_LIST] = "SELECT " KEY_COLUMNS " FROM api_keys ORDER BY id",
    [HD_SQL_KEY_COUNT] = "SELECT count(*) FROM api_keys WHERE revoked_ms IS NULL",
    [HD_SQL_KEY_BY_DIGEST] = "SELECT " KEY_COLUMNS " FROM api_keys WHERE digest = ?1",
    [HD_SQL_KEY_BY_ID] = "SELECT " KEY_COLUMNS " FROM api_keys WHERE id = ?1",
    [HD_SQL_KEY_BY_NAME] = "SELECT " KEY_COLUMNS " FROM api_keys WHERE name = ?1 AND name <> '' AND revoked_ms IS NULL",
    [HD_SQL_KEY_REVOKE] = "UPDATE api_keys SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL",
    [HD_SQL_KEY_TOUCH] = "UPDATE api_keys SET last_used_ms = ?2 WHERE id = ?1",
};

hd_status hd_store_fail(const hd_store *store, int code, hd_error *err)
{
    const char *path = store->path;
    switch (code & 0xff) { /* the primary code of an extended one */
    case SQLITE_NOMEM: return hd_fail(err, HD_E_MEMORY, "%s: out of memory", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return hd_fail(err, HD_E_BUSY, "%s: another process keeps writing to it; try again", path);
    case SQLITE_NOTADB:
        return hd_fail(err, HD_E_FORMAT,
                       "%s is no database, or its beginning is damaged; restore it from a backup, or move it away to "
                       "start with an empty one",
                       path);
    case SQLITE_CORRUPT:
        return hd_fail(err, HD_E_IO,
                       "%s is damaged (%s); stop what uses it, keep a copy, and restore it from a backup, or move it "
                       "away to start with an empty one",
                       path, sqlite3_errmsg(store->db));
    case SQLITE_FULL: return hd_fail(err, HD_E_IO, "%s: the disk is full; nothing was changed", path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return hd_fail(err, HD_E_IO, "%s cannot be opened for writing (%s); do the file and its folder belong to you?",
                       path, sqlite3_errmsg(store->db));
    default: break;
    }
    return hd_fail(err, HD_E_IO, "%s: %s", path, store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(code));
}

/* ---- statements ---- */

static struct {
    _Atomic uint64_t queries, errors, ns;
} usage;

void hd_store_get_usage(hd_store_usage *out)
{
    *out = (hd_store_usage){.queries = atomic_load_explicit(&usage.queries, memory_order_relaxed),
                            .errors = atomic_load_explicit(&usage.errors, memory_order_relaxed),
                            .seconds = (double)atomic_load_explicit(&usage.ns, memory_order_relaxed) / 1e9};
}

hd_status hd_store_statement(hd_store *store, hd_sql which, sqlite3_stmt **out, hd_error *err)
{
    sqlite3_stmt **statement = &store->statements[which];
    if (!*statement) {
        int code = sqlite3_prepare_v3(store->db, sql_texts[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
        if (code != SQLITE_OK) return hd_store_fail(store, code, err);
    }
    (void)sqlite3_reset(*statement);
    (void)sqlite3_clear_bindings(*statement);
    atomic_fetch_add_explicit(&usage.queries, 1, memory_order_relaxed);
    *out = *statement;
    return HD_OK;
}

hd_status hd_store_step(hd_store *store, sqlite3_stmt *statement, bool *row, hd_error *err)
{
    uint64_t start = hd_clock_ns();
    int code = sqlite3_step(statement);
    atomic_fetch_add_explicit(&usage.ns, hd_clock_ns() - start, memory_order_relaxed);
    *row = code == SQLITE_ROW;
    if (code == SQLITE_ROW) return HD_OK;
    if (code != SQLITE_DONE) atomic_fetch_add_explicit(&usage.errors, 1, memory_order_relaxed);
    hd_status status = code == SQLITE_DONE ? HD_OK : hd_store_fail(store, code, err);
    (void)sqlite3_reset(statement); /* repeats the error that we have told of */
    return status;
}

/* ---- opening ---- */

/* SQLite would make the file with the umask's mode.  mknod makes it without opening it: to close a descriptor of a
 * database that this process has open elsewhere would drop SQLite's locks (fcntl(2)). */
static hd_status make_file(const char *path, hd_error *err)
{
    struct stat st;
    if (mknod(path, S_IFREG | 0600, 0) != 0 && errno != EEXIST)
        return hd_fail(err, HD_E_IO, "%s: cannot create: %s", path, strerror(errno));
    if (lstat(path, &st) != 0) return hd_fail(err, HD_E_IO, "%s: %s", path, strerror(errno));
    if (S_ISREG(st.st_mode)) return HD_OK;
    return hd_fail(err, HD_E_FORMAT, "%s is not a regular file; move it away", path);
}

/* Settings of the connection; nothing is written to a file that may not be ours. */
static hd_status configure(hd_store *store, hd_error *err)
{
    static const char settings[] = "PRAGMA synchronous = FULL;"
                                   "PRAGMA foreign_keys = ON;"
                                   "PRAGMA trusted_schema = OFF;" /* a forged schema can't call functions */
                                   "PRAGMA cell_size_check = ON;";
    (void)sqlite3_extended_result_codes(store->db, 1);
    (void)sqlite3_busy_timeout(store->db, HD_STORE_BUSY_MS);
    (void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    int code = sqlite3_exec(store->db, settings, NULL, NULL, NULL);
    return code == SQLITE_OK ? HD_OK : hd_store_fail(store, code, err);
}

/* Those who open the database take turns, by a lock on its folder: SQLite gives up at once, whatever the time-out, when
 * two switch a new file to its write-ahead log.  The lock goes when *turn is closed. */
static hd_status wait_for_turn(const hd_store *store, const char *folder, int *turn, hd_error *err)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    const uint64_t deadline = hd_clock_ns() + HD_STORE_BUSY_MS * UINT64_C(1000000);
    *turn = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*turn < 0) return hd_fail(err, HD_E_IO, "%s: cannot open this folder: %s", folder, strerror(errno));
    while (flock(*turn, LOCK_EX | LOCK_NB) != 0) {
        int why = errno;
        if (why == EINTR) continue;
        if (why == EWOULDBLOCK && hd_clock_ns() < deadline) {
            (void)nanosleep(&pause, NULL);
            continue;
        }
        close(*turn);
        return why == EWOULDBLOCK ? hd_store_fail(store, SQLITE_BUSY, err)
                                  : hd_fail(err, HD_E_IO, "%s: cannot lock this folder: %s", folder, strerror(why));
    }
    return HD_OK;
}

static hd_status open_database(hd_store *store, hd_error *err)
{
    HD_TRY(make_file(store->path, err));
    int code = sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) return hd_store_fail(store, code, err);
    HD_TRY(configure(store, err));
    return hd_store_migrate(store, err);
}

static hd_status open_in(hd_store *store, const char *folder, hd_error *err)
{
    hd_buf path;
    HD_TRY(hd_dirs_make_private(folder, err));
    hd_buf_init(&path, 1 << 16);
    hd_status status = hd_buf_printf(&path, "%s/%s", folder, HD_STORE_FILE);
    if (status == HD_OK && !(store->path = hd_strdup(path.data))) status = HD_E_MEMORY;
    hd_buf_free(&path);
    if (status != HD_OK) return hd_fail(err, status, "%s: no room for the path of its database", folder);
    int turn = -1;
    HD_TRY(wait_for_turn(store, folder, &turn, err));
    status = open_database(store, err);
    close(turn);
    return status;
}

hd_status hd_store_open(hd_store **out, const char *folder, hd_error *err)
{
    *out = NULL;
    hd_store *store = hd_calloc(1, sizeof *store);
    if (!store) return hd_fail(err, HD_E_MEMORY, "out of memory for a database");
    if (pthread_mutex_init(&store->mutex, NULL) != 0) {
        hd_free(store);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a database");
    }
    hd_status status = open_in(store, folder, err);
    if (status == HD_OK)
        *out = store;
    else
        hd_store_close(&store);
    return status;
}

void hd_store_close(hd_store **store)
{
    hd_store *s = *store;
    if (!s) return;
    for (size_t i = 0; i < HD_ARRAY_LEN(s->statements); i++)
        (void)sqlite3_finalize(s->statements[i]);
    (void)sqlite3_close(s->db);
    (void)pthread_mutex_destroy(&s->mutex);
    hd_free(s->path);
    hd_free(s);
    *store = NULL;
}
