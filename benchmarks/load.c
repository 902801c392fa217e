/* A load generator for WebSocket servers, on one core. It checks every reply.
 *
 * load echo  PORT CONNECTIONS DEPTH SIZE SECONDS   DEPTH binary messages in flight on each
 * connection load burst PORT CONNECTIONS 0     SIZE SECONDS   messages one way; at the end the text
 * "?" queries their number load open  PORT CONNECTIONS 0     0    SECONDS   opening and closing
 * handshakes, CONNECTIONS at a time load fan   PORT CONNECTIONS 0     SIZE SECONDS   each message
 * of the first connection comes back on all load hold  PORT CONNECTIONS RATE  SIZE SECONDS   idle
 * connections; 1 in 100 echoes, RATE messages/s in total
 *
 * Compiled with -DWITH_TLS and OpenSSL, all connections use TLS, without checking the certificate.
 *
 * Prints "ready" when the connections are open, starts when it reads a line, and prints the result:
 * the number of messages (or handshakes), seconds, and the latency in microseconds at the median,
 * the 99th percentile and the maximum.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

/* Sizes in bytes, except for the first two: the number in each message, a read, and a write in
   mode burst. */
enum { MAX_SAMPLES = 1 << 20, MAX_EVENTS = 256, NUMBER_SIZE = 8, READ_SIZE = 1 << 20, BURST_SIZE = 1 << 16 };

static const uint8_t KEY[4] = {0x37, 0xfa, 0x21, 0x3d};
static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

struct connection {
    int fd, upgraded, closed, writing; /* closed: the server has answered our close frame */
    uint64_t sent, received; /* messages */
    uint8_t *in, *out;
    size_t in_used, in_capacity;
    size_t queued, written; /* of out */
    size_t out_capacity;
    int64_t since; /* when the oldest unanswered message was sent, or the connection was opened */
#ifdef WITH_TLS
    SSL *tls;
#endif
};

static struct connection *connections;
static int count, depth, poller, port, active; /* active: connections that send in mode hold */
static size_t size;                            /* of a payload */
static char mode;                              /* its first letter */
static uint64_t done;
static uint32_t *samples;
static size_t sample_count;
static int64_t stop;
static uint8_t *read_buffer;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *message) {
    fprintf(stderr, "load: %s (%s)\n", message, errno ? strerror(errno) : "");
    exit(1);
}

#ifdef WITH_TLS
static SSL_CTX *tls_context;

