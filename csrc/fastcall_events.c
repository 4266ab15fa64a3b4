/* The builtin that writes events as text: JSON objects with their place in front, as lines or as
 * frames of server-sent events, many in one bytes object.
 *
 * An event's JSON is copied as it is, behind the brace that the place takes over. It may hold a raw
 * CR or LF between tokens alone, where a space means the same.
 */
#include "fastcall.h"

#include <stdbool.h>
#include <string.h>

enum { TOGETHER = 256, EPOCH_DIGITS = 16, NUMBER_DIGITS = 20 };

/* What of an envelope goes into the text. The objects are ours: another thread may change the
 * envelope meanwhile. */
struct event {
    PyObject *epoch_object;
    PyObject *payload_object;
    const char *epoch;
    const char *payload;
    size_t length;
    char seq[NUMBER_DIGITS + 1], ts_ns[NUMBER_DIGITS + 1];
    size_t seq_digits, ts_digits;
};

/* How each is written; `id` is NULL for lines. */
struct manner {
    const char *id, *end;
    Py_ssize_t id_length, end_length, most_bytes;
};

static PyObject *names[4]; /* of the attributes: epoch, seq, ts_ns, payload */

static size_t write_number(uint64_t number, bool is_negative, char *to) {
    char digits[NUMBER_DIGITS];
    size_t count = 0, at = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    if (is_negative) {
        to[at++] = '-';
    }
    while (count > 0) {
        to[at++] = digits[--count];
    }
    return at;
}

static int take_number(PyObject *envelope, PyObject *name, char *to, size_t *digits) {
    PyObject *object = PyObject_GetAttr(envelope, name);
    if (object == NULL) {
        return -1;
    }
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    uint64_t number = value < 0 ? -(uint64_t)value : (uint64_t)value;
    if (overflow > 0) {
        number = PyLong_AsUnsignedLongLong(object);
        value = 0;
    } else if (overflow < 0) {
        PyErr_SetString(PyExc_OverflowError, "a place has numbers of 64 bits");
    }
    Py_DECREF(object);
    if (PyErr_Occurred()) {
        return -1;
    }
    *digits = write_number(number, value < 0, to);
    return 0;
}

static int take_epoch(PyObject *envelope, struct event *event) {
    Py_ssize_t length;
    event->epoch_object = PyObject_GetAttr(envelope, names[0]);
    if (event->epoch_object == NULL) {
        return -1;
    }
    event->epoch = PyUnicode_AsUTF8AndSize(event->epoch_object, &length);
    if (event->epoch == NULL) {
        return -1;
    }
    /* Nothing can break out of its field. */
    if (length != EPOCH_DIGITS || strspn(event->epoch, "0123456789abcdef") != EPOCH_DIGITS) {
        PyErr_Format(PyExc_ValueError, "an epoch has 16 hex digits, not %.100R",
                     event->epoch_object);
        return -1;
    }
    return 0;
}

static int refuse(PyObject *payload) {
    PyObject *module = PyImport_ImportModule("ringbus.errors");
    PyObject *kind = module == NULL ? NULL : PyObject_GetAttrString(module, "EventError");
    if (kind != NULL) {
        PyErr_Format(kind, "not an event: %.200R", payload);
    }
    Py_XDECREF(module);
    Py_XDECREF(kind);
    return -1;
}

static int take_payload(PyObject *envelope, struct event *event) {
    char *start;
    Py_ssize_t length;
    event->payload_object = PyObject_GetAttr(envelope, names[3]);
    if (event->payload_object == NULL ||
        PyBytes_AsStringAndSize(event->payload_object, &start, &length) != 0) {
        return -1;
    }
    if (length < 1 || start[0] != '{') {
        return refuse(event->payload_object);
    }
    event->payload = start + 1;
    event->length = (size_t)length - 1;
    return 0;
}

static int take(PyObject *envelope, struct event *event) {
    *event = (struct event){.epoch_object = NULL};
    if (take_epoch(envelope, event) == 0 && take_payload(envelope, event) == 0 &&
        take_number(envelope, names[1], event->seq, &event->seq_digits) == 0 &&
        take_number(envelope, names[2], event->ts_ns, &event->ts_digits) == 0) {
        return 0;
    }
    return -1;
}

static void let_go(struct event *events, size_t count) {
    for (size_t i = 0; i < count; i++) {
        Py_XDECREF(events[i].epoch_object);
        Py_XDECREF(events[i].payload_object);
    }
}

