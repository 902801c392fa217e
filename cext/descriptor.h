/* Writing to a socket that does not block, by its file descriptor. Small frames are written with the GIL, as Python's own
   calls do not: to give it up and take it again costs more than all else around the system call. */
#ifndef FRAMEWIRE_DESCRIPTOR_H
#define FRAMEWIRE_DESCRIPTOR_H

#include <Python.h>

#include <stdint.h>
#ifdef _WIN32
/* There a socket is no descriptor, and none comes here. */
static inline Py_ssize_t framewire_put(int fd, const uint8_t *data, size_t size)
{
    (void)fd, (void)data, (void)size;
    return 0;
}

static inline Py_ssize_t framewire_put_two(int fd, const uint8_t *head, size_t before, const uint8_t *data, size_t size)
{
    (void)fd, (void)head, (void)before, (void)data, (void)size;
    return 0;
}
#else
#include <sys/socket.h>
#include <sys/uio.h>
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* CPython ignores SIGPIPE */
#endif

/* Returns how many bytes the socket took: 0 if it is full, and for whatever is wrong with it. */
static inline Py_ssize_t framewire_put(int fd, const uint8_t *data, size_t size)
{
    ssize_t done = send(fd, data, size, MSG_NOSIGNAL);
    return done < 0 ? 0 : done;
}

static inline Py_ssize_t framewire_put_two(int fd, const uint8_t *head, size_t before, const uint8_t *data, size_t size)
{
    struct iovec parts[2] = {{(void *)head, before}, {(void *)data, size}};
    struct msghdr message = {0};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    ssize_t done = sendmsg(fd, &message, MSG_NOSIGNAL);
    return done < 0 ? 0 : done;
}
#endif

#endif
