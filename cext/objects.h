/* Python objects at no more cost than theirs: ints that are indices, and a str of ASCII or a bytes that is written while
   nobody else has seen it.

   Exceptions that are not passed on are caught here, or by PyErr_ExceptionMatches. Cython's `except` and `with` make a
   traceback first, and crash if there is no memory for it; an `except` that ends in `raise` does not, nor `finally`. */
#ifndef FRAMEWIRE_OBJECTS_H
#define FRAMEWIRE_OBJECTS_H

#include <Python.h>

#include <stdint.h>
#include <string.h>
#if defined(Py_GIL_DISABLED) && defined(_MSC_VER)
#include <intrin.h>
#endif

/* Whether what holds the GIL is alone with an object. */
#ifdef Py_GIL_DISABLED
#define FRAMEWIRE_GIL 0
#else
#define FRAMEWIRE_GIL 1
#endif

/* As PyNumber_AsSsize_t(number, NULL): an int that does not fit is clipped. In line for the small ones. */
static inline Py_ssize_t framewire_clip(PyObject *number)
{
    if (PyLong_CheckExact(number)) {
#if PY_VERSION_HEX >= 0x030C0000
        if (PyUnstable_Long_IsCompact((PyLongObject *)number))
            return PyUnstable_Long_CompactValue((PyLongObject *)number);
#else
        if (Py_SIZE(number) == 0)
            return 0;
        if (Py_SIZE(number) == 1)
            return (Py_ssize_t)((PyLongObject *)number)->ob_digit[0];
#endif
    }
    return PyNumber_AsSsize_t(number, NULL);
}

/* A view of an object whose items are contiguous bytes; flags are PyBUF_CONTIG or PyBUF_CONTIG_RO. Returns 0, and sets no
   error, for all else: what can be cast to bytes, and why the rest cannot, is for memoryview to say. */
static inline int framewire_get_octets(PyObject *data, Py_buffer *view, int flags)
{
    if (PyObject_GetBuffer(data, view, flags | PyBUF_FORMAT) < 0) {
        PyErr_Clear();
        return 0;
    }
    if (view->ndim == 1 && (view->format == NULL || strcmp(view->format, "B") == 0))
        return 1;
    PyBuffer_Release(view);
    return 0;
}

/* Where the characters of a fresh PyUnicode_New(size, 127), or the content of a bytes object, lie. */
static inline uint8_t *framewire_str_data(PyObject *text)
{
    return (uint8_t *)((PyASCIIObject *)text + 1);
}

static inline uint8_t *framewire_bytes_data(PyObject *bytes)
{
    return (uint8_t *)PyBytes_AS_STRING(bytes);
}

/* The object itself, when it is made: for Cython a new reference, which it takes over. */
static inline PyObject *framewire_made(PyObject *data)
{
    return data;
}

/* What codec.decode(payload, most, True) returns, or the ValueError that it raises. */
static inline PyObject *framewire_decoded(PyObject *codec, PyObject *decode, PyObject *payload, PyObject *most)
{
    PyObject *arguments[] = {codec, payload, most, Py_True};
    PyObject *result = PyObject_VectorcallMethod(decode, arguments, 4, NULL);
    if (result != NULL || !PyErr_ExceptionMatches(PyExc_ValueError))
        return result;
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *traceback;
    PyErr_Fetch(&type, &result, &traceback);
    PyErr_NormalizeException(&type, &result, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return result;
#endif
}

/* One caller at a time: takes the flag and returns 1, or 0 if it is taken. With the GIL nobody comes between. */
static inline int framewire_enter(uint8_t *busy)
{
#ifndef Py_GIL_DISABLED
    int free = !*busy;
    *busy = 1;
    return free;
#elif defined(_MSC_VER)
    return !_InterlockedExchange8((volatile char *)busy, 1);
#else
    return !__atomic_exchange_n(busy, 1, __ATOMIC_ACQUIRE);
#endif
}

static inline void framewire_leave(uint8_t *busy)
{
#ifndef Py_GIL_DISABLED
    *busy = 0;
#elif defined(_MSC_VER)
    _InterlockedExchange8((volatile char *)busy, 0);
#else
    __atomic_store_n(busy, 0, __ATOMIC_RELEASE);
#endif
}

/* Appends to a list that only the caller knows, and takes over the reference to item. */
static inline int framewire_append(PyObject *list, PyObject *item)
{
    Py_ssize_t size = PyList_GET_SIZE(list);
    if (size < ((PyListObject *)list)->allocated) {
        PyList_SET_ITEM(list, size, item);
        Py_SET_SIZE((PyVarObject *)list, size + 1);
        return 0;
    }
    int result = PyList_Append(list, item);
    Py_DECREF(item);
    return result;
}

/* Payloads of up to 32 bytes, unmasked in line: the call of a kernel would cost more than its work. Returns bits
   of which 0x80 in any byte says that the result is not ASCII. */
static inline uint64_t framewire_mask_short(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    uint64_t a, b, c, d, keys = (uint64_t)key << 32 | key, last;
    uint8_t turned[12];
    memcpy(turned, &keys, 8);
    memcpy(turned + 8, &keys, 4);
    memcpy(&last, turned + size % 4, 8); /* the key as the last 8 bytes meet it */
    if (size >= 8) {
        memcpy(&a, src, 8);
        memcpy(&d, src + size - 8, 8);
        a ^= keys;
        d ^= last;
        if (size > 16) {
            memcpy(&b, src + 8, 8);
            memcpy(&c, src + size - 16, 8);
            b ^= keys;
            c ^= last;
            memcpy(dst + 8, &b, 8);
            memcpy(dst + size - 16, &c, 8);
        } else {
            b = c = 0;
        }
        memcpy(dst, &a, 8);
        memcpy(dst + size - 8, &d, 8);
        return a | b | c | d;
    }
    a = 0;
    for (size_t i = 0; i < size; i++) {
        dst[i] = src[i] ^ turned[i];
        a |= dst[i];
    }
    return a;
}

#endif
