/* The builtin subscriber: reads what is there, else sleeps without the interpreter lock. A loss is
 * counted first and told by the next read() that has nothing else to give.
 */
#include "fastcall.h"

#include "atomics.h"
#include "clock.h"
#include "subscriber.h"

#include <sched.h>

enum {
    MAX_READ_BYTES = 8 << 20, /* one read() ends beyond that: memory stays bounded */
    MAX_READ_RECORDS = 256,
};

static void free_subscriber(void *handle) { rb_subscriber_free(handle); }

static void subscriber_dealloc(PyObject *self) { rb_fast_dealloc(self, free_subscriber); }

static int subscriber_peek(rb_subscriber *subscriber, rb_record *record, uint64_t *missed) {
    int status;
    while ((status = rb_subscriber_try_peek(subscriber, record, missed)) == RB_BUSY) {
        PyThreadState *thread = PyEval_SaveThread();
        sched_yield();
        PyEval_RestoreThread(thread);
    }
    return status;
}

static int subscriber_copy(rb_subscriber *subscriber, const rb_record *record, void *payload,
                           uint64_t *missed) {
    int status;
    while ((status = rb_subscriber_try_copy(subscriber, record, payload, missed)) == RB_BUSY) {
        PyThreadState *thread = PyEval_SaveThread();
        sched_yield();
        PyEval_RestoreThread(thread);
    }
    return status;
}

/* An empty record. PyStructSequence_New() would ask the type's dictionary each time how long it is.
 * The collector need not look at it: what it holds refers to nothing. */
static PyObject *new_record(void) {
    PyObject *record = rb_fast_record_alloc(rb_fast_record_type, RB_RECORD_FIELDS);
    if (record != NULL) {
        PyObject_GC_UnTrack(record);
    }
    return record;
}

/* Steals `payload`. */
static PyObject *make_record(const rb_record *record, PyObject *payload) {
    PyObject *result = new_record();
    PyObject *fields[RB_RECORD_FIELDS] = {
        PyLong_FromUnsignedLongLong(record->seq),
        PyLong_FromUnsignedLongLong(record->ts_ns),
        payload,
        PyLong_FromUnsignedLong(record->kind),
        PyBool_FromLong((record->flags & RB_RECORD_TRANSIENT) != 0),
        PyLong_FromUnsignedLong(record->emitter),
    };
    int failed = result == NULL;
    for (Py_ssize_t i = 0; i < RB_RECORD_FIELDS; i++) {
        failed |= fields[i] == NULL;
        if (result != NULL) {
            PyStructSequence_SetItem(result, i, fields[i]);
        } else {
            Py_XDECREF(fields[i]);
        }
    }
    if (failed) {
        Py_CLEAR(result);
    }
    return result;
}

/* RB_OK with *made, another status, or -1 with an exception set. */
static int read_one(rb_subscriber *subscriber, PyObject **made, size_t *bytes, uint64_t *missed) {
    rb_record record;
    int status;
    do {
        status = subscriber_peek(subscriber, &record, missed);
        if (status != RB_OK) {
            return status;
        }
        /* No lock is held here: allocating may run finalisers, which may use this subscriber. */
        PyObject *payload = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)record.length);
        if (payload == NULL) {
            return -1;
        }
        status = subscriber_copy(subscriber, &record, PyBytes_AsString(payload), missed);
        if (status == RB_OK) {
            *bytes += record.length;
            *made = make_record(&record, payload);
            return *made == NULL ? -1 : RB_OK;
        }
        Py_DECREF(payload);
    } while (status == RB_INVALID); /* another thread read it */
    return status;
}

static void count_missed(rb_fast_handle *self, uint64_t missed) {
    if (missed > 0) {
        rb_fetch_add_64(&self->untold, missed);
    }
}

/* A loss that was not told yet comes first; a handle that was closed or inherited tells nothing. */
static int peek_or_loss(rb_fast_handle *self, rb_record *record) {
    uint64_t missed = 0;
    int status = subscriber_peek(self->handle, record, &missed);
    count_missed(self, missed);
    const int is_usable = status != RB_CLOSED && status != RB_FORKED;
    return is_usable && rb_load_relaxed_64(&self->untold) > 0 ? RB_LAPPED : status;
}

/* What can be read now. A loss behind records already in the list waits for the next call. */
static int read_ready(rb_fast_handle *self, Py_ssize_t limit, PyObject *list) {
    size_t bytes = 0;
    while (PyList_Size(list) < limit && bytes < MAX_READ_BYTES &&
           rb_load_relaxed_64(&self->untold) == 0) {
        PyObject *made;
        uint64_t missed = 0;
        int status = read_one(self->handle, &made, &bytes, &missed);
        count_missed(self, missed);
        if (status == RB_LAPPED && PyList_Size(list) > 0) {
            return RB_OK;
        }
        if (status != RB_OK) {
            return status;
        }
        int failed = PyList_Append(list, made);
        Py_DECREF(made);
        if (failed) {
            return -1;
        }
    }
    rb_record next;
    return rb_load_relaxed_64(&self->untold) == 0 ? RB_OK : peek_or_loss(self, &next);
}

