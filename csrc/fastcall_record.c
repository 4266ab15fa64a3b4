/* The builtin record: one object and its payload, for what a reader makes of every record.
 *
 * The numbers stay as they are until somebody asks for one; most readers never ask for most of
 * them. What a record holds refers to nothing, so the collector need not know it.
 */
#include "fastcall.h"

typedef struct {
    PyObject_HEAD PyObject *payload;
    uint64_t seq;
    uint64_t ts_ns;
    uint32_t kind;
    uint32_t emitter;
    char transient;
} fast_record;

static PyTypeObject *record_type;

PyObject *rb_fast_record(const rb_record *record, PyObject *payload) {
    fast_record *self = PyObject_New(fast_record, record_type);
    if (self == NULL) {
        Py_DECREF(payload);
        return NULL;
    }
    self->payload = payload;
    self->seq = record->seq;
    self->ts_ns = record->ts_ns;
    self->kind = record->kind;
    self->emitter = record->emitter;
    self->transient = (record->flags & RB_RECORD_TRANSIENT) != 0;
    return (PyObject *)self;
}

static int to_u64(PyObject *value, void *to) {
    unsigned long long number = PyLong_AsUnsignedLongLong(value);
    *(uint64_t *)to = number;
    return number != (unsigned long long)-1 || PyErr_Occurred() == NULL;
}

static PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"seq", "ts_ns", "payload", "kind", "transient", "emitter", NULL};
    rb_record record = {0};
    PyObject *payload;
    int transient = 0;
    (void)type; /* there are no others */
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&O&S|O&pO&", names, to_u64, &record.seq,
                                     to_u64, &record.ts_ns, &payload, rb_fast_to_u32, &record.kind,
                                     &transient, rb_fast_to_u32, &record.emitter)) {
        return NULL;
    }
    record.flags = transient ? RB_RECORD_TRANSIENT : 0;
    Py_INCREF(payload);
    return rb_fast_record(&record, payload);
}

static void record_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(((fast_record *)object)->payload);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* All fields, in the order of the constructor's arguments. */
static PyObject *fields(PyObject *object) {
    const fast_record *self = (fast_record *)object;
    return Py_BuildValue("KKOINI", (unsigned long long)self->seq, (unsigned long long)self->ts_ns,
                         self->payload, self->kind, PyBool_FromLong(self->transient),
                         self->emitter);
}

static PyObject *record_compare(PyObject *one, PyObject *other, int how) {
    if (Py_TYPE(one) != Py_TYPE(other) || (how != Py_EQ && how != Py_NE)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    PyObject *ours = fields(one), *theirs = fields(other), *result = NULL;
    if (ours != NULL && theirs != NULL) {
        result = PyObject_RichCompare(ours, theirs, how);
    }
    Py_XDECREF(ours);
    Py_XDECREF(theirs);
    return result;
}

static Py_hash_t record_hash(PyObject *self) {
    PyObject *all = fields(self);
    Py_hash_t hash = all == NULL ? -1 : PyObject_Hash(all);
    Py_XDECREF(all);
    return hash;
}

static PyObject *record_repr(PyObject *object) {
    const fast_record *self = (fast_record *)object;
    return PyUnicode_FromFormat("Record(seq=%llu, ts_ns=%llu, payload=%R, kind=%u, transient=%s, "
                                "emitter=%u)",
                                (unsigned long long)self->seq, (unsigned long long)self->ts_ns,
                                self->payload, self->kind, self->transient ? "True" : "False",
                                self->emitter);
}

static PyObject *record_reduce(PyObject *self, PyObject *unused) {
    (void)unused;
    PyObject *all = fields(self);
    return all == NULL ? NULL : Py_BuildValue("ON", Py_TYPE(self), all);
}

static PyMethodDef record_methods[] = {
    {"__reduce__", record_reduce, METH_NOARGS, "How to copy and to pickle it."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef record_members[] = {
    {"seq", T_ULONGLONG, offsetof(fast_record, seq), READONLY,
     "number of the record in its epoch, from 0"},
    {"ts_ns", T_ULONGLONG, offsetof(fast_record, ts_ns), READONLY,
     "nanoseconds since 1970 when it was emitted"},
    {"payload", T_OBJECT_EX, offsetof(fast_record, payload), READONLY, "its bytes"},
    {"kind", T_UINT, offsetof(fast_record, kind), READONLY,
     "what the emitter said it is; 0 by default"},
    {"transient", T_BOOL, offsetof(fast_record, transient), READONLY,
     "broadcast, but not kept in history"},
    {"emitter", T_UINT, offsetof(fast_record, emitter), READONLY,
     "tells the emitters of one ring apart"},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot record_slots[] = {
    {Py_tp_doc, "Record(seq, ts_ns, payload, kind=0, transient=False, emitter=0)\n--\n\n"
                "One record read from a ring."},
    {Py_tp_new, record_new},
    {Py_tp_dealloc, record_dealloc},
    {Py_tp_richcompare, record_compare},
    {Py_tp_hash, record_hash},
    {Py_tp_repr, record_repr},
    {Py_tp_methods, record_methods},
    {Py_tp_members, record_members},
    {0, NULL},
};

static PyType_Spec record_spec = {
    .name = "ringbus.Record",
    .basicsize = sizeof(fast_record),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = record_slots,
};

PyObject *rb_fast_make_record_type(void) {
    PyObject *type = PyType_FromSpec(&record_spec);
    record_type = (PyTypeObject *)type;
    return type;
}
