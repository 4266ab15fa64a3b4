/* The builtins that Python calls on the hot path: emit, emit_many, read, wait, event_text.
 *
 * A stock cffi call converts its arguments one by one and gives the interpreter lock away; the next
 * busy Python thread then keeps it for milliseconds. These types are plain builtins instead: they
 * keep the lock for what never waits and give it away only to sleep, or when another thread is
 * inside the same handle. Python's classes are derived from them, so that a call finds the builtin
 * as fast as any method. While they hold a handle they run no Python code and allocate nothing.
 *
 * The types own the C handle that they are given: it is freed with them, never before, so that
 * closing is safe while other threads are inside. Statuses that are errors go to the `report`
 * callable, which raises; the table of exceptions is in Python (ringbus/_native.py).
 */
#include "fastcall.h"

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

int rb_fast_to_u32(PyObject *value, void *to) {
    unsigned long number = PyLong_AsUnsignedLong(value);
    if (number == (unsigned long)-1 && PyErr_Occurred()) {
        return 0;
    }
    if (number > UINT32_MAX) {
        PyErr_Format(PyExc_OverflowError, "%lu does not fit in 32 bits", number);
        return 0;
    }
    *(uint32_t *)to = (uint32_t)number;
    return 1;
}

PyObject *rb_fast_own(PyObject *object, PyObject *args) {
    rb_fast_handle *self = (rb_fast_handle *)object;
    PyObject *address;
    PyObject *callable;
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
    if (self->handle != NULL) {
        Py_RETURN_FALSE;
    }
    Py_INCREF(callable);
    self->report = callable;
    /* [own:A] release; pairs with [own:B]: whoever sees the handle sees what reports for it */
    __atomic_store_n(&self->handle, handle, __ATOMIC_RELEASE);
    Py_RETURN_TRUE;
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
    if (((rb_fast_handle *)self)->handle != NULL) {
        free_handle(((rb_fast_handle *)self)->handle);
    }
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

PyMemberDef rb_fast_members[] = {
    {"report", T_OBJECT, offsetof(rb_fast_handle, report), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* Steals `object`. */
static int add(PyObject *module, const char *name, PyObject *object) {
    int failed = object == NULL || PyObject_SetAttrString(module, name, object) != 0;
    Py_XDECREF(object);
    return failed ? -1 : 0;
}

static int add_all(PyObject *module) {
    int failed = add(module, "Emitter", PyType_FromSpec(&rb_fast_emitter_spec)) != 0 ||
                 add(module, "Subscriber", PyType_FromSpec(&rb_fast_subscriber_spec)) != 0 ||
                 add(module, "Record", rb_fast_make_record_type()) != 0 ||
                 add(module, "event_text", rb_fast_make_event_text()) != 0;
    return failed ? -1 : 0;
}

/* Adds the builtins to the cffi module that this file is part of; called once, when it is imported.
 * cffi calls it without the interpreter lock. */
int rb_install_builtins(void) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module = PyImport_AddModule("ringbus._core"); /* borrowed */
    int status = module == NULL || add_all(module) != 0 ? -1 : RB_OK;
    if (status != RB_OK) {
        PyErr_Print();
    }
    PyGILState_Release(state);
    return status;
}
