/* The functions of libmicrohttpd's microhttpd_ws.h, for its test program test_websocket.c, in terms of
   framewire: `stream.py` in an embedded interpreter does the work.

   This file checks pointers, and allocates with the callbacks of the caller. An unexpected exception
   ends the program. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "microhttpd.h"
#include "microhttpd_ws.h"

typedef enum MHD_WEBSOCKET_STATUS status;

struct MHD_WebSocketStream {
    PyObject *self; /* a WebSocketStream of stream.py */
    MHD_WebSocketMallocCallback allocate;
    MHD_WebSocketReallocCallback reallocate;
    MHD_WebSocketFreeCallback release;
    MHD_WebSocketRandomNumberGenerator random;
    void *random_closure;
    PyObject *undelivered; /* the payload of a decoded frame for which no memory was left, or NULL */
    status undelivered_status;
};

/* ---- Python ---- */

static _Noreturn void fail(void) {
    PyErr_Print();
    exit(2);
}

/* Return a new reference; an exception ends the program. */
static PyObject *checked(PyObject *object) {
    if (object == NULL)
        fail();
    return object;
}

/* Return the module stream.py, a borrowed reference; start the interpreter first. */
static PyObject *module(void) {
    static PyObject *stream;
    if (stream == NULL) {
        PyConfig config;
        PyConfig_InitPythonConfig(&config);
        PyConfig_SetBytesString(&config, &config.program_name, PYTHON);
        PyStatus started = Py_InitializeFromConfig(&config);
        if (PyStatus_Exception(started))
            Py_ExitStatusException(started);
        PyConfig_Clear(&config);
        stream = checked(PyImport_ImportModule("stream"));
    }
    return stream;
}

/* Return the status in a result of stream.py. */
static status status_of(PyObject *result) {
    return (status)PyLong_AsLong(PyTuple_GetItem(result, 0));
}

static PyObject *view(const char *data, size_t size) {
    return checked(PyMemoryView_FromMemory(size ? (char *)data : "", (Py_ssize_t)size, PyBUF_READ));
}

static PyObject *bytes(const char *data, size_t size) {
    return checked(PyBytes_FromStringAndSize(size ? data : "", (Py_ssize_t)size));
}

static PyObject *fill_random(PyObject *capsule, PyObject *size) {
    struct MHD_WebSocketStream *ws = PyCapsule_GetPointer(capsule, NULL);
    char octets[16];
    size_t asked = PyLong_AsSize_t(size);
    if (asked > sizeof octets)
        return PyErr_Format(PyExc_ValueError, "too many random bytes");
    return PyBytes_FromStringAndSize(octets, (Py_ssize_t)ws->random(ws->random_closure, octets, asked));
}

static PyMethodDef fill_random_method = {"fill_random", fill_random, METH_O, NULL};

/* ---- streams ---- */

_MHD_EXTERN status MHD_websocket_stream_init2(struct MHD_WebSocketStream **ws, int flags, size_t max_payload_size,
                                              MHD_WebSocketMallocCallback callback_malloc,
                                              MHD_WebSocketReallocCallback callback_realloc,
                                              MHD_WebSocketFreeCallback callback_free, void *cls_rng,
                                              MHD_WebSocketRandomNumberGenerator callback_rng) {
    if (ws == NULL)
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    *ws = NULL;
    if (callback_malloc == NULL || callback_realloc == NULL || callback_free == NULL)
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    PyObject *stream = module();
    struct MHD_WebSocketStream *made = malloc(sizeof *made); /* the callbacks are for payloads and frames */
    if (made == NULL)
        return MHD_WEBSOCKET_STATUS_MEMORY_ERROR;
    *made = (struct MHD_WebSocketStream){NULL,         callback_malloc, callback_realloc, callback_free,
                                         callback_rng, cls_rng,         NULL,             MHD_WEBSOCKET_STATUS_OK};
    PyObject *source = Py_NewRef(Py_None);
    if (callback_rng != NULL) {
        PyObject *capsule = checked(PyCapsule_New(made, NULL, NULL));
        Py_SETREF(source, checked(PyCFunction_New(&fill_random_method, capsule)));
        Py_DECREF(capsule);
    }
    unsigned long long limit = max_payload_size;
    made->self = PyObject_CallMethod(stream, "WebSocketStream", "iKN", flags, limit, source);
    if (made->self == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            fail();
        PyErr_Clear();
        free(made);
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    }
    *ws = made;
    return MHD_WEBSOCKET_STATUS_OK;
}

