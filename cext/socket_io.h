/* Sending to a stream socket by its file descriptor, without waiting.

   MSG_DONTWAIT is necessary because another process that shares the open file description may clear
   O_NONBLOCK. Small frames are sent with the GIL held: releasing and taking it costs more than the
   rest of the call. No function sets a Python error. */
#ifndef FRAMEWIRE_SOCKET_IO_H
#define FRAMEWIRE_SOCKET_IO_H

#include <Python.h>

#include <stdint.h>
#ifdef _WIN32
/* A Windows socket is not a file descriptor: asyncio's transport writes there. */
static inline void framewire_ignore_sigpipe(int fd)
{
    (void)fd;
}

static inline Py_ssize_t framewire_send(int fd, const uint8_t *data, size_t size)
{
    (void)fd, (void)data, (void)size;
    return 0;
}

static inline Py_ssize_t framewire_send_two(int fd, const uint8_t *head, size_t head_size, const uint8_t *data, size_t size)
{
    (void)fd, (void)head, (void)head_size, (void)data, (void)size;
    return 0;
}
#else
#include <sys/socket.h>
#include <sys/uio.h>
#ifdef MSG_NOSIGNAL
#define FRAMEWIRE_SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#else
#define FRAMEWIRE_SEND_FLAGS MSG_DONTWAIT
#endif

/* On systems without MSG_NOSIGNAL, make a broken connection an error of send, not a SIGPIPE. */
static inline void framewire_ignore_sigpipe(int fd)
{
#ifdef SO_NOSIGPIPE
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#else
    (void)fd;
#endif
}

/* Return the number of bytes that the socket accepted: 0 if it is full, and on any error. */
static inline Py_ssize_t framewire_send(int fd, const uint8_t *data, size_t size)
{
    ssize_t done = send(fd, data, size, FRAMEWIRE_SEND_FLAGS);
    return done < 0 ? 0 : done;
}

/* Like framewire_send, for two blocks of memory in one system call. */
static inline Py_ssize_t framewire_send_two(int fd, const uint8_t *head, size_t head_size, const uint8_t *data, size_t size)
{
    struct iovec parts[2] = {{(void *)head, head_size}, {(void *)data, size}};
    struct msghdr message = {0};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    ssize_t done = sendmsg(fd, &message, FRAMEWIRE_SEND_FLAGS);
    return done < 0 ? 0 : done;
}
#endif

#endif
