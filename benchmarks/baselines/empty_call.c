/* A builtin that does nothing, called in the way that emit() is called: the least that any call
 * from Python into C costs. */
#include <Python.h>

static PyObject *empty(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    (void)self, (void)args, (void)count, (void)names;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"empty", (PyCFunction)(void (*)(void))empty, METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "empty_call", .m_size = 0, .m_methods = methods};

PyMODINIT_FUNC PyInit_empty_call(void) { return PyModuleDef_Init(&module); }
