/* Rings and batches as tables of SQLite: what makes the compiled module a loadable extension, too.
 *
 *     SELECT * FROM ringbus('agent-7')     what that ring holds now, oldest first
 *     ... FROM ringbus_batch(ADDRESS)      a live batch of this process, without transient records
 *
 * Both are eponymous virtual tables with one hidden column for the argument. Rows of a batch lie in
 * its memory and are handed to SQLite as they are. Records that a ring lost while it was read
 * appear as one row of kind `gap`.
 */
#define _GNU_SOURCE /* O_NOFOLLOW */
#include "batch.h"

#if __has_include(<sqlite3ext.h>)
#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3ext.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
SQLITE_EXTENSION_INIT1

static const char SCHEMA[] = "CREATE TABLE ring(seq INTEGER, ts INTEGER, kind TEXT, "
                             "payload_json TEXT, ts_ns INTEGER, transient INTEGER, "
                             "emitter INTEGER, source HIDDEN)";
enum { SEQ, TS, KIND, PAYLOAD, TS_NS, TRANSIENT, EMITTER, SOURCE };
enum { SCAN_RECORDS = 1000, SCAN_BYTES = 1 << 20 };

struct table {
    sqlite3_vtab base;
    bool of_batches;
};

struct cursor {
    sqlite3_vtab_cursor base;
    rb_batch *batch;
    rb_subscriber *subscriber; /* NULL: the batch is the caller's */
    uint64_t end;              /* seq at which a scan of a ring ends */
    size_t at;                 /* index in the batch; its count: the gap behind it */
    sqlite3_int64 row;
};

static int connect_table(sqlite3 *db, void *of_batches, int argc, const char *const *argv,
                         sqlite3_vtab **made, char **message) {
    (void)argc, (void)argv, (void)message;
    int status = sqlite3_declare_vtab(db, SCHEMA);
    if (status != SQLITE_OK) {
        return status;
    }
    struct table *table = sqlite3_malloc64(sizeof *table);
    if (table == NULL) {
        return SQLITE_NOMEM;
    }
    *table = (struct table){.of_batches = of_batches != NULL};
    *made = &table->base;
    return SQLITE_OK;
}

static int disconnect_table(sqlite3_vtab *table) {
    sqlite3_free(table);
    return SQLITE_OK;
}

/* The argument is the one way in; rows come in ascending order of seq. */
static int plan(sqlite3_vtab *table, sqlite3_index_info *info) {
    (void)table;
    int argument = -1;
    for (int i = 0; i < info->nConstraint; i++) {
        if (info->aConstraint[i].iColumn == SOURCE &&
            info->aConstraint[i].op == SQLITE_INDEX_CONSTRAINT_EQ) {
            if (!info->aConstraint[i].usable) {
                return SQLITE_CONSTRAINT;
            }
            argument = i;
        }
    }
    if (argument >= 0) {
        info->aConstraintUsage[argument].argvIndex = 1;
        info->aConstraintUsage[argument].omit = 1;
        info->idxNum = 1;
    }
    info->orderByConsumed =
        info->nOrderBy == 1 && info->aOrderBy[0].iColumn == SEQ && !info->aOrderBy[0].desc;
    info->estimatedCost = 10000;
    info->estimatedRows = 10000;
    return SQLITE_OK;
}

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **made) {
    (void)table;
    struct cursor *cursor = sqlite3_malloc64(sizeof *cursor);
    if (cursor == NULL) {
        return SQLITE_NOMEM;
    }
    memset(cursor, 0, sizeof *cursor);
    *made = &cursor->base;
    return SQLITE_OK;
}

static void let_go(struct cursor *cursor) {
    if (cursor->subscriber != NULL) {
        rb_subscriber_free(cursor->subscriber);
        rb_batch_free(cursor->batch);
    } else if (cursor->batch != NULL) {
        rb_batch_unpin(cursor->batch);
    }
    cursor->subscriber = NULL;
    cursor->batch = NULL;
}

static int close_cursor(sqlite3_vtab_cursor *base) {
    let_go((struct cursor *)base);
    sqlite3_free(base);
    return SQLITE_OK;
}

static const rb_batch_content *content(const struct cursor *cursor) {
    return rb_batch_look(cursor->batch);
}

