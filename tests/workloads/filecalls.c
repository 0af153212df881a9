// filecalls SECONDS DIRECTORY KIND: calls on files in DIRECTORY whose number, bytes and errors are known. For each phase, which
// has a function of its own, `NAME COUNT BYTES NS` says how long its calls took by the clock.
//   disk:   from `cold_reads`, 200 preads of 8 KiB of `data`, none of it in memory: `from_disk NUMBER` says in how many the disk
//           was read, where the kernel keeps account of it; from `cached_reads`, the same by read; from `sync_storm`, 50 times
//           4 KiB written to `synced`, and an fsync
//   names:  opens of `missing`; stats and opens of `steady`, some by the link `relative`; files renamed, created and removed;
//           directories made, removed, and read as if they were files (EISDIR); a file that is deleted while it is read
//   moves:  what goes through a pipe (`pipe_inode NUMBER`), by vectors, by copy_file_range and by sendfile
//   opened: the file `early`, `gone`, which is deleted, and a pipe are open when it is ready; it uses them once there is a `go`
#include "work.h"
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define READS 200
#define SYNCS 50
#define BLOCK (8 << 10)
#define PIECE (64 << 10)

static char buffer[PIECE];
static long long since_ns, all_ns, all_bytes;
static int all_count;

static void begins(void) { since_ns = clock_ns(CLOCK_MONOTONIC); }

// A call has returned this, and should have.
static void took(long result, long wanted) {
    all_ns += clock_ns(CLOCK_MONOTONIC) - since_ns;
    all_count++;
    if (result != wanted)
        _exit(3);
    all_bytes += result > 0 ? result : 0;
}

static void tell(const char *name) {
    note("%s %d %lld %lld", name, all_count, all_bytes, all_ns);
    all_ns = all_bytes = all_count = 0;
}

static int new(const char *name, int blocks) {
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        _exit(3);
    for (int at = 0; at < blocks; at++)
        if (write(file, buffer, BLOCK) != BLOCK)
            _exit(3);
    return file;
}

static void wants(int result) {
    if (result)
        _exit(3);
}

// Blocks that this thread has had read from disks.
static long blocks_read(void) {
    struct rusage used;
    wants(getrusage(RUSAGE_THREAD, &used));
    return used.ru_inblock;
}

// One read at a time: the kernel shall not read ahead.
KEEP void cold_reads(int file) {
    int from_disk = 0;
    wants(fsync(file));
    wants(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
    wants(posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM));
    for (int at = 0; at < READS; at++) {
        long before = blocks_read();
        begins();
        took(pread(file, buffer, BLOCK, (off_t)at * BLOCK), BLOCK);
        from_disk += blocks_read() > before;
    }
    tell("cold");
    note("from_disk %d", from_disk);
}

KEEP void cached_reads(int file) {
    if (lseek(file, 0, SEEK_SET))
        _exit(3);
    for (int at = 0; at < READS; at++) {
        begins();
        took(read(file, buffer, BLOCK), BLOCK);
    }
    tell("cached");
}

KEEP void sync_storm(int file) {
    long long syncs_ns = 0;
    for (int at = 0; at < SYNCS; at++) {
        begins();
        took(pwrite(file, buffer, 4 << 10, (off_t)at << 12), 4 << 10);
        long long since = clock_ns(CLOCK_MONOTONIC);
        wants(fsync(file));
        syncs_ns += clock_ns(CLOCK_MONOTONIC) - since;
    }
    tell("writes");
    note("syncs %d 0 %lld", SYNCS, syncs_ns);
}

static void disk(void) {
    int file = new("data", READS);
    cold_reads(file);
    cached_reads(file);
    sync_storm(new("synced", 0));
}

KEEP void failing_opens(const char *path) {
    for (int at = 0; at < 70; at++) {
        begins();
        took(open(path, O_RDONLY | O_CLOEXEC), -1);
        if (errno != ENOENT)
            _exit(3);
    }
    tell("missing");
}

KEEP void stats(const char *path, const char *name, int times) {
    struct stat state;
    for (int at = 0; at < times; at++) {
        begins();
        took(stat(path, &state), 0);
    }
    tell(name);
}

KEEP void opens(const char *path, int times) {
    for (int at = 0; at < times; at++) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            _exit(3);
        begins();
        took(close(file), 0);
    }
    tell("closes");
}

KEEP void renames(const char *one, const char *two) {
    for (int at = 0; at < 24; at++) {
        begins();
        took(at % 2 ? rename(two, one) : rename(one, two), 0);
    }
    tell("renames");
}

// One file after another of the same name, and, where the file system gives it again, of the same inode number.
KEEP void removes(const char *path) {
    for (int at = 0; at < 15; at++) {
        int file = creat(path, 0600);
        if (file < 0 || close(file))
            _exit(3);
        begins();
        took(unlink(path), 0);
    }
    tell("removes");
}

