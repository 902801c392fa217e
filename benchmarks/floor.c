/* What no server can beat: an echo in C that checks nothing, with one system call for a read and one for the answer.
 *
 * It takes all frames of a connection to be as long as the first and unmasks them, since the load checks what comes
 * back. With FAN=1 in the environment each read goes to all connections. Prints its port, and ends with its input.
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

enum { READ = 1 << 18, EVENTS = 256, ANSWERS = 1024 };

static const char UPGRADE[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct connection {
    int fd, upgraded;
    uint8_t *data;
    size_t held, room, header, length; /* of data; of each frame, the header without its key */
    struct connection *before;
};

static void unmask(uint8_t *data, size_t size, const uint8_t *key) {
    uint64_t word, mask;
    memcpy(&mask, key, 4);
    memcpy((uint8_t *) &mask + 4, key, 4);
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, data + i, 8);
        word ^= mask;
        memcpy(data + i, &word, 8);
    }
    for (; i < size; i++) data[i] ^= key[i & 3];
}

static struct connection *everyone; /* the last to come */
static int fan;

static void measure_frame(struct connection *c) {
    size_t sizes[] = {2, 4, 10}, length = c->data[1] & 127;
    c->header = sizes[length < 126 ? 0 : length - 125];
    c->length = length < 126 ? length : 0;
    for (size_t i = 2; i < c->header; i++) c->length = c->length << 8 | c->data[i];
}

static void answer(struct connection *c) {
    struct iovec answers[ANSWERS];
    size_t frame = c->header + 4 + c->length, used = 0;
    int count = 0;
    for (; used + frame <= c->held && count < ANSWERS; used += frame, count++) {
        uint8_t *payload = c->data + used + c->header + 4;
        unmask(payload, c->length, payload - 4);
        memmove(payload - c->header, c->data + used, c->header);
        (payload - c->header)[1] &= 127;
        answers[count] = (struct iovec) {payload - c->header, c->header + c->length};
    }
    for (struct connection *to = fan ? everyone : c; to && count; to = fan ? to->before : NULL)
        if (writev(to->fd, answers, count) < 0) exit(1); /* it waits until all is taken */
    memmove(c->data, c->data + used, c->held -= used);
}

static void read_more(struct connection *c) {
    if (c->room < c->held + READ) c->data = realloc(c->data, c->room = c->held + READ);
    ssize_t n = recv(c->fd, c->data + c->held, READ, MSG_DONTWAIT);
    if (n <= 0 && fan) exit(0);
    if (n <= 0) {
        close(c->fd);
        free(c->data);
        free(c);
    } else if (!c->upgraded) {
        c->upgraded = send(c->fd, UPGRADE, sizeof UPGRADE - 1, 0) > 0;
    } else {
        c->held += (size_t) n;
        if (!c->header) measure_frame(c);
        answer(c);
    }
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), poller = epoll_create1(0), one = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, events[EVENTS];
    if (bind(listener, (struct sockaddr *) &address, size) || listen(listener, 1024)) return 1;
    if (getsockname(listener, (struct sockaddr *) &address, &size)) return 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = NULL;
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    fan = getenv("FAN") != NULL;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr) return 0;
            if (events[i].data.ptr != &listener) {
                read_more(events[i].data.ptr);
                continue;
            }
            struct connection *c = calloc(1, sizeof *c);
            c->fd = accept(listener, NULL, NULL);
            c->before = everyone;
            everyone = c;
            setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            event.data.ptr = c;
            epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
        }
    }
}