/* Connect over TLS; the socket is still a blocking one. */
static void begin_tls(struct connection *c) {
    if (!tls_context) {
        tls_context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    c->tls = SSL_new(tls_context);
    if (!c->tls || !SSL_set_fd(c->tls, c->fd) || SSL_connect(c->tls) != 1)
        fail("TLS");
}

/* Return the result of a call of OpenSSL as recv and send return theirs. */
static ssize_t tls_result(struct connection *c, int result) {
    int error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(c->tls, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        errno = EAGAIN;
    return error == SSL_ERROR_NONE ? result : error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t receive_some(struct connection *c) {
    return tls_result(c, SSL_read(c->tls, read_buffer, READ_SIZE)); /* one record, at most 16 KiB */
}

static ssize_t send_some(struct connection *c) {
    size_t left = c->queued - c->written;
    return tls_result(c, SSL_write(c->tls, c->out + c->written, left < READ_SIZE ? (int)left : READ_SIZE));
}

static void close_connection(struct connection *c) {
    SSL_free(c->tls);
    close(c->fd);
}
#else
static void begin_tls(struct connection *c) {
    (void)c;
}

static ssize_t receive_some(struct connection *c) {
    return recv(c->fd, read_buffer, READ_SIZE, 0);
}

static ssize_t send_some(struct connection *c) {
    return send(c->fd, c->out + c->written, c->queued - c->written, MSG_NOSIGNAL);
}

static void close_connection(struct connection *c) {
    close(c->fd);
}
#endif

/* Return byte `index` of the payload of message `number`. */
static uint8_t payload_byte(uint64_t number, size_t index) {
    return index < NUMBER_SIZE ? (uint8_t)(number >> (8 * index)) : (uint8_t)(number + index * 7);
}

static void watch(struct connection *c, int operation, int writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    c->writing = writing;
    if (epoll_ctl(poller, operation, c->fd, &event))
        fail("epoll_ctl");
}

static void reserve(struct connection *c, size_t more) {
    if (c->queued + more > c->out_capacity) {
        c->out_capacity = c->queued + more;
        c->out = realloc(c->out, c->out_capacity);
        if (!c->out)
            fail("out of memory");
    }
}

/* Queue a masked frame with the payload of message `number`. */
static void queue_frame(struct connection *c, uint8_t first_byte, uint64_t number, size_t length) {
    reserve(c, length + 14);
    uint8_t *p = c->out + c->queued;
    *p++ = first_byte;
    if (length < 126) {
        *p++ = (uint8_t)(0x80 | length);
    } else if (length < 65536) {
        *p++ = 0x80 | 126;
        *p++ = (uint8_t)(length >> 8);
        *p++ = (uint8_t)length;
    } else {
        *p++ = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            *p++ = (uint8_t)((uint64_t)length >> shift);
    }
    memcpy(p, KEY, 4);
    p += 4;
    for (size_t i = 0; i < length; i++)
        p[i] = payload_byte(number, i) ^ KEY[i & 3];
    c->queued = (size_t)(p + length - c->out);
}

static void queue_pong(struct connection *c, const uint8_t *payload, size_t length) {
    reserve(c, length + 6);
    uint8_t *p = c->out + c->queued;
    *p++ = 0x8a;
    *p++ = (uint8_t)(0x80 | length);
    memcpy(p, KEY, 4);
    for (size_t i = 0; i < length; i++)
        p[4 + i] = payload[i] ^ KEY[i & 3];
    c->queued += length + 6;
}

static void flush(struct connection *c) {
    while (c->written < c->queued) {
        ssize_t n = send_some(c);
        if (n < 0) {
            if (errno != EAGAIN)
                fail("send");
            if (!c->writing)
                watch(c, EPOLL_CTL_MOD, 1);
            return;
        }
        c->written += (size_t)n;
    }
    c->queued = c->written = 0;
    if (c->writing)
        watch(c, EPOLL_CTL_MOD, 0);
}

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    begin_tls(c);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK))
        fail("fcntl");
    c->upgraded = c->closed = 0;
    c->in_used = c->queued = c->written = 0;
    c->since = now();
    watch(c, EPOLL_CTL_ADD, 0);
    reserve(c, sizeof REQUEST);
    memcpy(c->out, REQUEST, sizeof REQUEST - 1);
    c->queued = sizeof REQUEST - 1;
    flush(c);
}

static void record_latency(int64_t since) {
    samples[sample_count++ % MAX_SAMPLES] = (uint32_t)((now() - since) / 1000);
}

static void queue_message(struct connection *c) {
    if (c->sent == c->received)
        c->since = now();
    queue_frame(c, 0x82, c->sent++, size);
}

static void handle_count(struct connection *c, uint8_t first_byte, const uint8_t *payload, size_t length) {
    char text[24] = "";
    if (first_byte != 0x81 || length >= sizeof text)
        fail("not a number");
    memcpy(text, payload, length);
    if (strtoull(text, NULL, 10) != c->sent)
        fail("messages are missing");
    c->received = c->sent;
}

/* In mode fan: when all connections have received a message, send the next. */
static void continue_fan(void) {
    if (done % (uint64_t)count)
        return;
    record_latency(connections[0].since);
    if (now() < stop) {
        connections[0].since = now();
        queue_frame(connections, 0x82, connections[0].sent++, size);
        flush(connections);
    }
}