KEEP void directories(const char *path) {
    for (int at = 0; at < 18; at++) {
        begins();
        took(mkdir(path, 0700), 0);
        begins();
        took(rmdir(path), 0);
    }
    tell("directories");
}

KEEP void directory_reads(const char *path) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int at = 0; at < 25; at++) {
        begins();
        took(read(folder, buffer, 100), -1);
        if (errno != EISDIR)
            _exit(3);
    }
    tell("directory_reads");
    close(folder);
}

KEEP void reads(int file, int times) {
    for (int at = 0; at < times; at++) {
        begins();
        took(pread(file, buffer, 512, at * 16), 512);
    }
}

static void names(const char *folder) {
    char path[8][512];
    const char *parts[] = {"missing", "steady", "one", "two", "doomed", "directory", "vanishing"};
    for (int at = 0; at < 7; at++)
        snprintf(path[at], sizeof path[at], "%s/%s", folder, parts[at]);
    wants(close(new(path[2], 1)) || close(new("steady", 1)) || symlink("steady", "relative"));
    failing_opens(path[0]);
    stats(path[1], "stats", 90);
    stats("relative", "relative_stats", 30);
    opens("relative", 40);
    renames(path[2], path[3]);
    removes(path[4]);
    directories(path[5]);
    directory_reads(folder);
    int file = new(path[6], 1);
    reads(file, 20);
    tell("before_deletion");
    // A window of the recording ends meanwhile.
    usleep(1300000);
    wants(unlink(path[6]));
    reads(file, 15);
    tell("after_deletion");
    close(file);
}

KEEP void through_pipe(int input, int output) {
    for (int at = 0; at < 100; at++) {
        begins();
        took(write(output, buffer, 300), 300);
        begins();
        took(read(input, buffer, 300), 300);
    }
    tell("pipe");
}

// What would wait is no error.
KEEP void finds_nothing(int input) {
    wants(fcntl(input, F_SETFL, O_NONBLOCK));
    for (int at = 0; at < 30; at++) {
        begins();
        took(read(input, buffer, 300), -1);
        if (errno != EAGAIN)
            _exit(3);
    }
    tell("empty");
}

KEEP void vectors(int file) {
    struct iovec parts[2] = {{buffer, 100}, {buffer + 1000, 200}};
    for (int at = 0; at < 20; at++) {
        begins();
        took(writev(file, parts, 2), 300);
    }
    tell("writev");
    for (int at = 0; at < 20; at++) {
        begins();
        took(preadv(file, parts, 2, at * 300), 300);
    }
    tell("preadv");
}

// As many calls as the kernel wants, the last of which, at the end of the file, moves nothing.
KEEP void copies(int from, int to, int by_sendfile) {
    off_t at = 0;
    for (ssize_t done = 1; done > 0;) {
        begins();
        done = by_sendfile ? sendfile(to, from, &at, PIECE) : copy_file_range(from, &at, to, NULL, PIECE, 0);
        took(done, done);
        if (done < 0)
            _exit(3);
    }
    tell(by_sendfile ? "sendfile" : "copy_file_range");
}

static void moves(void) {
    int pipes[2];
    struct stat state;
    wants(pipe(pipes) || fstat(pipes[0], &state));
    note("pipe_inode %lu", (unsigned long)state.st_ino);
    through_pipe(pipes[0], pipes[1]);
    finds_nothing(pipes[0]);
    vectors(new("vectors", 0));
    int source = new("source", 4 * PIECE / BLOCK);
    copies(source, new("copied", 0), 0);
    copies(source, new("sent", 0), 1);
}

static void opened(int argc, char **argv) {
    int pipes[2], early = new("early", 1), gone = new("gone", 1);
    struct stat state;
    wants(unlink("gone") || pipe(pipes) || fstat(pipes[0], &state));
    note("pipe_inode %lu", (unsigned long)state.st_ino);
    begin(argc, argv);
    while (access("go", F_OK))
        usleep(5000);
    reads(early, 60);
    tell("early");
    reads(gone, 35);
    tell("gone");
    through_pipe(pipes[0], pipes[1]);
}

int main(int argc, char **argv) {
    if (argc < 4 || chdir(argv[2]))
        return 3;
    memset(buffer, 'x', sizeof buffer);
    if (!strcmp(argv[3], "opened")) {
        opened(argc, argv);
        return finish();
    }
    begin(argc, argv);
    // Until the walker's tables are there.
    usleep(200000);
    if (!strcmp(argv[3], "disk"))
        disk();
    if (!strcmp(argv[3], "names"))
        names(argv[2]);
    if (!strcmp(argv[3], "moves"))
        moves();
    return finish();
}