_MHD_EXTERN status MHD_websocket_stream_init(struct MHD_WebSocketStream **ws, int flags, size_t max_payload_size) {
    return MHD_websocket_stream_init2(ws, flags, max_payload_size, malloc, realloc, free, NULL, NULL);
}

_MHD_EXTERN status MHD_websocket_stream_free(struct MHD_WebSocketStream *ws) {
    if (ws == NULL)
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    Py_DECREF(ws->self);
    Py_XDECREF(ws->undelivered);
    free(ws);
    return MHD_WEBSOCKET_STATUS_OK;
}

_MHD_EXTERN status MHD_websocket_stream_invalidate(struct MHD_WebSocketStream *ws) {
    if (ws == NULL)
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    Py_DECREF(checked(PyObject_CallMethod(ws->self, "invalidate", NULL)));
    return MHD_WEBSOCKET_STATUS_OK;
}

_MHD_EXTERN enum MHD_WEBSOCKET_VALIDITY MHD_websocket_stream_is_valid(struct MHD_WebSocketStream *ws) {
    if (ws == NULL)
        return MHD_WEBSOCKET_VALIDITY_INVALID;
    PyObject *validity = checked(PyObject_GetAttrString(ws->self, "validity"));
    long value = PyLong_AsLong(validity);
    Py_DECREF(validity);
    return (enum MHD_WEBSOCKET_VALIDITY)value;
}

_MHD_EXTERN void *MHD_websocket_malloc(struct MHD_WebSocketStream *ws, size_t buf_len) {
    return ws == NULL ? NULL : ws->allocate(buf_len);
}

_MHD_EXTERN void *MHD_websocket_realloc(struct MHD_WebSocketStream *ws, void *buf, size_t new_buf_len) {
    return ws == NULL ? NULL : ws->reallocate(buf, new_buf_len);
}

_MHD_EXTERN int MHD_websocket_free(struct MHD_WebSocketStream *ws, void *buf) {
    if (ws == NULL)
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    ws->release(buf);
    return MHD_WEBSOCKET_STATUS_OK;
}

/* Copy bytes to new memory of the caller, with a NUL after them; false if there is no memory. */
static int give(struct MHD_WebSocketStream *ws, PyObject *content, char **data, size_t *size) {
    size_t length = (size_t)PyBytes_GET_SIZE(content);
    char *copy = ws->allocate(length + 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, PyBytes_AS_STRING(content), length + 1);
    *data = copy;
    *size = length;
    return 1;
}

/* ---- decoding ---- */

/* Deliver the payload of the last frame, for which there may have been no memory before. */
static status deliver(struct MHD_WebSocketStream *ws, char **payload, size_t *payload_len) {
    if (PyBytes_GET_SIZE(ws->undelivered) && !give(ws, ws->undelivered, payload, payload_len))
        return MHD_WEBSOCKET_STATUS_MEMORY_ERROR;
    Py_CLEAR(ws->undelivered);
    return ws->undelivered_status;
}

_MHD_EXTERN status MHD_websocket_decode(struct MHD_WebSocketStream *ws, const char *streambuf, size_t streambuf_len,
                                        size_t *streambuf_read_len, char **payload, size_t *payload_len) {
    if (streambuf_read_len != NULL)
        *streambuf_read_len = 0;
    if (payload != NULL)
        *payload = NULL;
    if (payload_len != NULL)
        *payload_len = 0;
    if (ws == NULL || streambuf_read_len == NULL || payload == NULL || payload_len == NULL ||
        (streambuf == NULL && streambuf_len != 0))
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    if (ws->undelivered != NULL)
        return deliver(ws, payload, payload_len);
    PyObject *result = checked(PyObject_CallMethod(ws->self, "decode", "N", view(streambuf, streambuf_len)));
    ws->undelivered_status = status_of(result);
    *streambuf_read_len = PyLong_AsSize_t(PyTuple_GetItem(result, 1));
    ws->undelivered = Py_NewRef(PyTuple_GetItem(result, 2));
    Py_DECREF(result);
    return deliver(ws, payload, payload_len);
}

