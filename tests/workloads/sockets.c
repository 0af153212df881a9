// sockets SECONDS KIND [PATH]: requests of 100 bytes to a child (`server PID`), which answers each, after 20 ms, with 200. Each
// side tells what it did, and how long by the clock: `NAME COUNT BYTES NS`. `port NUMBER` says where the child listens.
//   tcp, tcp6: 60 requests over one connection, by send and recv, and 15 over one each, by write and read; `none 1` without IPv6
//   unix:   the same at PATH, which is an abstract name if it begins with @, and then 40 messages over a pair of sockets
//   late:   9 connections by sockets that do not wait: connect says EINPROGRESS, and recv, `again NUMBER` times, EAGAIN
//   reset:  5 connections that the child resets, in place of an answer, and 7 that nobody takes any more
//   opened: 60 requests over a connection that there was before it is ready, once there is a file PATH
#include "work.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define ASKED 60
#define SHORT 15
#define LATE 9
#define RESET 5
#define REFUSED 7
#define REQUEST 100
#define ANSWER 200

struct told {
    int count;
    long long bytes, ns;
};

static struct told sends, receives, writes, answers_read, connects, responses;
static struct sockaddr_storage address;
static socklen_t address_length;
static char buffer[ANSWER];
static long long longest_ns;

static void adds(struct told *told, long long bytes, long long since) {
    told->count++;
    told->bytes += bytes > 0 ? bytes : 0;
    told->ns += clock_ns(CLOCK_MONOTONIC) - since;
}

static void tell(const char *who, const char *name, const struct told *told) {
    note("%s_%s %d %lld %lld", who, name, told->count, told->bytes, told->ns);
}

static void wants(int result) {
    if (result)
        _exit(3);
}

static ssize_t receives_all(int peer, size_t wanted, int flags) {
    long long since = clock_ns(CLOCK_MONOTONIC);
    ssize_t got = recv(peer, buffer, wanted, flags);
    adds(&receives, got, since);
    return got;
}

static void sends_all(int peer, ssize_t length) {
    long long since = clock_ns(CLOCK_MONOTONIC);
    if (send(peer, buffer, length, MSG_NOSIGNAL) != length)
        _exit(3);
    adds(&sends, length, since);
}

// Takes a port that no client is given, as servers do; whether there is one.
static int takes_port(int listener) {
    for (int port = 20000 + getpid() % 1000; port < 30000 && listener >= 0; port++) {
        // At the same place in addresses of both versions.
        ((struct sockaddr_in *)&address)->sin_port = htons(port);
        if (!bind(listener, (struct sockaddr *)&address, address_length)) {
            note("port %d", port);
            return 1;
        }
        if (errno != EADDRINUSE)
            break;
    }
    return 0;
}

static int listens(const char *kind, const char *path) {
    int family = AF_INET;
    if (!strcmp(kind, "unix")) {
        struct sockaddr_un *local = (struct sockaddr_un *)&address;
        family = AF_UNIX;
        strncpy(local->sun_path, path, sizeof local->sun_path - 1);
        address_length = offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] != '@');
        if (path[0] == '@')
            local->sun_path[0] = 0;
    } else if (!strcmp(kind, "tcp6")) {
        struct sockaddr_in6 *local = (struct sockaddr_in6 *)&address;
        family = AF_INET6;
        local->sin6_addr = in6addr_loopback;
        address_length = sizeof *local;
    } else {
        struct sockaddr_in *local = (struct sockaddr_in *)&address;
        local->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address_length = sizeof *local;
    }
    address.ss_family = family;
    int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (family == AF_UNIX) {
        wants(bind(listener, (struct sockaddr *)&address, address_length));
    } else if (!takes_port(listener)) {
        note("none 1");
        exit(family == AF_INET6 ? 0 : 3);
    }
    wants(listen(listener, 16));
    return listener;
}

KEEP void answer(int peer) {
    while (receives_all(peer, REQUEST, MSG_WAITALL) == REQUEST) {
        struct timespec length = {0, 20 * 1000000L};
        nanosleep(&length, NULL);
        sends_all(peer, ANSWER);
    }
}

