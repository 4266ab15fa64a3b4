/* The builtins that Python calls on the hot path: emit, emit_many, read, wait.
 *
 * A stock cffi call converts its arguments one by one and gives the interpreter lock away; the next
 * busy Python thread then keeps it for milliseconds. These types are plain builtins instead: they
 * keep the lock for what never waits and give it away only to sleep, or when another thread is
 * inside the same handle. While they hold a handle they run no Python code and allocate nothing.
 *
 * The types own the C handle that they are given: it is freed with them, never before, so that
 * closing is safe while other threads are inside. Statuses that are errors go to the `report`
 * callable, which raises; the table of exceptions is in Python (ringbus/_native.py).
 */
#define PY_SSIZE_T_CLEAN
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <structmember.h>

#include "emitter.h"
#include "subscriber.h"
#include "wait.h"

#include <sched.h>

enum {
    MAX_READ_BYTES = 8 << 20, /* one read() ends beyond that: memory stays bounded */
    MAX_READ_RECORDS = 256,
};

static PyTypeObject *record_type;

/* report(status, notice, gate, lag, published, value): raises, or returns for a mere notice. */
static int report(PyObject *callable, int status, const rb_stall *stall, size_t published,
                  uint64_t value) {
    PyObject *result = PyObject_CallFunction(
        callable, "iIIKnK", status, (unsigned int)stall->notice, (unsigned int)stall->gate,
        (unsigned long long)stall->lag, (Py_ssize_t)published, (unsigned long long)value);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

static PyObject *fail(PyObject *callable, int status, const rb_stall *stall, size_t published,
                      uint64_t value) {
    if (report(callable, status, stall, published, value) == 0) {
        PyErr_Format(PyExc_SystemError, "ringbus: unreported status %d", status);
    }
    return NULL;
}

/* What both types are: a C handle and the callable that raises. */
typedef struct {
    PyObject_HEAD
    void *handle;
    PyObject *report;
    uint64_t untold; /* records missed that the next read() reports; emitters: unused */
} HandleObject;

static PyObject *handle_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *address;
    PyObject *callable;
    if (kwargs != NULL && PyDict_Size(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "no keyword arguments are taken");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "OO", &address, &callable)) {
        return NULL;
    }
    void *handle = PyLong_AsVoidPtr(address);
    if (handle == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "a handle is never at address 0");
        }
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    HandleObject *self = (HandleObject *)allocate(type, 0);
    if (self != NULL) {
        self->handle = handle;
        Py_INCREF(callable);
        self->report = callable;
    }
    return (PyObject *)self;
}

static int handle_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((HandleObject *)self)->report);
    return 0;
}

static int handle_clear(PyObject *self) {
    Py_CLEAR(((HandleObject *)self)->report);
    return 0;
}

static void handle_dealloc(PyObject *self, void (*free_handle)(void *)) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    handle_clear(self);
    free_handle(((HandleObject *)self)->handle);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* Emitter. */

static void free_emitter(void *handle) { rb_emitter_free(handle); }

static void emitter_dealloc(PyObject *self) { handle_dealloc(self, free_emitter); }

/* Emits all items, sleeping with the interpreter lock released where it must. Ctrl-C ends it. */
static int emit_all(PyObject *object, const rb_item *items, size_t count, uint64_t *first,
                    uint64_t *last) {
    HandleObject *self = (HandleObject *)object;
    rb_emitter *emitter = self->handle;
    rb_stall stall = {0};
    size_t published = 0;
    for (;;) {
        int status = rb_emitter_try_emit(emitter, items, count, &published, &stall, first, last);
        if (status == RB_BUSY) {
            PyThreadState *thread = PyEval_SaveThread();
            status = rb_emitter_emit(emitter, items, count, &published, &stall, first, last);
            PyEval_RestoreThread(thread);
        }
        if (stall.notice != 0) {
            if (report(self->report, RB_OK, &stall, published, 0) != 0) {
                return -1;
            }
            stall.notice = 0;
        }
        if (status == RB_OK) {
            return 0;
        }
        if (status == RB_WAIT) {
            PyThreadState *thread = PyEval_SaveThread();
            status = rb_emitter_park(emitter, &stall);
            PyEval_RestoreThread(thread);
            if (PyErr_CheckSignals() != 0) {
                return -1;
            }
            if (status == RB_OK || status == RB_TIMED_OUT || status == RB_INTERRUPTED) {
                continue;
            }
        }
        uint64_t length = published < count ? items[published].length : 0;
        fail(self->report, status, &stall, published, length);
        return -1;
    }
}