static void handle_frame(struct connection *c, uint8_t first_byte, const uint8_t *payload, size_t length) {
    if (first_byte == 0x88) {
        if (mode != 'o')
            fail("the server closes");
        c->closed = 1;
        return;
    }
    if (first_byte == 0x89) {
        queue_pong(c, payload, length);
        return;
    }
    if (mode == 'b') {
        handle_count(c, first_byte, payload, length);
        return;
    }
    if (first_byte != 0x82 || length != size)
        fail("a message with another type or size");
    for (size_t i = 0; i < length; i++)
        if (payload[i] != payload_byte(c->received, i))
            fail("a message with other contents");
    c->received++;
    done++;
    if (mode == 'f') {
        continue_fan();
        return;
    }
    record_latency(c->since);
    c->since = now();
    if (mode == 'e' && c->since < stop)
        queue_message(c);
}

/* Return the size of the frame at p with its header, whose size is stored; 0 if it is
   incomplete. */
static size_t frame_size(const uint8_t *p, size_t n, size_t *header) {
    if (n < 2)
        return 0;
    if (p[1] & 0x80)
        fail("a masked frame");
    size_t length = p[1];
    *header = 2;
    if (length == 126) {
        if (n < 4)
            return 0;
        length = (size_t)p[2] << 8 | p[3];
        *header = 4;
    } else if (length == 127) {
        if (n < 10)
            return 0;
        length = 0;
        for (int i = 2; i < 10; i++)
            length = length << 8 | p[i];
        *header = 10;
    }
    return *header + length <= n ? *header + length : 0;
}

/* Check the response to the opening handshake. Return its size, 0 if it is incomplete. */
static size_t read_response(struct connection *c, uint8_t *p, size_t n) {
    uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (memcmp(p, "HTTP/1.1 101 ", 13) || !memmem(p, (size_t)(end - p), ACCEPT, sizeof ACCEPT - 1))
        fail("the handshake was not accepted");
    c->upgraded = 1;
    if (mode == 'o') {
        queue_frame(c, 0x88, 0xe803, 2);
        flush(c);
    }
    return (size_t)(end + 4 - p);
}

/* In mode open: count a closed connection, and open the next. */
static void reopen(struct connection *c) {
    close_connection(c);
    done++;
    record_latency(c->since);
    if (now() < stop)
        open_connection(c);
    else
        c->fd = -1;
}

static void grow_input(struct connection *c, size_t capacity) {
    c->in_capacity = capacity;
    c->in = realloc(c->in, capacity);
    if (!c->in)
        fail("out of memory");
}

static void handle_read(struct connection *c) {
    ssize_t n = receive_some(c);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        if (n < 0 || !c->closed)
            fail("the server ended TCP without a close frame, or reset it");
        reopen(c);
        return;
    }
    uint8_t *p = read_buffer; /* the unread input; in c->in if some was left by the read before */
    size_t available = (size_t)n, used = 0, header, length;
    if (c->in_used) {
        if (c->in_used + available > c->in_capacity)
            grow_input(c, 2 * (c->in_used + available));
        memcpy(c->in + c->in_used, read_buffer, available);
        p = c->in;
        available += c->in_used;
    }
    if (!c->upgraded)
        used = read_response(c, p, available);
    if (c->upgraded) {
        while ((length = frame_size(p + used, available - used, &header))) {
            handle_frame(c, p[used], p + used + header, length - header);
            used += length;
        }
    }
    c->in_used = available - used;
    if (c->in_used > c->in_capacity)
        grow_input(c, c->in_used + (1 << 16)); /* only if p is read_buffer */
    if (c->in_used)
        memmove(c->in, p + used, c->in_used);
    flush(c);
}

