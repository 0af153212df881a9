-- Locks of the kernel.

-- Waits for them that ended in a window, by process and lock. process and name: rows of the table string. count to lengths: as in
-- the table call.
CREATE TABLE kernel_lock (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    process INTEGER NOT NULL,
    name INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    lengths BLOB NOT NULL
);
