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
    GROUP_RECORDS = 16,
    GROUP_BYTES = 64 << 10,
};

static void free_subscriber(void *handle) { rb_subscriber_free(handle); }

static void subscriber_dealloc(PyObject *self) { rb_fast_dealloc(self, free_subscriber); }

/* Another thread is inside; it never stays for long. */
static void let_others(void) {
    PyThreadState *thread = PyEval_SaveThread();
    sched_yield();
    PyEval_RestoreThread(thread);
}

/* Records on their way from the ring to Python. They are looked at and copied with one lock each,
 * and objects are made without it: allocating may run finalisers, which may use this subscriber. */
struct group {
    rb_record records[GROUP_RECORDS];
    PyObject *payloads[GROUP_RECORDS];
    void *places[GROUP_RECORDS];
    size_t count; /* looked at */
    size_t made;  /* of which have a payload object */
};

static int peek_group(rb_subscriber *subscriber, struct group *group, size_t room,
                      uint64_t *missed) {
    int status;
    group->made = 0;
    while ((status = rb_subscriber_try_peek(subscriber, group->records, room, GROUP_BYTES,
                                            &group->count, missed)) == RB_BUSY) {
        let_others();
    }
    return status;
}

static int make_payloads(struct group *group) {
    for (size_t i = 0; i < group->count; i++) {
        PyObject *payload = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)group->records[i].length);
        if (payload == NULL) {
            return -1;
        }
        group->payloads[i] = payload;
        group->places[i] = PyBytes_AsString(payload);
        group->made++;
    }
    return 0;
}

static int copy_group(rb_subscriber *subscriber, struct group *group, size_t *got,
                      uint64_t *missed) {
    int status;
    while ((status = rb_subscriber_try_copy(subscriber, group->records, group->places, group->count,
                                            got, missed)) == RB_BUSY) {
        let_others();
    }
    return status;
}

/* Appends the first `got` as records and lets the payloads of the others go. Those that there is no
 * memory for are read and lost: they count as missed. */
static int append(PyObject *list, const struct group *group, size_t got, uint64_t *missed) {
    int failed = 0;
    for (size_t i = 0; i < group->made; i++) {
        if (i >= got || failed) {
            Py_DECREF(group->payloads[i]);
            *missed += i < got;
            continue;
        }
        PyObject *record = rb_fast_record(&group->records[i], group->payloads[i]);
        failed = record == NULL || PyList_Append(list, record) != 0;
        *missed += (unsigned)failed;
        Py_XDECREF(record);
    }
    return failed ? -1 : 0;
}

/* RB_OK with some more in the list; another status, or -1 with an exception set, perhaps as well
 * with some more. *is_last: there was not one record more when it looked. */
static int read_group(rb_subscriber *subscriber, PyObject *list, size_t room, size_t *bytes,
                      int *is_last, uint64_t *missed) {
    struct group group;
    size_t got;
    int status;
    room = room < GROUP_RECORDS ? room : GROUP_RECORDS;
    do {
        got = 0;
        status = peek_group(subscriber, &group, room, missed);
        if (status != RB_OK) {
            return status;
        }
        status = make_payloads(&group) != 0 ? -1 : copy_group(subscriber, &group, &got, missed);
        size_t size = 0;
        for (size_t i = 0; i < got; i++) {
            size += group.records[i].length;
        }
        *bytes += size;
        *is_last = group.count < room && size < GROUP_BYTES;
        if (append(list, &group, got, missed) != 0) {
            status = -1;
        }
    } while (status == RB_INVALID && got == 0); /* another thread read them */
    return status == RB_INVALID ? RB_OK : status;
}

static void count_missed(rb_fast_handle *self, uint64_t missed) {
    if (missed > 0) {
        rb_fetch_add_64(&self->untold, missed);
    }
}

/* A loss that was not told yet comes first; a handle that was closed or inherited tells nothing. */
static int peek_or_loss(rb_fast_handle *self) {
    struct group next;
    uint64_t missed = 0;
    int status = peek_group(self->handle, &next, 1, &missed);
    count_missed(self, missed);
    const int is_usable = status != RB_CLOSED && status != RB_FORKED;
    return is_usable && rb_load_relaxed_64(&self->untold) > 0 ? RB_LAPPED : status;
}