static void poll_once(int timeout) {
    struct epoll_event events[MAX_EVENTS];
    int n = epoll_wait(poller, events, MAX_EVENTS, timeout);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            handle_read(c);
        if (c->fd >= 0 && events[i].events & EPOLLOUT)
            flush(c);
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void run_burst(void) {
    while (now() < stop) {
        int idle = 1;
        for (int i = 0; i < count; i++) {
            struct connection *c = connections + i;
            if (c->queued)
                continue;
            while (c->queued < BURST_SIZE)
                queue_frame(c, 0x82, c->sent++, size);
            flush(c);
            idle = 0;
        }
        poll_once(idle ? 1000 : 0);
    }
    for (int i = 0; i < count; i++) {
        struct connection *c = connections + i;
        reserve(c, 7);
        memcpy(c->out + c->queued, (uint8_t[]){0x81, 0x81, 0, 0, 0, 0, '?'}, 7);
        c->queued += 7;
        flush(c);
        while (c->received != c->sent)
            poll_once(1000);
        done += c->sent;
    }
}

static void run_hold(void) {
    int64_t step = 1000000000LL / depth, next = now();
    int sent = 0;
    while (now() < stop) {
        while (next <= now()) {
            struct connection *c = connections + sent++ % active * (count / active);
            queue_message(c);
            flush(c);
            next += step;
        }
        poll_once(1);
    }
    for (int i = 0; i < count; i++)
        while (connections[i].received != connections[i].sent)
            poll_once(1000);
}

/* Whether some connection waits for replies or, in mode open, is open. */
static int is_busy(void) {
    for (int i = 0; i < count; i++) {
        struct connection *c = connections + i;
        if (mode == 'o' ? c->fd >= 0 : c->received != (mode == 'f' ? connections : c)->sent)
            return 1;
    }
    return 0;
}

static void run(void) {
    for (int i = 0; i < count && mode == 'e'; i++) {
        for (int k = 0; k < depth; k++)
            queue_message(connections + i);
        flush(connections + i);
    }
    if (mode == 'f') {
        queue_message(connections);
        flush(connections);
    }
    if (mode == 'b')
        run_burst();
    else if (mode == 'h')
        run_hold();
    else if (mode == 'o')
        for (int i = 0; i < count; i++)
            open_connection(connections + i);
    while (is_busy()) {
        for (int polls = 0; polls < 1000; polls++) {
            poll_once(10);
            if (now() >= stop)
                break;
        }
    }
}

static void open_connections(void) {
    for (int i = 0; i < count; i++) {
        stop = now() + 10000000000LL;
        open_connection(connections + i);
        while (!connections[i].upgraded) {
            poll_once(1000);
            if (now() > stop)
                fail("no response to the handshake");
        }
    }
}

static void print_result(int64_t start) {
    double seconds = (double)(now() - start) / 1e9;
    size_t n = sample_count < MAX_SAMPLES ? sample_count : MAX_SAMPLES;
    qsort(samples, n, sizeof *samples, compare);
    if (!n)
        samples[n++] = 0;
    printf("%llu %.6f %u %u %u\n", (unsigned long long)done, seconds, samples[n / 2], samples[n * 99 / 100],
           samples[n - 1]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct rlimit files;
    if (argc != 7)
        fail("usage: load MODE PORT CONNECTIONS DEPTH SIZE SECONDS");
    mode = argv[1][0];
    port = atoi(argv[2]);
    count = atoi(argv[3]);
    depth = atoi(argv[4]);
    size = (size_t)atol(argv[5]);
    if (mode != 'o' && size < NUMBER_SIZE)
        fail("messages must have at least 8 bytes");
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    connections = calloc((size_t)count, sizeof *connections);
    samples = malloc(MAX_SAMPLES * sizeof *samples);
    read_buffer = malloc(READ_SIZE);
    poller = epoll_create1(0);
    if (!connections || !samples || !read_buffer || poller < 0)
        fail("out of memory");
    active = count < 100 ? 1 : count / 100;
    if (mode != 'o')
        open_connections();
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    int64_t start = now();
    stop = start + (int64_t)(atof(argv[6]) * 1e9);
    run();
    print_result(start);
    getchar(); /* keep the connections open until the next line or the end of the input */
    return 0;
}