#define PUT(to, literal) put(to, literal, sizeof literal - 1)
static char *put(char *to, const char *from, size_t length) {
    memcpy(to, from, length);
    return to + length;
}

static const char ID_END[] = "\ndata: ";
static const char PLACE[] = "{\"epoch\":\"\",\"seq\":,\"ts_ns\":,";

static size_t size_of(const struct event *event, const struct manner *how) {
    size_t size = sizeof PLACE - 1 + EPOCH_DIGITS + event->seq_digits + event->ts_digits +
                  event->length + (size_t)how->end_length;
    if (how->id != NULL) {
        size += (size_t)how->id_length + EPOCH_DIGITS + 1 + event->seq_digits + sizeof ID_END - 1;
    }
    return size;
}

static void replace(char *text, size_t length, char wrong) {
    for (char *at = text; (at = memchr(at, wrong, length - (size_t)(at - text))) != NULL; at++) {
        *at = ' ';
    }
}

static char *write_event(char *to, const struct event *event, const struct manner *how) {
    if (how->id != NULL) {
        to = put(to, how->id, (size_t)how->id_length);
        to = put(to, event->epoch, EPOCH_DIGITS);
        to = PUT(to, "-");
        to = put(to, event->seq, event->seq_digits);
        to = PUT(to, ID_END);
    }
    to = PUT(to, "{\"epoch\":\"");
    to = put(to, event->epoch, EPOCH_DIGITS);
    to = PUT(to, "\",\"seq\":");
    to = put(to, event->seq, event->seq_digits);
    to = PUT(to, ",\"ts_ns\":");
    to = put(to, event->ts_ns, event->ts_digits);
    to = PUT(to, ",");
    char *json = to;
    to = put(to, event->payload, event->length);
    replace(json, event->length, '\n');
    replace(json, event->length, '\r');
    return put(to, how->end, (size_t)how->end_length);
}

static PyObject *write_all(const struct event *events, size_t count, const struct manner *how) {
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += size_of(&events[i], how);
    }
    PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (text != NULL) {
        char *to = PyBytes_AsString(text);
        for (size_t i = 0; i < count; i++) {
            to = write_event(to, &events[i], how);
        }
    }
    return text;
}

/* One piece from envelope *at on, which is moved. */
static PyObject *next_piece(PyObject *envelopes, Py_ssize_t *at, const struct manner *how) {
    struct event events[TOGETHER];
    PyObject *piece = NULL;
    size_t count = 0, size = 0;
    int failed = 0;
    while (!failed && count < TOGETHER && *at < PyList_Size(envelopes) &&
           (count == 0 || size < (size_t)how->most_bytes)) {
        PyObject *envelope = PyList_GetItem(envelopes, (*at)++); /* borrowed, so kept */
        Py_INCREF(envelope);
        failed = take(envelope, &events[count]);
        Py_DECREF(envelope);
        size += failed ? 0 : size_of(&events[count], how);
        count++;
    }
    if (!failed) {
        piece = write_all(events, count, how);
    }
    let_go(events, count);
    return piece;
}

static PyObject *event_text(PyObject *self, PyObject *args) {
    PyObject *envelopes, *pieces = PyList_New(0);
    struct manner how;
    (void)self;
    int failed = pieces == NULL ||
                 !PyArg_ParseTuple(args, "O!z#y#n", &PyList_Type, &envelopes, &how.id,
                                   &how.id_length, &how.end, &how.end_length, &how.most_bytes);
    for (Py_ssize_t at = 0; !failed && at < PyList_Size(envelopes);) {
        PyObject *piece = next_piece(envelopes, &at, &how);
        failed = piece == NULL || PyList_Append(pieces, piece) != 0;
        Py_XDECREF(piece);
    }
    if (failed) {
        Py_CLEAR(pieces);
    }
    return pieces;
}

static PyMethodDef method = {
    "event_text", event_text, METH_VARARGS,
    "event_text(envelopes, id, end, most_bytes, /)\n--\n\n"
    "Each envelope's event with its place in front, on one line and then `end`; with an `id`,\n"
    "as the frame whose id begins so. In pieces of at most 256 events, each a little over\n"
    "`most_bytes` at most. Raises `EventError` for a payload that is no event."};

PyObject *rb_fast_make_event_text(void) {
    static const char *const texts[] = {"epoch", "seq", "ts_ns", "payload"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        names[i] = PyUnicode_InternFromString(texts[i]);
        if (names[i] == NULL) {
            return NULL;
        }
    }
    return PyCFunction_New(&method, NULL);
}
