/* An echo server that checks nothing. It makes one system call to read and one to send the replies.
 *
 * All frames of a connection must have the length of the first. They are unmasked, because the load
 * generator checks the echoes. With FAN=1 in the environment, each read is sent to all connections.
 * Prints its port; ends at the end of standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READ_SIZE = 1 << 18, MAX_EVENTS = 256, MAX_REPLIES = 1024 };

static const char UPGRADE[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct connection {
    int fd, upgraded;
    uint8_t *data;
    size_t used, capacity;            /* of data */
    size_t header_size, payload_size; /* of each frame; the header without its masking key */
    struct connection *next;
};

static void unmask(uint8_t *data, size_t size, const uint8_t *key) {
    uint64_t word, mask;
    memcpy(&mask, key, 4);
    memcpy((uint8_t *)&mask + 4, key, 4);
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, data + i, 8);
        word ^= mask;
        memcpy(data + i, &word, 8);
    }
    for (; i < size; i++)
        data[i] ^= key[i & 3];
}

static struct connection *connections; /* the last one accepted first */
static int fan;

static void measure_frame(struct connection *c) {
    size_t sizes[] = {2, 4, 10}, length = c->data[1] & 127;
    c->header_size = sizes[length < 126 ? 0 : length - 125];
    c->payload_size = length < 126 ? length : 0;
    for (size_t i = 2; i < c->header_size; i++)
        c->payload_size = c->payload_size << 8 | c->data[i];
}

static void reply(struct connection *c) {
    struct iovec replies[MAX_REPLIES];
    size_t frame_size = c->header_size + 4 + c->payload_size, done = 0;
    int count = 0;
    for (; done + frame_size <= c->used && count < MAX_REPLIES; done += frame_size, count++) {
        uint8_t *payload = c->data + done + c->header_size + 4;
        unmask(payload, c->payload_size, payload - 4);
        memmove(payload - c->header_size, c->data + done, c->header_size);
        (payload - c->header_size)[1] &= 127;
        replies[count] = (struct iovec){payload - c->header_size, c->header_size + c->payload_size};
    }
    for (struct connection *to = fan ? connections : c; to && count; to = fan ? to->next : NULL)
        if (writev(to->fd, replies, count) < 0)
            exit(1); /* the socket blocks until everything is written */
    memmove(c->data, c->data + done, c->used -= done);
}

static void handle_read(struct connection *c) {
    if (c->capacity < c->used + READ_SIZE)
        c->data = realloc(c->data, c->capacity = c->used + READ_SIZE);
    ssize_t n = recv(c->fd, c->data + c->used, READ_SIZE, MSG_DONTWAIT);
    if (n <= 0 && fan)
        exit(0);
    if (n <= 0) {
        close(c->fd);
        free(c->data);
        free(c);
    } else if (!c->upgraded) {
        c->upgraded = send(c->fd, UPGRADE, sizeof UPGRADE - 1, 0) > 0;
    } else {
        c->used += (size_t)n;
        if (!c->header_size)
            measure_frame(c);
        reply(c);
    }
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), poller = epoll_create1(0), one = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, events[MAX_EVENTS];
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024))
        return 1;
    if (getsockname(listener, (struct sockaddr *)&address, &size))
        return 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = NULL;
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    fan = getenv("FAN") != NULL;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poller, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr)
                return 0;
            if (events[i].data.ptr != &listener) {
                handle_read(events[i].data.ptr);
                continue;
            }
            struct connection *c = calloc(1, sizeof *c);
            c->fd = accept(listener, NULL, NULL);
            c->next = connections;
            connections = c;
            setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            event.data.ptr = c;
            epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
        }
    }
}
