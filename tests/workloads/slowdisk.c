// slowdisk SECONDS DIRECTORY MEBIBYTES MILLISECONDS: a file system of its own, mounted in the directory, with one file of zeros, `disk`, of
// which every read takes so long. Says `refused` where such file systems cannot be mounted.
#include "work.h"
#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define ROOT 1
#define DISK 2
#define MOST (128 << 10)

static int device;
static long long disk_bytes;

static void answer(const struct fuse_in_header *to, int error, const void *body, size_t bytes) {
    struct fuse_out_header head = {.len = sizeof head + bytes, .error = -error, .unique = to->unique};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)body, bytes}};
    // What was interrupted meanwhile wants no answer.
    if (writev(device, parts, 2) < 0 && errno != ENOENT)
        _exit(3);
}

static struct fuse_attr attributes(unsigned long long node) {
    struct fuse_attr of = {.ino = node, .nlink = 1, .blksize = 4096};
    of.mode = node == ROOT ? S_IFDIR | 0755 : S_IFREG | 0600;
    of.size = node == ROOT ? 0 : disk_bytes;
    of.blocks = of.size / 512;
    return of;
}

static void lookup(const struct fuse_in_header *request, const char *name) {
    struct fuse_entry_out entry = {.nodeid = DISK, .entry_valid = 3600, .attr_valid = 3600, .attr = attributes(DISK)};
    answer(request, strcmp(name, "disk") ? ENOENT : 0, &entry, strcmp(name, "disk") ? 0 : sizeof entry);
}

static void serve(const struct fuse_in_header *request, const void *body, long milliseconds) {
    static char zeros[MOST];
    const struct fuse_read_in *read_in = body;
    switch (request->opcode) {
    case FUSE_INIT: {
        struct fuse_init_out reply = {.major = 7, .minor = 31, .max_write = MOST, .max_background = 16, .time_gran = 1};
        return answer(request, 0, &reply, sizeof reply);
    }
    case FUSE_LOOKUP:
        return lookup(request, body);
    case FUSE_GETATTR: {
        struct fuse_attr_out reply = {.attr_valid = 3600, .attr = attributes(request->nodeid)};
        return answer(request, 0, &reply, sizeof reply);
    }
    case FUSE_OPEN: {
        // Nothing is cached, so that all that is read is read here.
        struct fuse_open_out reply = {.open_flags = FOPEN_DIRECT_IO};
        return answer(request, 0, &reply, sizeof reply);
    }
    case FUSE_READ:
        usleep(milliseconds * 1000);
        return answer(request, 0, zeros, read_in->size < MOST ? read_in->size : MOST);
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_RELEASE:
        return answer(request, 0, NULL, 0);
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return;
    default:
        return answer(request, ENOSYS, NULL, 0);
    }
}

int main(int argc, char **argv) {
    static char request[MOST + 4096];
    char options[128];
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    disk_bytes = atoll(argv[3]) << 20;
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
    if (device < 0 || mount("slowdisk", argv[2], "fuse", MS_NOSUID | MS_NODEV, options)) {
        note("refused %s", strerror(errno));
        begin(argc, argv);
        return finish();
    }
    begin(argc, argv);
    struct pollfd asked = {device, POLLIN, 0};
    while (going()) {
        if (poll(&asked, 1, 100) < 1)
            continue;
        ssize_t bytes = read(device, request, sizeof request);
        if (bytes < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
            continue;
        if (bytes < (ssize_t)sizeof(struct fuse_in_header))
            return finish();
        serve((void *)request, request + sizeof(struct fuse_in_header), atol(argv[4]));
    }
    return finish();
}