static bool is_skipped(const struct cursor *cursor) {
    return cursor->subscriber == NULL &&
           (content(cursor)->entries[cursor->at].record.flags & RB_RECORD_TRANSIENT) != 0;
}

static bool is_at_gap(const struct cursor *cursor) {
    return cursor->subscriber != NULL && cursor->at == content(cursor)->count;
}

static int fail(sqlite3_vtab *table, char *message) {
    sqlite3_free(table->zErrMsg);
    table->zErrMsg = message;
    return message == NULL ? SQLITE_NOMEM : SQLITE_ERROR;
}

/* Goes on to the next row there is, from `at` on. The end of everything is a batch let go. */
static int settle(struct cursor *cursor) {
    for (;;) {
        const rb_batch_content *now = content(cursor);
        while (cursor->at < now->count && is_skipped(cursor)) {
            cursor->at++;
        }
        if (cursor->at < now->count ||
            (cursor->subscriber != NULL && cursor->at == now->count && now->missed > 0)) {
            return SQLITE_OK;
        }
        if (cursor->subscriber == NULL || now->next_seq + now->missed >= cursor->end) {
            let_go(cursor);
            return SQLITE_OK;
        }
        const size_t wanted = (size_t)(cursor->end - now->next_seq - now->missed);
        int status = rb_batch_fill(cursor->batch, cursor->subscriber,
                                   wanted < SCAN_RECORDS ? wanted : SCAN_RECORDS, SCAN_BYTES);
        if (status != RB_OK) {
            let_go(cursor);
            return status == RB_EMPTY || status == RB_UNLINKED
                       ? SQLITE_OK
                       : fail(cursor->base.pVtab, sqlite3_mprintf("the ring cannot be read: %s",
                                                                  rb_status_name(status)));
        }
        cursor->at = 0;
    }
}

static int next_row(sqlite3_vtab_cursor *base) {
    struct cursor *cursor = (struct cursor *)base;
    cursor->at++;
    cursor->row++;
    return settle(cursor);
}

static int is_at_end(sqlite3_vtab_cursor *base) { return ((struct cursor *)base)->batch == NULL; }

/* The subscriber of a scan and where it ends: the tail of this moment. */
static int open_ring(struct cursor *cursor, const char *name) {
    char path[RB_PATH_SIZE], why[200] = "";
    if (name == NULL || strchr(name, '/') != NULL) {
        return fail(cursor->base.pVtab, sqlite3_mprintf("ringbus(NAME): NAME is a ring's name"));
    }
    snprintf(path, sizeof path, "/dev/shm/ringbus.%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return fail(cursor->base.pVtab, sqlite3_mprintf("%s: %s", path, strerror(errno)));
    }
    uint64_t missed, from, floor;
    int status = rb_batch_new(&cursor->batch);
    if (status == RB_OK) {
        status =
            rb_subscriber_open(fd, path, 0, NULL, &cursor->subscriber, &missed, why, sizeof why);
        if (status != RB_OK) {
            rb_batch_free(cursor->batch);
            cursor->batch = NULL;
        }
    }
    close(fd);
    if (status == RB_OK) {
        status = rb_subscriber_position(cursor->subscriber, &from, &cursor->end, &floor);
    }
    return status == RB_OK ? SQLITE_OK
                           : fail(cursor->base.pVtab,
                                  sqlite3_mprintf("%s: %s %s", path, rb_status_name(status), why));
}

static int begin(sqlite3_vtab_cursor *base, int plan_number, const char *text, int argc,
                 sqlite3_value **argv) {
    (void)text, (void)argc;
    struct cursor *cursor = (struct cursor *)base;
    const struct table *table = (const struct table *)base->pVtab;
    let_go(cursor);
    cursor->at = 0;
    cursor->row = 0;
    if (plan_number == 0) {
        return fail(base->pVtab, sqlite3_mprintf("which ring? FROM ringbus('NAME')"));
    }
    if (table->of_batches) {
        cursor->batch = rb_batch_pin((uint64_t)sqlite3_value_int64(argv[0]));
        if (cursor->batch == NULL) {
            return fail(base->pVtab, sqlite3_mprintf("there is no such batch"));
        }
    } else {
        int status = open_ring(cursor, (const char *)sqlite3_value_text(argv[0]));
        if (status != SQLITE_OK) {
            return status;
        }
    }
    return settle(cursor);
}