static void serve(int listener, int connections, int resets) {
    struct told accepts = {0};
    for (; accepts.count < connections;) {
        long long since = clock_ns(CLOCK_MONOTONIC);
        int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        adds(&accepts, 0, since);
        if (peer < 0)
            _exit(3);
        if (resets) {
            struct linger at_once = {1, 0};
            if (receives_all(peer, REQUEST, MSG_WAITALL) != REQUEST)
                _exit(3);
            wants(setsockopt(peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
        } else {
            answer(peer);
        }
        close(peer);
    }
    tell("server", "accepts", &accepts);
    tell("server", "receives", &receives);
    tell("server", "sends", &sends);
    _exit(0);
}

static int connects_to(int flags) {
    int peer = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    long long since = clock_ns(CLOCK_MONOTONIC);
    int result = connect(peer, (struct sockaddr *)&address, address_length);
    if (result && errno != EINPROGRESS && errno != ECONNREFUSED)
        _exit(3);
    adds(&connects, 0, since);
    return peer;
}

static void answered(long long since) {
    long long before = responses.ns;
    adds(&responses, ANSWER, since);
    long long length = responses.ns - before;
    longest_ns = length > longest_ns ? length : longest_ns;
}

KEEP void ask(int peer) {
    long long since = clock_ns(CLOCK_MONOTONIC);
    sends_all(peer, REQUEST);
    if (receives_all(peer, ANSWER, MSG_WAITALL) != ANSWER)
        _exit(3);
    answered(since);
}

KEEP void ask_once(void) {
    int peer = connects_to(0);
    long long since = clock_ns(CLOCK_MONOTONIC);
    if (write(peer, buffer, REQUEST) != REQUEST)
        _exit(3);
    adds(&writes, REQUEST, since);
    for (ssize_t got = 0, more; got < ANSWER; got += more) {
        long long before = clock_ns(CLOCK_MONOTONIC);
        more = read(peer, buffer, ANSWER - got);
        adds(&answers_read, more, before);
        if (more <= 0)
            _exit(3);
    }
    answered(since);
    close(peer);
}

// Looks for the answer before it is there, in vain, and then waits for it.
KEEP void ask_late(void) {
    int peer = connects_to(SOCK_NONBLOCK), again = 0;
    struct pollfd connected = {peer, POLLOUT, 0}, there = {peer, POLLIN, 0};
    if (poll(&connected, 1, -1) != 1)
        _exit(3);
    long long since = clock_ns(CLOCK_MONOTONIC);
    sends_all(peer, REQUEST);
    for (ssize_t got = 0; got < ANSWER;) {
        ssize_t more = receives_all(peer, ANSWER - got, 0);
        if (more < 0 && errno == EAGAIN) {
            again++;
            poll(&there, 1, -1);
        } else if (more <= 0) {
            _exit(3);
        }
        got += more > 0 ? more : 0;
    }
    answered(since);
    note("again %d", again);
    close(peer);
}

KEEP void ask_in_vain(void) {
    int peer = connects_to(0);
    sends_all(peer, REQUEST);
    if (receives_all(peer, ANSWER, MSG_WAITALL) >= 0 || errno != ECONNRESET)
        _exit(3);
    close(peer);
}

// Between sockets that have no name.
KEEP void pairs(void) {
    int pair[2];
    struct iovec part = {buffer, 50};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    wants(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    for (int at = 0; at < 40; at++)
        if (sendmsg(pair[0], &message, 0) != 50 || recvmsg(pair[1], &message, 0) != 50)
            _exit(3);
}

int main(int argc, char **argv) {
    const char *kind = argc > 2 ? argv[2] : "tcp", *path = argc > 3 ? argv[3] : "";
    int is_late = !strcmp(kind, "late"), is_reset = !strcmp(kind, "reset"), is_opened = !strcmp(kind, "opened");
    memset(buffer, 'x', sizeof buffer);
    int listener = listens(kind, path), status = 0;
    pid_t server = fork();
    if (!server)
        serve(listener, is_late ? LATE : is_reset ? RESET : is_opened ? 1 : 1 + SHORT, is_reset);
    close(listener);
    note("server %d", (int)server);
    int peer = is_late || is_reset ? -1 : connects_to(0);
    if (is_opened) {
        // So that the child has taken the connection.
        ask(peer);
        sends = receives = responses = (struct told){0};
        longest_ns = 0;
    }
    begin(argc, argv);
    while (is_opened && access(path, F_OK))
        usleep(5000);
    // Until the walker's tables are there.
    if (!is_opened)
        usleep(200000);
    for (int at = 0; peer >= 0 && at < ASKED; at++)
        ask(peer);
    if (peer >= 0)
        close(peer);
    for (int at = 0; peer >= 0 && !is_opened && at < SHORT; at++)
        ask_once();
    for (int at = 0; is_late && at < LATE; at++)
        ask_late();
    for (int at = 0; is_reset && at < RESET; at++)
        ask_in_vain();
    if (waitpid(server, &status, 0) != server || status)
        return 3;
    for (int at = 0; is_reset && at < REFUSED; at++)
        close(connects_to(0));
    if (!strcmp(kind, "unix"))
        pairs();
    tell("client", "connects", &connects);
    tell("client", "sends", &sends);
    tell("client", "receives", &receives);
    tell("client", "writes", &writes);
    tell("client", "reads", &answers_read);
    tell("client", "responses", &responses);
    note("longest_ns %lld", longest_ns);
    return finish();
}
