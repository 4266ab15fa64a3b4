/* The loop that SQLite's documentation shows, over rows that lie in memory: bind, step, reset.
 *
 * Loaded into the SQLite that apsw brings, so that both contenders run in the same library:
 *     SELECT bind_step(ROWS, PAYLOADS, FIRST, COUNT)     ROWS and PAYLOADS are addresses
 */
#include <sqlite3ext.h>
#include <stddef.h>
#include <stdint.h>
SQLITE_EXTENSION_INIT1

struct row {
    int64_t id, ts, ts_ns;
    uint64_t start;
    uint64_t length;
};

static const char INSERT[] =
    "INSERT INTO events(id, ts, kind, payload_json, ts_ns) VALUES (?, ?, 'stream', ?, ?)";

static int insert(sqlite3_stmt *statement, const struct row *row, const char *payloads) {
    sqlite3_bind_int64(statement, 1, row->id);
    sqlite3_bind_int64(statement, 2, row->ts);
    sqlite3_bind_text(statement, 3, payloads + row->start, (int)row->length, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 4, row->ts_ns);
    int status = sqlite3_step(statement);
    sqlite3_reset(statement);
    return status;
}

static void bind_step(sqlite3_context *context, int argc, sqlite3_value **argv) {
    (void)argc;
    const struct row *rows = (const struct row *)(uintptr_t)sqlite3_value_int64(argv[0]);
    const char *payloads = (const char *)(uintptr_t)sqlite3_value_int64(argv[1]);
    const int first = sqlite3_value_int(argv[2]), count = sqlite3_value_int(argv[3]);
    sqlite3_stmt *statement;
    int status = sqlite3_prepare_v2(sqlite3_context_db_handle(context), INSERT, sizeof INSERT,
                                    &statement, NULL);
    if (status == SQLITE_OK) {
        status = SQLITE_DONE;
        for (int i = first; i < first + count && status == SQLITE_DONE; i++) {
            status = insert(statement, &rows[i], payloads);
        }
        sqlite3_finalize(statement);
    }
    if (status != SQLITE_DONE) {
        sqlite3_result_error_code(context, status);
    }
}

int sqlite3_extension_init(sqlite3 *db, char **message, const sqlite3_api_routines *api);

int sqlite3_extension_init(sqlite3 *db, char **message, const sqlite3_api_routines *api) {
    (void)message;
    SQLITE_EXTENSION_INIT2(api);
    return sqlite3_create_function(db, "bind_step", 4, SQLITE_UTF8, NULL, bind_step, NULL, NULL);
}
