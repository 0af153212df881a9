// calls SECONDS KIND: system calls whose number, errors and lengths are known.
//   counted: each of these 20,000 times: getppid; rmdir of what is not there (ENOENT); dup of no descriptor (EBADF); read from an
//            empty pipe that does not block (EAGAIN); then 25 naps of 20 ms, with their lengths by the clock: `slept_ns`, `longest_ns`
//   slow:    one long call of each of some kinds, on the files `fifo` and `socket` beside the log
//   waiting: a thread that has waited since before `ready` for a byte, gets one a second after that, and then one every two seconds
//   foreign: 1,000 calls by the rules of 32-bit programs, if the kernel takes them: `foreign NUMBER`
#include "work.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#define TIMES 20000
#define NAPS 25

static int pipes[2];

KEEP void nap(int milliseconds) {
    struct timespec length = {0, milliseconds * 1000000L};
    nanosleep(&length, NULL);
    NO_TAIL_CALL;
}

KEEP void ask(void) {
    for (int at = 0; at < TIMES; at++)
        syscall(SYS_getppid);
    NO_TAIL_CALL;
}

static void counted(void) {
    char byte;
    if (fcntl(pipes[0], F_SETFL, O_NONBLOCK))
        _exit(3);
    ask();
    for (int at = 0; at < TIMES; at++) {
        rmdir("/nonexistent/directory");
        dup(-1);
        if (read(pipes[0], &byte, 1) >= 0)
            _exit(3);
    }
    long long slept = 0, longest = 0;
    for (int at = 0; at < NAPS; at++) {
        long long before = clock_ns(CLOCK_MONOTONIC);
        nap(20);
        long long length = clock_ns(CLOCK_MONOTONIC) - before;
        slept += length;
        longest = length > longest ? length : longest;
    }
    note("slept_ns %lld", slept);
    note("longest_ns %lld", longest);
}

static char fifo[512], path[512];

static void *opens_late(void *argument) {
    nap(200);
    int file = open(fifo, O_WRONLY);
    nap(150);
    if (write(file, "x", 1) != 1)
        _exit(3);
    nap(900);
    return argument;
}

static void slow(void) {
    char byte;
    const char *log = getenv("WORKLOAD_LOG");
    int length = log && strrchr(log, '/') ? (int)(strrchr(log, '/') - log) : 0;
    snprintf(fifo, sizeof fifo, "%.*s/fifo", length, log);
    snprintf(path, sizeof path, "%.*s/socket", length, log);
    if (mkfifo(fifo, 0600))
        _exit(3);
    pthread_t thread;
    if (pthread_create(&thread, NULL, opens_late, NULL))
        _exit(3);
    int file = open(fifo, O_RDONLY);
    if (read(file, &byte, 1) != 1)
        _exit(3);
    struct pollfd wanted = {pipes[0], POLLIN, 0};
    if (poll(&wanted, 1, 120))
        _exit(3);
    struct sockaddr_un address = {AF_UNIX, ""};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 0))
        _exit(3);
    // The second one finds no place, and gives up.
    for (int at = 0; at < 2; at++) {
        int client = socket(AF_UNIX, SOCK_STREAM, 0);
        struct timeval limit = {0, 110000};
        setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        connect(client, (struct sockaddr *)&address, sizeof address);
    }
    pthread_join(thread, NULL);
}

static void *waits(void *argument) {
    char byte;
    while (read(pipes[0], &byte, 1) == 1)
        ;
    return argument;
}

static void cannot(int number) {
    (void)number;
    note("foreign 0");
    _exit(0);
}

static void foreign(void) {
    int done = 0;
#ifdef __x86_64__
    signal(SIGSEGV, cannot);
    for (; done < 1000; done++) {
        long number = 20;
        __asm__ volatile("int $0x80" : "+a"(number)::"memory", "r8", "r9", "r10", "r11");
        if (number == -ENOSYS)
            cannot(0);
    }
#else
    signal(SIGSEGV, cannot);
#endif
    note("foreign %d", done);
}

int main(int argc, char **argv) {
    const char *kind = argc > 2 ? argv[2] : "counted";
    if (pipe(pipes))
        return 3;
    if (!strcmp(kind, "waiting")) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, waits, NULL))
            return 3;
        usleep(100000);
        begin(argc, argv);
        for (int at = 1; going(); at++) {
            nap(50);
            if (at % 40 == 20 && write(pipes[1], "x", 1) != 1)
                return 3;
        }
        return finish();
    }
    begin(argc, argv);
    if (!strcmp(kind, "counted"))
        counted();
    if (!strcmp(kind, "slow"))
        slow();
    if (!strcmp(kind, "foreign"))
        foreign();
    return finish();
}