static void gap_column(const rb_batch_content *now, sqlite3_context *context, int column) {
    char json[120];
    switch (column) {
    case SEQ:
        sqlite3_result_int64(context, (sqlite3_int64)now->next_seq);
        break;
    case KIND:
        sqlite3_result_text(context, "gap", -1, SQLITE_STATIC);
        break;
    case PAYLOAD:
        snprintf(json, sizeof json, "{\"from\":%llu,\"to\":%llu,\"missed\":%llu}",
                 (unsigned long long)now->next_seq,
                 (unsigned long long)(now->next_seq + now->missed - 1),
                 (unsigned long long)now->missed);
        sqlite3_result_text(context, json, -1, SQLITE_TRANSIENT);
        break;
    default:
        sqlite3_result_null(context);
    }
}

static void text_or_blob(sqlite3_context *context, const rb_batch_entry *entry,
                         const uint8_t *payload) {
    const int length = (int)entry->record.length;
    if (entry->is_text) {
        sqlite3_result_text(context, (const char *)payload, length, SQLITE_STATIC);
    } else {
        sqlite3_result_blob(context, payload, length, SQLITE_STATIC);
    }
}

static void kind_or_null(sqlite3_context *context, const rb_batch_entry *entry) {
    if (entry->is_event) {
        const rb_text kind = rb_event_kind(&entry->record);
        sqlite3_result_text(context, kind.bytes, (int)kind.length, SQLITE_STATIC);
    } else {
        sqlite3_result_null(context);
    }
}

static void record_column(const rb_batch_content *now, size_t at, sqlite3_context *context,
                          int column) {
    const rb_batch_entry *entry = &now->entries[at];
    const rb_record *record = &entry->record;
    const sqlite3_int64 ts_ns = (sqlite3_int64)record->ts_ns; /* negative before 1970 */
    switch (column) {
    case SEQ:
        sqlite3_result_int64(context, (sqlite3_int64)record->seq);
        break;
    case TS:
        sqlite3_result_int64(context, ts_ns < 0 ? 0 : ts_ns / 1000000000);
        break;
    case KIND:
        kind_or_null(context, entry);
        break;
    case PAYLOAD:
        text_or_blob(context, entry, now->payloads + entry->start);
        break;
    case TS_NS:
        sqlite3_result_int64(context, ts_ns);
        break;
    case TRANSIENT:
        sqlite3_result_int(context, (record->flags & RB_RECORD_TRANSIENT) != 0);
        break;
    case EMITTER:
        sqlite3_result_int64(context, record->emitter);
        break;
    default:
        sqlite3_result_null(context);
    }
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
    const struct cursor *cursor = (const struct cursor *)base;
    if (is_at_gap(cursor)) {
        gap_column(content(cursor), context, column);
    } else {
        record_column(content(cursor), cursor->at, context, column);
    }
    return SQLITE_OK;
}

static int row_number(sqlite3_vtab_cursor *base, sqlite3_int64 *row) {
    *row = ((struct cursor *)base)->row;
    return SQLITE_OK;
}

static const sqlite3_module MODULE = {
    .iVersion = 1,
    .xConnect = connect_table, /* without xCreate the table exists by itself, and only so */
    .xBestIndex = plan,
    .xDisconnect = disconnect_table,
    .xOpen = open_cursor,
    .xClose = close_cursor,
    .xFilter = begin,
    .xNext = next_row,
    .xEof = is_at_end,
    .xColumn = column,
    .xRowid = row_number,
};

/* The name that SQLite looks for first in a library it loads. */
__attribute__((visibility("default"))) int sqlite3_extension_init(sqlite3 *db, char **message,
                                                                  const sqlite3_api_routines *api);

int sqlite3_extension_init(sqlite3 *db, char **message, const sqlite3_api_routines *api) {
    (void)message;
    SQLITE_EXTENSION_INIT2(api);
    static char of_batches;
    int status = sqlite3_create_module(db, "ringbus", &MODULE, NULL);
    if (status == SQLITE_OK) {
        status = sqlite3_create_module(db, "ringbus_batch", &MODULE, &of_batches);
    }
    return status;
}

int rb_has_table(void) { return 1; }
#else
int rb_has_table(void) { return 0; }
#endif
