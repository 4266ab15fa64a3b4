/* The builtin emitter: arguments checked and buffers obtained first, then one try of the core after
 * the other, asleep without the interpreter lock in between.
 */
#include "fastcall.h"

#include "emitter.h"

static void free_emitter(void *handle) { rb_emitter_free(handle); }

static void emitter_dealloc(PyObject *self) { rb_fast_dealloc(self, free_emitter); }

/* What one call of emit or emit_many is at. */
struct progress {
    const rb_item *items;
    size_t count;
    size_t published;
    rb_stall stall;
    uint64_t first;
    uint64_t last;
};

static int try_once(rb_emitter *emitter, struct progress *at) {
    return rb_emitter_try_emit(emitter, at->items, at->count, &at->published, &at->stall,
                               &at->first, &at->last);
}

static int try_outside(rb_emitter *emitter, struct progress *at) {
    PyThreadState *thread = PyEval_SaveThread();
    int status = rb_emitter_emit(emitter, at->items, at->count, &at->published, &at->stall,
                                 &at->first, &at->last);
    PyEval_RestoreThread(thread);
    return status;
}

/* Sleeps without the interpreter lock: RB_OK to try again, RB_INTERRUPTED with an exception set. */
static int sleep_outside(rb_emitter *emitter, const struct progress *at) {
    PyThreadState *thread = PyEval_SaveThread();
    int status = rb_emitter_park(emitter, &at->stall);
    PyEval_RestoreThread(thread);
    if (PyErr_CheckSignals() != 0) {
        return RB_INTERRUPTED;
    }
    return status == RB_TIMED_OUT || status == RB_INTERRUPTED ? RB_OK : status;
}

/* Goes on after a first try that was not simply fine. Ctrl-C ends it. */
static __attribute__((noinline)) int emit_on(rb_fast_handle *self, struct progress *at,
                                             int status) {
    for (;;) {
        if (status == RB_BUSY) {
            status = try_outside(self->handle, at);
        }
        if (at->stall.notice != 0) {
            if (rb_fast_report(self->report, RB_OK, &at->stall, at->published, 0) != 0) {
                return -1;
            }
            at->stall.notice = 0;
        }
        if (status == RB_WAIT) {
            status = sleep_outside(self->handle, at);
            if (status == RB_OK) {
                status = try_once(self->handle, at);
                continue;
            }
        }
        if (status == RB_OK || status == RB_INTERRUPTED) {
            return status == RB_OK ? 0 : -1;
        }
        uint64_t length = at->published < at->count ? at->items[at->published].length : 0;
        rb_fast_fail(self->report, status, &at->stall, at->published, length);
        return -1;
    }
}