static int set_kind(rb_item *item, PyObject *kind) {
    unsigned long value = PyLong_AsUnsignedLong(kind);
    if (value == (unsigned long)-1 && PyErr_Occurred()) {
        return -1;
    }
    if (value > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "kind must fit in 32 bits");
        return -1;
    }
    item->kind = (uint32_t)value;
    return 0;
}

static int set_transient(rb_item *item, PyObject *transient) {
    int value = PyObject_IsTrue(transient);
    if (value < 0) {
        return -1;
    }
    item->flags = value ? RB_RECORD_TRANSIENT : 0;
    return 0;
}

static void set_payload(rb_item *item, const void *payload, Py_ssize_t length) {
    item->payload = payload;
    /* Longer than any ring takes; refused as too large. */
    item->length = length > (Py_ssize_t)UINT32_MAX ? UINT32_MAX : (uint32_t)length;
}

static int set_bytes(rb_item *item, PyObject *payload) {
    char *start;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(payload, &start, &length) != 0) {
        return -1;
    }
    set_payload(item, start, length);
    return 0;
}

static int set_keyword(rb_item *item, PyObject *name, PyObject *value) {
    if (PyUnicode_CompareWithASCIIString(name, "kind") == 0) {
        return set_kind(item, value);
    }
    if (PyUnicode_CompareWithASCIIString(name, "transient") == 0) {
        return set_transient(item, value);
    }
    PyErr_Format(PyExc_TypeError, "emit() has no argument '%U'", name);
    return -1;
}

