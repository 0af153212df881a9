// refuse CALL[,CALL] PROGRAM ARGUMENT...: executes the program under a seccomp filter that answers EPERM to the calls bpf
// or perf_event_open, as the filters of containers do.
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static long number(const char *call) {
    return !strcmp(call, "bpf") ? SYS_bpf : !strcmp(call, "perf_event_open") ? SYS_perf_event_open : -1;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    for (char *call = strtok(argv[1], ","); call; call = strtok(NULL, ",")) {
        struct sock_filter steps[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number(call), 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog filter = {.len = sizeof steps / sizeof *steps, .filter = steps};
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
            perror("seccomp");
            return 3;
        }
    }
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