_MHD_EXTERN status MHD_websocket_split_close_reason(const char *payload, size_t payload_len,
                                                    unsigned short *reason_code, const char **reason_utf8,
                                                    size_t *reason_utf8_len) {
    status split = MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    long code = MHD_WEBSOCKET_CLOSEREASON_NO_REASON;
    int has_reason = 0;
    if (payload_len > 125) {
        split = MHD_WEBSOCKET_STATUS_MAXIMUM_SIZE_EXCEEDED;
    } else if (payload != NULL || payload_len == 0) {
        PyObject *content = bytes(payload, payload_len);
        PyObject *result = checked(PyObject_CallMethod(module(), "split_close_reason", "N", content));
        split = status_of(result);
        code = PyLong_AsLong(PyTuple_GetItem(result, 1));
        has_reason = split == MHD_WEBSOCKET_STATUS_OK && payload_len > 2;
        Py_DECREF(result);
    }
    if (reason_code != NULL)
        *reason_code = (unsigned short)code;
    if (reason_utf8 != NULL)
        *reason_utf8 = has_reason ? payload + 2 : NULL;
    if (reason_utf8_len != NULL)
        *reason_utf8_len = has_reason ? payload_len - 2 : 0;
    return split;
}

/* ---- encoding ---- */

/* Check the arguments that all encoding functions have, and clear the frame. */
static status begin_encode(struct MHD_WebSocketStream *ws, const char *payload, size_t payload_len, char **frame,
                           size_t *frame_len) {
    if (frame != NULL)
        *frame = NULL;
    if (frame_len != NULL)
        *frame_len = 0;
    if (ws == NULL || frame == NULL || frame_len == NULL || (payload == NULL && payload_len != 0))
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    return payload_len > PY_SSIZE_T_MAX ? MHD_WEBSOCKET_STATUS_MAXIMUM_SIZE_EXCEEDED : MHD_WEBSOCKET_STATUS_OK;
}

/* Give the frame of a result to the caller. Steals the reference. */
static status end_encode(struct MHD_WebSocketStream *ws, PyObject *result, char **frame, size_t *frame_len) {
    status encoded = status_of(checked(result));
    if (encoded == MHD_WEBSOCKET_STATUS_OK && !give(ws, PyTuple_GetItem(result, 1), frame, frame_len))
        encoded = MHD_WEBSOCKET_STATUS_MEMORY_ERROR;
    Py_DECREF(result);
    return encoded;
}

_MHD_EXTERN status MHD_websocket_encode_text(struct MHD_WebSocketStream *ws, const char *payload_utf8,
                                             size_t payload_utf8_len, int fragmentation, char **frame,
                                             size_t *frame_len, int *utf8_step) {
    status checked_arguments = begin_encode(ws, payload_utf8, payload_utf8_len, frame, frame_len);
    if (checked_arguments != MHD_WEBSOCKET_STATUS_OK)
        return checked_arguments;
    if (fragmentation != MHD_WEBSOCKET_FRAGMENTATION_NONE && utf8_step == NULL)
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    PyObject *content = bytes(payload_utf8, payload_utf8_len);
    PyObject *result = checked(PyObject_CallMethod(ws->self, "encode_text", "Nii", content, fragmentation,
                                                   utf8_step == NULL ? 0 : *utf8_step));
    if (utf8_step != NULL)
        *utf8_step = (int)PyLong_AsLong(PyTuple_GetItem(result, 2));
    return end_encode(ws, result, frame, frame_len);
}