/* Before the first emit there is no handle: the Python class opens one. */
static __attribute__((noinline)) int open_first(PyObject *self) {
    PyObject *result = PyObject_CallMethod(self, "_open_emitter", NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Emits all items; the interpreter lock is kept unless something is in the way. */
static int emit_all(PyObject *object, struct progress *at) {
    rb_fast_handle *self = (rb_fast_handle *)object;
    /* [own:B] acquire; pairs with [own:A] */
    if (__atomic_load_n(&self->handle, __ATOMIC_ACQUIRE) == NULL && open_first(object) != 0) {
        return -1;
    }
    int status = try_once(self->handle, at);
    if (status == RB_OK && at->stall.notice == 0) {
        return 0;
    }
    return emit_on(self, at, status);
}

static int set_kind(rb_item *item, PyObject *kind) {
    return rb_fast_to_u32(kind, &item->kind) ? 0 : -1;
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

/* `count`: how many arguments came by position. */
static int set_keyword(rb_item *item, Py_ssize_t count, PyObject *name, PyObject *value) {
    if (count < 2 && PyUnicode_CompareWithASCIIString(name, "kind") == 0) {
        return set_kind(item, value);
    }
    if (count < 3 && PyUnicode_CompareWithASCIIString(name, "transient") == 0) {
        return set_transient(item, value);
    }
    PyErr_Format(PyExc_TypeError, "emit() takes no argument '%U', or has it already", name);
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
        if (set_keyword(item, count, PyTuple_GetItem(names, i), args[count + i]) != 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *emit_item(PyObject *self, const rb_item *item) {
    struct progress at = {.items = item, .count = 1};
    /* Of all conversions only that from long has a short path; a seq has 52 bits. */
    return emit_all(self, &at) != 0 ? NULL : PyLong_FromLong((long)at.first);
}

/* With options, or with a payload of another type. */
static __attribute__((noinline)) PyObject *emit_anything(PyObject *self, PyObject *const *args,
                                                         Py_ssize_t count, PyObject *names) {
    rb_item item = {0};
    Py_buffer view;
    if (set_options(&item, args, count, names) != 0 ||
        PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) != 0) {
        return NULL;
    }
    set_payload(&item, view.buf, view.len);
    PyObject *seq = emit_item(self, &item);
    PyBuffer_Release(&view);
    return seq;
}

static PyObject *emitter_emit(PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *names) {
    if (count == 1 && names == NULL && PyBytes_CheckExact(args[0])) {
        rb_item item = {0};
        return set_bytes(&item, args[0]) != 0 ? NULL : emit_item(self, &item);
    }
    return emit_anything(self, args, count, names);
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
    if (!PyObject_CheckBuffer(payload)) { /* PyBytes_FromObject would take a list of integers */
        PyErr_SetString(PyExc_TypeError, "a payload is a bytes-like object");
        return NULL;
    }
    PyObject *bytes = PyBytes_FromObject(payload); /* the same object if it is bytes already */
    if (bytes != NULL && set_bytes(item, bytes) != 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

/* What emit_many() was given so far; `payloads` keeps what the items point at. */
struct batch {
    rb_item *items;
    size_t count;
    size_t room;
    PyObject *payloads;
};

enum { SIGNALS_EVERY = 1024 /* entries: an iterable without an end can be interrupted */ };

static int grow(struct batch *batch) {
    size_t room = batch->room == 0 ? 16 : 2 * batch->room;
    rb_item *items = PyMem_Realloc(batch->items, room * sizeof *items);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    batch->items = items;
    batch->room = room;
    return 0;
}

static int add_entry(struct batch *batch, PyObject *entry) {
    if (batch->count == batch->room && grow(batch) != 0) {
        return -1;
    }
    batch->items[batch->count] = (rb_item){0};
    PyObject *payload = set_entry(&batch->items[batch->count], entry);
    int failed = payload == NULL || PyList_Append(batch->payloads, payload) != 0;
    Py_XDECREF(payload);
    batch->count++;
    return failed || (batch->count % SIGNALS_EVERY == 0 && PyErr_CheckSignals() != 0) ? -1 : 0;
}

/* Runs the iterable to its end. Each payload is taken as it comes: a generator may fill one buffer
 * again and again. */
static int add_all(struct batch *batch, PyObject *iterable) {
    PyObject *iterator = PyObject_GetIter(iterable);
    batch->payloads = iterator == NULL ? NULL : PyList_New(0);
    int failed = batch->payloads == NULL;
    PyObject *entry;
    while (!failed && (entry = PyIter_Next(iterator)) != NULL) {
        failed = add_entry(batch, entry) != 0;
        Py_DECREF(entry);
    }
    Py_XDECREF(iterator);
    if (!failed && batch->count == 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "emit_many() needs at least one payload");
    }
    return failed || PyErr_Occurred() != NULL ? -1 : 0;
}

static PyObject *emitter_emit_many(PyObject *self, PyObject *iterable) {
    struct batch batch = {0};
    PyObject *result = NULL;
    if (add_all(&batch, iterable) == 0) { /* all Python code of the iterable has run by now */
        struct progress at = {.items = batch.items, .count = batch.count};
        if (emit_all(self, &at) == 0) {
            result = Py_BuildValue("KK", (unsigned long long)at.first, (unsigned long long)at.last);
        }
    }
    PyMem_Free(batch.items);
    Py_XDECREF(batch.payloads);
    return result;
}

static PyMethodDef emitter_methods[] = {
    {"emit", (PyCFunction)(void (*)(void))emitter_emit, METH_FASTCALL | METH_KEYWORDS,
     "emit($self, payload, /, kind=0, transient=False)\n--\n\n"
     "Publish one record and return its seq.\n\n"
     "Never waits, unless a gate is a whole ring behind and the policy says so, or stopped\n"
     "emitters exhaust the pool. `kind` is any 32-bit number; `transient` records are not kept in\n"
     "history. Raises `RecordTooLarge` beyond `max_payload` bytes, `BackPressure`, "
     "`RingUnlinked`."},
    {"emit_many", emitter_emit_many, METH_O,
     "emit_many($self, payloads, /)\n--\n\n"
     "Publish several records; return the first and the last seq.\n\n"
     "An entry is a payload or `(payload, kind, transient)`; the iterable is run to its end "
     "before\n"
     "the first is published. Other emitters' records may come in between. `RecordTooLarge` and\n"
     "`BackPressure` carry `published`, the number of records already out; after `RingClosed`,\n"
     "`RingUnlinked` or an exception of a signal handler only the ring's tail tells."},
    RB_FAST_OWN,
    {NULL, NULL, 0, NULL},
};

static PyType_Slot emitter_slots[] = {
    {Py_tp_doc, "The emitting builtins over one C emitter, which they own.\n\n"
                "A derived class has `_open_emitter()`, which calls `_own()`."},
    {Py_tp_dealloc, emitter_dealloc},
    {Py_tp_traverse, rb_fast_traverse},
    {Py_tp_clear, rb_fast_clear},
    {Py_tp_methods, emitter_methods},
    {Py_tp_members, rb_fast_members},
    {0, NULL},
};

PyType_Spec rb_fast_emitter_spec = {
    .name = "ringbus._core.Emitter",
    .basicsize = sizeof(rb_fast_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = emitter_slots,
};
