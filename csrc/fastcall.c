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
#include "fastcall.h"

PyTypeObject *rb_fast_record_type;
allocfunc rb_fast_record_alloc;

int rb_fast_report(PyObject *callable, int status, const rb_stall *stall, size_t published,
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

PyObject *rb_fast_fail(PyObject *callable, int status, const rb_stall *stall, size_t published,
                       uint64_t value) {
    if (rb_fast_report(callable, status, stall, published, value) == 0) {
        PyErr_Format(PyExc_SystemError, "ringbus: unreported status %d", status);
    }
    return NULL;
}

PyObject *rb_fast_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
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
    rb_fast_handle *self = (rb_fast_handle *)allocate(type, 0);
    if (self != NULL) {
        self->handle = handle;
        Py_INCREF(callable);
        self->report = callable;
    }
    return (PyObject *)self;
}

int rb_fast_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((rb_fast_handle *)self)->report);
    return 0;
}

int rb_fast_clear(PyObject *self) {
    Py_CLEAR(((rb_fast_handle *)self)->report);
    return 0;
}

void rb_fast_dealloc(PyObject *self, void (*free_handle)(void *)) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    rb_fast_clear(self);
    free_handle(((rb_fast_handle *)self)->handle);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

PyMemberDef rb_fast_members[] = {
    {"report", T_OBJECT, offsetof(rb_fast_handle, report), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
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
    .n_in_sequence = RB_RECORD_FIELDS,
};

static int add_types(PyObject *module) {
    PyObject *emitter = PyType_FromSpec(&rb_fast_emitter_spec);
    PyObject *subscriber = PyType_FromSpec(&rb_fast_subscriber_spec);
    rb_fast_record_type = PyStructSequence_NewType(&record_desc);
    int failed = emitter == NULL || subscriber == NULL || rb_fast_record_type == NULL ||
                 PyObject_SetAttrString(module, "Emitter", emitter) != 0 ||
                 PyObject_SetAttrString(module, "Subscriber", subscriber) != 0 ||
                 PyObject_SetAttrString(module, "Record", (PyObject *)rb_fast_record_type) != 0;
    Py_XDECREF(emitter);
    Py_XDECREF(subscriber);
    if (!failed) {
        rb_fast_record_alloc = (allocfunc)PyType_GetSlot(rb_fast_record_type, Py_tp_alloc);
    }
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