_MHD_EXTERN status MHD_websocket_encode_binary(struct MHD_WebSocketStream *ws, const char *payload, size_t payload_len,
                                               int fragmentation, char **frame, size_t *frame_len) {
    status checked_arguments = begin_encode(ws, payload, payload_len, frame, frame_len);
    if (checked_arguments != MHD_WEBSOCKET_STATUS_OK)
        return checked_arguments;
    PyObject *content = bytes(payload, payload_len);
    PyObject *result = PyObject_CallMethod(ws->self, "encode_binary", "Ni", content, fragmentation);
    return end_encode(ws, result, frame, frame_len);
}

static status encode_control(const char *method, struct MHD_WebSocketStream *ws, const char *payload,
                             size_t payload_len, char **frame, size_t *frame_len) {
    status checked_arguments = begin_encode(ws, payload, payload_len, frame, frame_len);
    if (checked_arguments != MHD_WEBSOCKET_STATUS_OK)
        return checked_arguments;
    return end_encode(ws, PyObject_CallMethod(ws->self, method, "N", bytes(payload, payload_len)), frame, frame_len);
}

_MHD_EXTERN status MHD_websocket_encode_ping(struct MHD_WebSocketStream *ws, const char *payload, size_t payload_len,
                                             char **frame, size_t *frame_len) {
    return encode_control("encode_ping", ws, payload, payload_len, frame, frame_len);
}

_MHD_EXTERN status MHD_websocket_encode_pong(struct MHD_WebSocketStream *ws, const char *payload, size_t payload_len,
                                             char **frame, size_t *frame_len) {
    return encode_control("encode_pong", ws, payload, payload_len, frame, frame_len);
}

_MHD_EXTERN status MHD_websocket_encode_close(struct MHD_WebSocketStream *ws, unsigned short reason_code,
                                              const char *reason_utf8, size_t reason_utf8_len, char **frame,
                                              size_t *frame_len) {
    status checked_arguments = begin_encode(ws, reason_utf8, reason_utf8_len, frame, frame_len);
    if (checked_arguments != MHD_WEBSOCKET_STATUS_OK)
        return checked_arguments;
    PyObject *reason = bytes(reason_utf8, reason_utf8_len);
    return end_encode(ws, PyObject_CallMethod(ws->self, "encode_close", "iN", reason_code, reason), frame, frame_len);
}

/* ---- the opening handshake ---- */

static status check(const char *name, const char *value) {
    if (value == NULL)
        return MHD_WEBSOCKET_STATUS_NO_WEBSOCKET_HANDSHAKE_HEADER;
    PyObject *text = checked(PyUnicode_DecodeLatin1(value, (Py_ssize_t)strlen(value), NULL));
    PyObject *result = checked(PyObject_CallMethod(module(), "check", "sN", name, text));
    status checked_value = status_of(result);
    Py_DECREF(result);
    return checked_value;
}

_MHD_EXTERN status MHD_websocket_check_http_version(const char *http_version) {
    return check("version", http_version);
}

_MHD_EXTERN status MHD_websocket_check_connection_header(const char *connection_header) {
    return check("connection", connection_header);
}

_MHD_EXTERN status MHD_websocket_check_upgrade_header(const char *upgrade_header) {
    return check("upgrade", upgrade_header);
}

_MHD_EXTERN status MHD_websocket_check_version_header(const char *version_header) {
    return check("sec-websocket-version", version_header);
}

_MHD_EXTERN status MHD_websocket_create_accept_header(const char *sec_websocket_key, char *sec_websocket_accept) {
    if (sec_websocket_accept == NULL)
        return MHD_WEBSOCKET_STATUS_PARAMETER_ERROR;
    *sec_websocket_accept = 0;
    if (sec_websocket_key == NULL)
        return MHD_WEBSOCKET_STATUS_NO_WEBSOCKET_HANDSHAKE_HEADER;
    PyObject *result = checked(PyObject_CallMethod(module(), "create_accept_header", "s", sec_websocket_key));
    status created = status_of(result);
    if (created == MHD_WEBSOCKET_STATUS_OK)
        memcpy(sec_websocket_accept, PyBytes_AsString(PyTuple_GetItem(result, 1)), 29);
    Py_DECREF(result);
    return created;
}