/* A time-out in ns; UINT64_MAX: for ever. */
static int parse_timeout(PyObject *timeout, uint64_t *timeout_ns) {
    *timeout_ns = UINT64_MAX;
    if (timeout == NULL || timeout == Py_None) {
        return 0;
    }
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds >= 0)) {
        PyErr_SetString(PyExc_ValueError, "timeout must be None or a number of seconds >= 0");
        return -1;
    }
    if (seconds < 1e9) {
        *timeout_ns = (uint64_t)(seconds * 1e9);
    }
    return 0;
}

/* Sleeps once. 1: look again; 0: the time is over; -1: an exception is set. */
static int sleep_once(rb_fast_handle *self, uint64_t since_ns, uint64_t timeout_ns) {
    const rb_stall none = {0};
    uint64_t passed_ns = rb_monotonic_ns() - since_ns;
    if (passed_ns >= timeout_ns) {
        return 0;
    }
    PyThreadState *thread = PyEval_SaveThread();
    int status = rb_subscriber_park(self->handle, timeout_ns - passed_ns);
    PyEval_RestoreThread(thread);
    if (PyErr_CheckSignals() != 0) {
        return -1;
    }
    if (status == RB_OK || status == RB_TIMED_OUT || status == RB_INTERRUPTED) {
        return 1;
    }
    rb_fast_fail(self->report, status, &none, 0, 0);
    return -1;
}

/* -1 with the exception set; 1: another thread told it meanwhile. */
static int report_lapped(rb_fast_handle *self) {
    const rb_stall none = {.lag = rb_exchange_64(&self->untold, 0)};
    if (none.lag == 0) {
        return 1;
    }
    rb_fast_fail(self->report, RB_LAPPED, &none, 0, rb_subscriber_cursor(self->handle));
    return -1;
}

/* Reads until something is there or the time is over. */
static PyObject *read_records(rb_fast_handle *self, Py_ssize_t limit, uint64_t timeout_ns) {
    const rb_stall none = {0};
    uint64_t since_ns = timeout_ns == 0 ? 0 : rb_monotonic_ns();
    PyObject *list = PyList_New(0);
    for (int again = 1; list != NULL && again > 0;) {
        int status = read_ready(self, limit, list);
        if (PyList_Size(list) > 0 && status != -1) {
            break; /* whatever it is, the next call meets it again and tells it */
        }
        if (status == RB_EMPTY) {
            again = timeout_ns == 0 ? 0 : sleep_once(self, since_ns, timeout_ns);
            status = RB_OK;
        } else if (status == RB_LAPPED) {
            again = report_lapped(self);
        } else {
            if (status != -1) {
                rb_fast_fail(self->report, status, &none, 0, 0);
            }
            again = -1;
        }
        if (again < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *subscriber_read(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"max_records", "timeout", NULL};
    Py_ssize_t limit = MAX_READ_RECORDS;
    PyObject *timeout = NULL;
    uint64_t timeout_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|nO", names, &limit, &timeout) ||
        parse_timeout(timeout, &timeout_ns) != 0) {
        return NULL;
    }
    if (limit < 1) {
        PyErr_SetString(PyExc_ValueError, "max_records must be at least 1");
        return NULL;
    }
    return read_records((rb_fast_handle *)object, limit, timeout_ns);
}

static PyObject *subscriber_wait(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    rb_fast_handle *self = (rb_fast_handle *)object;
    const rb_stall none = {0};
    PyObject *timeout = NULL;
    uint64_t timeout_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &timeout) ||
        parse_timeout(timeout, &timeout_ns) != 0) {
        return NULL;
    }
    uint64_t since_ns = rb_monotonic_ns();
    for (;;) {
        rb_record record;
        int status = peek_or_loss(self, &record);
        if (status == RB_OK || status == RB_LAPPED) {
            Py_RETURN_TRUE; /* a loss is news, too: read() tells it */
        }
        if (status != RB_EMPTY) {
            return rb_fast_fail(self->report, status, &none, 0, 0);
        }
        int again = sleep_once(self, since_ns, timeout_ns);
        if (again <= 0) {
            return again < 0 ? NULL : PyBool_FromLong(0);
        }
    }
}

static PyMethodDef subscriber_methods[] = {
    {"read", (PyCFunction)(void (*)(void))subscriber_read, METH_VARARGS | METH_KEYWORDS,
     "read(max_records=256, timeout=None)\n--\n\nThe next records; an empty list on time-out."},
    {"wait", (PyCFunction)(void (*)(void))subscriber_wait, METH_VARARGS | METH_KEYWORDS,
     "wait(timeout=None)\n--\n\nSleep until there is something to read; False on time-out."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot subscriber_slots[] = {
    {Py_tp_doc, "The reading builtins over one C subscriber, which they own."},
    {Py_tp_new, rb_fast_new},
    {Py_tp_dealloc, subscriber_dealloc},
    {Py_tp_traverse, rb_fast_traverse},
    {Py_tp_clear, rb_fast_clear},
    {Py_tp_methods, subscriber_methods},
    {Py_tp_members, rb_fast_members},
    {0, NULL},
};

PyType_Spec rb_fast_subscriber_spec = {
    .name = "ringbus._core.Subscriber",
    .basicsize = sizeof(rb_fast_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = subscriber_slots,
};
