#!/bin/busybox sh
# The guest's first process: finds the root file system, and goes on there in /run/vm/start.
B=/bin/busybox
. /run/vm/settings
$B mkdir -p /proc /sys /dev /tmp
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for module in /run/vm/modules/*; do [ -f "$module" ] && $B insmod "$module"; done
if [ "$ROOT" = none ]; then
    $B --install -s /bin
    $B mkdir -p /var/tmp
    exec $B sh /run/vm/start
fi
R=/newroot
$B mkdir $R
$B mount -t virtiofs -o ro host $R || { echo "the host's root cannot be mounted"; $B poweroff -f; }
# Below /mnt: what the folders that are about to be covered hold on the host.
$B mount --bind $R $R/mnt
for folder in tmp run var/tmp; do $B mount -t tmpfs tmp $R/$folder; done
# The sources themselves may lie in one of them.
if [ ! -d "$R$WORKSPACE" ]; then
    $B mkdir -p "$R$WORKSPACE"
    $B mount --bind "$R/mnt$WORKSPACE" "$R$WORKSPACE"
fi
for folder in proc sys dev; do $B mount --move /$folder $R/$folder; done
$B mkdir $R/run/vm $R/run/vm/files
$B cp -r /run/vm/. $R/run/vm/
$B cp $B $R/run/vm/busybox
exec $B switch_root $R /run/vm/busybox sh /run/vm/start
