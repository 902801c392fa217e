/* The C API and the internals of CPython that the extensions rely on; docs/internals.md lists the
   versions for which each assumption holds.

   Exceptions that are not propagated are caught here, or with PyErr_ExceptionMatches in Cython: an
   `except` or `with` block of Cython creates a traceback first, and crashes if there is no memory
   for it. An `except` that ends in a bare `raise` is safe, and so is `finally`.

   Every function needs the GIL (on free-threaded builds: an attached thread). */
#ifndef FRAMEWIRE_CPYTHON_COMPAT_H
#define FRAMEWIRE_CPYTHON_COMPAT_H

#include <Python.h>

#include <stdint.h>
#include <string.h>
#if defined(Py_GIL_DISABLED) && defined(_MSC_VER)
#include <intrin.h>
#endif

/* 1 if holding the GIL gives exclusive access to an object, 0 on free-threaded builds. */
#ifdef Py_GIL_DISABLED
#define FRAMEWIRE_GIL 0
#else
#define FRAMEWIRE_GIL 1
#endif

/* Like PyNumber_AsSsize_t(number, NULL), which clips an int that does not fit, but inlined for
   small ints. Return -1 with an error set if `number` is no integer. */
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

/* Fill `view` and return 1 if the items of `data` are contiguous bytes; flags are PyBUF_CONTIG or
   PyBUF_CONTIG_RO. Otherwise return 0 without an error set: memoryview then decides whether `data`
   can be cast to bytes, and raises if not. */
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

/* Return the characters of a fresh PyUnicode_New(size, 127), or of any compact ASCII str. */
static inline uint8_t *framewire_str_data(PyObject *text)
{
    return (uint8_t *)((PyASCIIObject *)text + 1);
}

/* Return the content of a bytes. */
static inline uint8_t *framewire_bytes_data(PyObject *bytes)
{
    return (uint8_t *)PyBytes_AS_STRING(bytes);
}

/* Pass the ownership of a new reference, or NULL with an error set, to Cython. */
static inline PyObject *framewire_steal_reference(PyObject *data)
{
    return data;
}

/* Call codec.decode(payload, max_content, True). Return a new reference: the result (*failed is 0),
   or the ValueError that was raised (*failed is 1). Return NULL with an error set for any other
   exception. */
static inline PyObject *framewire_decode(PyObject *codec, PyObject *decode, PyObject *payload, PyObject *max_content,
                                         int *failed)
{
    PyObject *arguments[] = {codec, payload, max_content, Py_True};
    PyObject *result = PyObject_VectorcallMethod(decode, arguments, 4, NULL);
    *failed = 0;
    if (result != NULL || !PyErr_ExceptionMatches(PyExc_ValueError))
        return result;
    *failed = 1;
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

/* Set the flag of an object that admits one caller at a time. Return 0 if it was already set. */
static inline int framewire_enter(uint8_t *busy)
{
#ifndef Py_GIL_DISABLED
    int was_free = !*busy;
    *busy = 1;
    return was_free;
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

/* Access to fields without the busy flag: atomic on free-threaded builds. */
#if !defined(Py_GIL_DISABLED)
#define FRAMEWIRE_LOAD(field) (*(field))
#define FRAMEWIRE_STORE(field, value) (*(field) = (value))
#elif defined(_MSC_VER)
#define FRAMEWIRE_LOAD(field) (*(volatile const __int64 *)(field))
#define FRAMEWIRE_STORE(field, value) (*(volatile __int64 *)(field) = (value))
#else
#define FRAMEWIRE_LOAD(field) __atomic_load_n(field, __ATOMIC_RELAXED)
#define FRAMEWIRE_STORE(field, value) __atomic_store_n(field, value, __ATOMIC_RELAXED)
#endif

static inline int64_t framewire_load(const int64_t *field)
{
    return FRAMEWIRE_LOAD(field);
}

static inline void framewire_store(int64_t *field, int64_t value)
{
    FRAMEWIRE_STORE(field, value);
}

static inline void framewire_add_one(int64_t *counter)
{
#if !defined(Py_GIL_DISABLED)
    ++*counter;
#elif defined(_MSC_VER)
    _InterlockedIncrement64((volatile __int64 *)counter);
#else
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
#endif
}

/* Append to a list that no other code has seen. Steal the reference to `item`, also on error, which
   is -1. */
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

/* Unmask a payload of up to 32 bytes inline, where a kernel call would cost more than its work. The
   result has bit 7 of some byte set unless all bytes written are ASCII. */
static inline uint64_t framewire_mask_short(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
{
    uint64_t a, b, c, d, keys = (uint64_t)key << 32 | key, last_keys;
    uint8_t repeated[12];
    memcpy(repeated, &keys, 8);
    memcpy(repeated + 8, &keys, 4);
    memcpy(&last_keys, repeated + size % 4, 8); /* the key, rotated for the last 8 bytes */
    if (size >= 8) {
        memcpy(&a, src, 8);
        memcpy(&d, src + size - 8, 8);
        a ^= keys;
        d ^= last_keys;
        if (size > 16) {
            memcpy(&b, src + 8, 8);
            memcpy(&c, src + size - 16, 8);
            b ^= keys;
            c ^= last_keys;
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
        dst[i] = src[i] ^ repeated[i];
        a |= dst[i];
    }
    return a;
}

#endif
