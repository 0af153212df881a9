# The guest's first process, in its root: mounts what a machine has, runs the command, tells its exit code.
. /run/vm/settings
B=/bin/busybox
[ "$ROOT" = host ] && B=/run/vm/busybox
# Some are missing on some kernels.
$B mkdir -p /dev/shm /dev/pts
{
    $B mount -t tmpfs tmp /dev/shm
    $B mount -t devpts pts /dev/pts
    $B mount -t debugfs debug /sys/kernel/debug
    $B mount -t tracefs trace /sys/kernel/tracing
    $B mount -t bpf bpf /sys/fs/bpf
    $B mount -t cgroup2 cgroup /sys/fs/cgroup
    $B mount -t securityfs security /sys/kernel/security
    $B hostname guest
    $B ifconfig lo 127.0.0.1 up
} 2>/dev/null
SHELL=/bin/bash
[ -x $SHELL ] || SHELL="$B sh"
export HOME=/tmp TERM="$GUEST_TERM" PATH="$GUEST_PATH"
# What kernels before 5.11 take BPF maps from: their machines allow more of it than the kernel does by itself.
ulimit -l unlimited
cd "$FOLDER" 2>/dev/null || cd /tmp
if [ "$INTERACTIVE" = yes ]; then
    $B stty -F /dev/$OUTPUT sane 115200
    $B setsid -c $SHELL -i </dev/$OUTPUT >/dev/$OUTPUT 2>&1
else
    $B stty -F /dev/$OUTPUT raw -echo 115200
    $SHELL /run/vm/command </dev/null >/dev/$OUTPUT 2>&1
fi
code=$?
# Changing a port's settings waits for what is on its way.
$B stty -F /dev/$OUTPUT raw
echo "exit $code" >/dev/$RESULT
$B poweroff -f
