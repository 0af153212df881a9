-- Requests to block devices.

-- Those that were completed in a window, by the process that asked for them, disk and operation. process, disk, operation: rows
-- of the table string. The three times, from asking to completion, from asking to when the device got them, and from then on,
-- each as how often, sum, longest, and lengths: as the data of samples, with the bucket of perf_ebpf::histogram in the place of
-- the stack, and how often in that of the value.
CREATE TABLE io (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    process INTEGER NOT NULL,
    disk INTEGER NOT NULL,
    operation INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    requeues INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    lengths BLOB NOT NULL,
    queue_count INTEGER NOT NULL,
    queue_ns INTEGER NOT NULL,
    queue_max_ns INTEGER NOT NULL,
    queue_lengths BLOB NOT NULL,
    device_count INTEGER NOT NULL,
    device_ns INTEGER NOT NULL,
    device_max_ns INTEGER NOT NULL,
    device_lengths BLOB NOT NULL
);

-- The same by file: its path, a row of the table string, which is empty where no file is known.
CREATE TABLE io_file (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    disk INTEGER NOT NULL,
    operation INTEGER NOT NULL,
    file INTEGER NOT NULL,
    count INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL
);

-- The slowest of a window, and those that were not complete when the recording ended (complete: 0). process, comm, disk,
-- operation: rows of the table string. sector: of 512 bytes each, from the beginning of the disk.
CREATE TABLE slow_io (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    process INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    comm INTEGER NOT NULL,
    disk INTEGER NOT NULL,
    operation INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    queue_ns INTEGER NOT NULL,
    device_ns INTEGER NOT NULL,
    sector INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    requeues INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    file INTEGER NOT NULL
);
