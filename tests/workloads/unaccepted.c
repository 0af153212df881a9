// unaccepted SECONDS: connections to a socket that listens and has room for one or two, and nobody accepts any. `no_room NUMBER` says
// how often there was no room, by the kernel's account of the network namespace.
#include "work.h"
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#define CLIENTS 8

static void wants(int right) {
    if (!right)
        _exit(3);
}

// `ListenOverflows` of /proc/net/netstat: a line of names, and one of numbers.
static long overflows(void) {
    static char names[8192], numbers[8192];
    FILE *file = fopen("/proc/self/net/netstat", "r");
    wants(file && fgets(names, sizeof names, file) && fgets(numbers, sizeof numbers, file));
    fclose(file);
    char *name_rest, *number_rest, *name = strtok_r(names, " \n", &name_rest);
    char *number = strtok_r(numbers, " \n", &number_rest);
    while (name && number && strcmp(name, "ListenOverflows")) {
        name = strtok_r(0, " \n", &name_rest);
        number = strtok_r(0, " \n", &number_rest);
    }
    wants(name && number);
    return atol(number);
}

int main(int argc, char **argv) {
    begin(argc, argv);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    wants(listener >= 0 && !bind(listener, (struct sockaddr *)&address, length) && !listen(listener, 0));
    wants(!getsockname(listener, (struct sockaddr *)&address, &length));
    long before = overflows();
    for (int at = 0; at < CLIENTS; at++) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        wants(client >= 0);
        connect(client, (struct sockaddr *)&address, length);
        usleep(10000);
    }
    usleep(300000);
    note("no_room %ld", overflows() - before);
    return finish();
}