/* What can be read now. A loss behind records already in the list waits for the next call. */
static int read_ready(rb_fast_handle *self, Py_ssize_t limit, PyObject *list) {
    size_t bytes = 0;
    Py_ssize_t have;
    int is_last = 0;
    while (!is_last && (have = PyList_Size(list)) < limit && bytes < MAX_READ_BYTES &&
           rb_load_relaxed_64(&self->untold) == 0) {
        uint64_t missed = 0;
        int status =
            read_group(self->handle, list, (size_t)(limit - have), &bytes, &is_last, &missed);
        count_missed(self, missed);
        if (status == RB_LAPPED && PyList_Size(list) > 0) {
            return RB_OK;
        }
        if (status != RB_OK) {
            return status;
        }
    }
    return rb_load_relaxed_64(&self->untold) == 0 ? RB_OK : peek_or_loss(self);
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

/* A derived class that was made, but not initialised. */
static int check_handle(const rb_fast_handle *self) {
    if (self->handle == NULL) {
        PyErr_SetString(PyExc_ValueError, "this subscriber was never opened");
        return -1;
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
        if (PyList_Size(list) > 0) {
            PyErr_Clear(); /* whatever it is, the next call meets it again and tells it */
            break;
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
    if (check_handle((rb_fast_handle *)object) != 0 ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|nO", names, &limit, &timeout) ||
        parse_timeout(timeout, &timeout_ns) != 0) {
        return NULL;
    }
    if (limit < 1) {
        PyErr_SetString(PyExc_ValueError, "max_records must be at least 1");
        return NULL;
    }
    return read_records((rb_fast_handle *)object, limit, timeout_ns);
}

/* One record and never more, so that iterating and read() may take turns. */
static PyObject *subscriber_next(PyObject *object) {
    rb_fast_handle *self = (rb_fast_handle *)object;
    PyObject *list = check_handle(self) != 0 ? NULL : read_records(self, 1, UINT64_MAX);
    PyObject *record = list == NULL ? NULL : PyList_GetItem(list, 0); /* borrowed */
    Py_XINCREF(record);
    Py_XDECREF(list);
    return record;
}

static PyObject *subscriber_wait(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    rb_fast_handle *self = (rb_fast_handle *)object;
    const rb_stall none = {0};
    PyObject *timeout = NULL;
    uint64_t timeout_ns;
    if (check_handle(self) != 0 ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &timeout) ||
        parse_timeout(timeout, &timeout_ns) != 0) {
        return NULL;
    }
    uint64_t since_ns = rb_monotonic_ns();
    for (;;) {
        int status = peek_or_loss(self);
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

static PyObject *subscriber_advance(PyObject *object, PyObject *seq) {
    rb_fast_handle *self = (rb_fast_handle *)object;
    const rb_stall none = {0};
    unsigned long long number = PyLong_AsUnsignedLongLong(seq);
    int status;
    if (check_handle(self) != 0 || (number == (unsigned long long)-1 && PyErr_Occurred())) {
        return NULL;
    }
    while ((status = rb_subscriber_try_advance(self->handle, number)) == RB_BUSY) {
        let_others();
    }
    if (status != RB_OK) {
        return rb_fast_fail(self->report, status, &none, 0, 0);
    }
    Py_RETURN_NONE;
}

static PyMethodDef subscriber_methods[] = {
    {"read", (PyCFunction)(void (*)(void))subscriber_read, METH_VARARGS | METH_KEYWORDS,
     "read($self, max_records=256, timeout=None)\n--\n\n"
     "The next records, at most so many; waits up to `timeout` seconds (None: for ever).\n\n"
     "An empty list on time-out. Raises `Lapped`, after which reading goes on, and `RingUnlinked`\n"
     "when everything of a removed ring was read."},
    {"wait", (PyCFunction)(void (*)(void))subscriber_wait, METH_VARARGS | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\nSleep until there is something to read; False on time-out."},
    {"advance", subscriber_advance, METH_O,
     "advance($self, seq, /)\n--\n\n"
     "Tell emitters that this gate still wants `seq` and all after it, and nothing before."},
    RB_FAST_OWN,
    {NULL, NULL, 0, NULL},
};

static PyType_Slot subscriber_slots[] = {
    {Py_tp_doc, "The reading builtins over one C subscriber, which they own.\n\n"
                "A derived class calls `_own()` before anything else."},
    {Py_tp_dealloc, subscriber_dealloc},
    {Py_tp_traverse, rb_fast_traverse},
    {Py_tp_clear, rb_fast_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, subscriber_next},
    {Py_tp_methods, subscriber_methods},
    {Py_tp_members, rb_fast_members},
    {0, NULL},
};

PyType_Spec rb_fast_subscriber_spec = {
    .name = "ringbus._core.Subscriber",
    .basicsize = sizeof(rb_fast_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = subscriber_slots,
};
