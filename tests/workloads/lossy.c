// lossy SECONDS: 200 requests of 1,000 bytes over one connection to a child, `server PID`, at `port NUMBER`, which answers each with one
// byte, and whose socket throws a tenth of the packets for it away. Each side says what the kernel knows of the connection, which is what
// `ss -ti` shows: `client_retransmits COUNT` and `server_retransmits COUNT`.
#include "work.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define ASKED 200
#define REQUEST 1000

static char buffer[REQUEST];

static void wants(int result) {
    if (result)
        _exit(3);
}

static void tells(const char *who, int connection) {
    struct tcp_info known;
    socklen_t length = sizeof known;
    wants(getsockopt(connection, IPPROTO_TCP, TCP_INFO, &known, &length));
    note("%s_retransmits %u", who, known.tcpi_total_retrans);
}

// Keeps a packet if a random number is above a tenth of what it may be.
static void loses_packets(int connection) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_RANDOM),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 0xffffffff / 10, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    wants(setsockopt(connection, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
}

static void serve(int listener) {
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    loses_packets(connection);
    while (recv(connection, buffer, REQUEST, MSG_WAITALL) == REQUEST)
        if (send(connection, buffer, 1, MSG_NOSIGNAL) != 1)
            _exit(3);
    tells("server", connection);
    _exit(0);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
    wants(bind(listener, (struct sockaddr *)&address, length));
    wants(listen(listener, 1));
    wants(getsockname(listener, (struct sockaddr *)&address, &length));
    note("port %d", ntohs(address.sin_port));
    pid_t server = fork();
    if (!server)
        serve(listener);
    note("server %d", (int)server);
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    wants(connect(connection, (struct sockaddr *)&address, length));
    begin(argc, argv);
    for (int at = 0; at < ASKED; at++)
        if (send(connection, buffer, REQUEST, MSG_NOSIGNAL) != REQUEST || recv(connection, buffer, 1, 0) != 1)
            _exit(3);
    wants(shutdown(connection, SHUT_WR));
    wants(waitpid(server, &status, 0) != server || status);
    tells("client", connection);
    return finish();
}
