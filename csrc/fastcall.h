/* What the builtin types share; fastcall.c says what they are for. */
#ifndef RB_FASTCALL_H
#define RB_FASTCALL_H

/* Free-threaded builds have no stable ABI before 3.15, so the whole API is used there. Nothing here
 * counts on the interpreter lock: a handle has a lock of its own, and `untold` is an atomic word. */
#define PY_SSIZE_T_CLEAN
#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <structmember.h>

#include "ring.h"

/* What Python's Ring and Subscriber are derived from: a C handle and the callable that raises. */
typedef struct {
    PyObject_HEAD void *handle; /* NULL: not yet */
    PyObject *report;
    uint64_t untold; /* records missed that the next read() reports; emitters: unused */
} rb_fast_handle;

extern PyType_Spec rb_fast_emitter_spec;
extern PyType_Spec rb_fast_subscriber_spec;

PyObject *rb_fast_make_record_type(void);
PyObject *rb_fast_make_event_text(void);

/* Steals `payload`, also when it fails. */
PyObject *rb_fast_record(const rb_record *record, PyObject *payload);

/* A converter for PyArg_Parse: 1, or 0 with an exception set. */
int rb_fast_to_u32(PyObject *value, void *to);

/* report(status, notice, gate, lag, published, value): raises (-1), or returns for a mere notice. */
int rb_fast_report(PyObject *callable, int status, const rb_stall *stall, size_t published,
                   uint64_t value);
/* The same for a status that is an error: an exception is set, whatever the callable does. */
PyObject *rb_fast_fail(PyObject *callable, int status, const rb_stall *stall, size_t published,
                       uint64_t value);

/* What both types have. */
PyObject *rb_fast_own(PyObject *self, PyObject *args);
#define RB_FAST_OWN                                                                                \
    {                                                                                              \
        "_own", rb_fast_own, METH_VARARGS,                                                         \
            "_own($self, address, report, /)\n--\n\nTake over a C handle, once; False if there "   \
            "is one."                                                                              \
    }
extern PyMemberDef rb_fast_members[];
int rb_fast_traverse(PyObject *self, visitproc visit, void *arg);
int rb_fast_clear(PyObject *self);
void rb_fast_dealloc(PyObject *self, void (*free_handle)(void *));

#endif