static int set_options(rb_item *item, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    if (count < 1 || count > 3) {
        PyErr_SetString(PyExc_TypeError, "emit(payload, kind=0, transient=False)");
        return -1;
    }
    if ((count > 1 && set_kind(item, args[1]) != 0) ||
        (count > 2 && set_transient(item, args[2]) != 0)) {
        return -1;
    }
    Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
    for (Py_ssize_t i = 0; i < named; i++) {
        if (set_keyword(item, PyTuple_GetItem(names, i), args[count + i]) != 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *emitter_emit(PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names) {
    rb_item item = {0};
    uint64_t first;
    uint64_t last;
    if ((count != 1 || names != NULL) && set_options(&item, args, count, names) != 0) {
        return NULL;
    }
    if (PyBytes_CheckExact(args[0])) {
        if (set_bytes(&item, args[0]) != 0 || emit_all(self, &item, 1, &first, &last) != 0) {
            return NULL;
        }
        return PyLong_FromUnsignedLongLong(first);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    set_payload(&item, view.buf, view.len);
    int failed = emit_all(self, &item, 1, &first, &last);
    PyBuffer_Release(&view);
    return failed ? NULL : PyLong_FromUnsignedLongLong(first);
}

/* One entry of emit_many(): bytes-like, or (bytes-like, kind, transient). Returns what keeps the
 * payload alive. */
static PyObject *set_entry(rb_item *item, PyObject *entry) {
    PyObject *payload = entry;
    if (PyTuple_Check(entry)) {
        if (PyTuple_Size(entry) != 3) {
            PyErr_SetString(PyExc_TypeError, "an entry is bytes or (bytes, kind, transient)");
            return NULL;
        }
        payload = PyTuple_GetItem(entry, 0);
        if (set_kind(item, PyTuple_GetItem(entry, 1)) != 0 ||
            set_transient(item, PyTuple_GetItem(entry, 2)) != 0) {
            return NULL;
        }
    }
    if (PyLong_Check(payload) || PyUnicode_Check(payload)) { /* PyBytes_FromObject would take them */
        PyErr_SetString(PyExc_TypeError, "a payload is a bytes-like object");
        return NULL;
    }
    PyObject *bytes = PyBytes_FromObject(payload); /* the same object if it is bytes already */
    if (bytes != NULL && set_bytes(item, bytes) != 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

static PyObject *emit_entries(PyObject *self, PyObject *entries, Py_ssize_t count) {
    rb_item *items = PyMem_Calloc((size_t)count, sizeof *items);
    PyObject *payloads = PyTuple_New(count);
    uint64_t first;
    uint64_t last;
    int failed = items == NULL || payloads == NULL;
    if (items == NULL) {
        PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *payload = set_entry(&items[i], PyTuple_GetItem(entries, i));
        failed = payload == NULL || PyTuple_SetItem(payloads, i, payload) != 0;
    }
    if (!failed) {
        failed = emit_all(self, items, (size_t)count, &first, &last);
    }
    PyMem_Free(items);
    Py_XDECREF(payloads);
    return failed ? NULL : Py_BuildValue("KK", (unsigned long long)first, (unsigned long long)last);
}

static PyObject *emitter_emit_many(PyObject *self, PyObject *iterable) {
    PyObject *entries = PySequence_Tuple(iterable); /* runs generators before anything is taken */
    if (entries == NULL) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_Size(entries);
    PyObject *result = NULL;
    if (count == 0) {
        PyErr_SetString(PyExc_ValueError, "emit_many() needs at least one payload");
    } else {
        result = emit_entries(self, entries, count);
    }
    Py_DECREF(entries);
    return result;
}

/* Subscriber. */

static void free_subscriber(void *handle) { rb_subscriber_free(handle); }

static void subscriber_dealloc(PyObject *self) { handle_dealloc(self, free_subscriber); }

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

/* Steals `payload`. */
static PyObject *make_record(const rb_record *record, PyObject *payload) {
    PyObject *result = PyStructSequence_New(record_type);
    PyObject *fields[] = {
        PyLong_FromUnsignedLongLong(record->seq),
        PyLong_FromUnsignedLongLong(record->ts_ns),
        payload,
        PyLong_FromUnsignedLong(record->kind),
        PyBool_FromLong((record->flags & RB_RECORD_TRANSIENT) != 0),
        PyLong_FromUnsignedLong(record->emitter),
    };
    int failed = result == NULL;
    for (Py_ssize_t i = 0; i < (Py_ssize_t)(sizeof fields / sizeof fields[0]); i++) {
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

/* What can be read now. A loss behind records already in the list waits for the next call. */
static int read_ready(HandleObject *self, Py_ssize_t limit, PyObject *list) {
    size_t bytes = 0;
    while (PyList_Size(list) < limit && bytes < MAX_READ_BYTES && self->untold == 0) {
        PyObject *made;
        int status = read_one(self->handle, &made, &bytes, &self->untold);
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
    return self->untold == 0 ? RB_OK : RB_LAPPED;
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
static int sleep_once(HandleObject *self, uint64_t since_ns, uint64_t timeout_ns) {
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
    fail(self->report, status, &none, 0, 0);
    return -1;
}

static PyObject *report_lapped(HandleObject *self) {
    const rb_stall none = {.lag = self->untold};
    self->untold = 0;
    return fail(self->report, RB_LAPPED, &none, 0, rb_subscriber_cursor(self->handle));
}

/* Reads until something is there or the time is over. */
static PyObject *read_records(HandleObject *self, Py_ssize_t limit, uint64_t timeout_ns) {
    const rb_stall none = {0};
    uint64_t since_ns = timeout_ns == 0 ? 0 : rb_monotonic_ns();
    PyObject *list = PyList_New(0);
    for (int again = 1; list != NULL && again > 0;) {
        int status = read_ready(self, limit, list);
        if (PyList_Size(list) > 0 && (status == RB_OK || status == RB_EMPTY)) {
            break;
        }
        if (status == RB_EMPTY) {
            again = timeout_ns == 0 ? 0 : sleep_once(self, since_ns, timeout_ns);
            status = RB_OK;
        } else if (status == RB_LAPPED) {
            report_lapped(self);
            again = -1;
        } else {
            if (status != -1) {
                fail(self->report, status, &none, 0, 0);
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
    return read_records((HandleObject *)object, limit, timeout_ns);
}

static PyObject *subscriber_wait(PyObject *object, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"timeout", NULL};
    HandleObject *self = (HandleObject *)object;
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
        int status = subscriber_peek(self->handle, &record, &self->untold);
        if (status == RB_OK || status == RB_LAPPED) {
            Py_RETURN_TRUE; /* a loss is news, too: read() tells it */
        }
        if (status != RB_EMPTY) {
            return fail(self->report, status, &none, 0, 0);
        }
        int again = sleep_once(self, since_ns, timeout_ns);
        if (again <= 0) {
            return again < 0 ? NULL : PyBool_FromLong(0);
        }
    }
}

/* Types. */

static PyMemberDef emitter_members[] = {
    {"report", T_OBJECT, offsetof(HandleObject, report), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef emitter_methods[] = {
    {"emit", (PyCFunction)(void (*)(void))emitter_emit, METH_FASTCALL | METH_KEYWORDS,
     "emit(payload, kind=0, transient=False)\n--\n\nPublish one record; returns its seq."},
    {"emit_many", emitter_emit_many, METH_O,
     "emit_many(entries)\n--\n\nPublish records; returns the first and the last seq."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef subscriber_methods[] = {
    {"read", (PyCFunction)(void (*)(void))subscriber_read, METH_VARARGS | METH_KEYWORDS,
     "read(max_records=256, timeout=None)\n--\n\nThe next records; an empty list on time-out."},
    {"wait", (PyCFunction)(void (*)(void))subscriber_wait, METH_VARARGS | METH_KEYWORDS,
     "wait(timeout=None)\n--\n\nSleep until there is something to read; False on time-out."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot emitter_slots[] = {
    {Py_tp_doc, "The emitting builtins over one C emitter, which they own."},
    {Py_tp_new, handle_new},
    {Py_tp_dealloc, emitter_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_methods, emitter_methods},
    {Py_tp_members, emitter_members},
    {0, NULL},
};

static PyType_Slot subscriber_slots[] = {
    {Py_tp_doc, "The reading builtins over one C subscriber, which they own."},
    {Py_tp_new, handle_new},
    {Py_tp_dealloc, subscriber_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_methods, subscriber_methods},
    {Py_tp_members, emitter_members},
    {0, NULL},
};

static PyType_Spec emitter_spec = {
    .name = "ringbus._core.Emitter",
    .basicsize = sizeof(HandleObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = emitter_slots,
};

static PyType_Spec subscriber_spec = {
    .name = "ringbus._core.Subscriber",
    .basicsize = sizeof(HandleObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = subscriber_slots,
};

static PyStructSequence_Field record_fields[] = {
    {"seq", "number of the record in its epoch, from 0"},
    {"ts_ns", "nanoseconds since 1970 when it was emitted"},
    {"payload", "its bytes"},
    {"kind", "what the emitter said it is; 0 by default"},
    {"transient", "broadcast, but not kept in history"},
    {"emitter", "tells the emitters of one ring apart"},
    {NULL, NULL},
};

static PyStructSequence_Desc record_desc = {
    .name = "ringbus.Record",
    .doc = "One record read from a ring.",
    .fields = record_fields,
    .n_in_sequence = 6,
};

static int add_types(PyObject *module) {
    PyObject *emitter = PyType_FromSpec(&emitter_spec);
    PyObject *subscriber = PyType_FromSpec(&subscriber_spec);
    record_type = PyStructSequence_NewType(&record_desc);
    int failed = emitter == NULL || subscriber == NULL || record_type == NULL ||
                 PyObject_SetAttrString(module, "Emitter", emitter) != 0 ||
                 PyObject_SetAttrString(module, "Subscriber", subscriber) != 0 ||
                 PyObject_SetAttrString(module, "Record", (PyObject *)record_type) != 0;
    Py_XDECREF(emitter);
    Py_XDECREF(subscriber);
    return failed ? -1 : 0;
}

/* Adds the types to the cffi module that this file is part of; called once, when it is imported.
 * cffi calls it without the interpreter lock. */
int rb_install_types(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module = PyImport_AddModule("ringbus._core"); /* borrowed */
    int status = module == NULL || add_types(module) != 0 ? -1 : RB_OK;
    if (status != RB_OK) {
        PyErr_Print();
    }
    PyGILState_Release(state);
    return status;
}
