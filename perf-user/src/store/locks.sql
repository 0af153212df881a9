-- Locks.

-- What happened at one in a window, by its process and its address. name: a row of the table string, what lies there. handed_on:
-- wake-ups after which others still waited; holds, hold_ns, hold_max_ns: from when a thread came to run after a wait for it until
-- it woke another; contended_ns: at least one thread waited; most_waiting: so many at once. count to lengths: waits that ended, as in the table
-- run_queue.
CREATE TABLE lock (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    address INTEGER NOT NULL,
    name INTEGER NOT NULL,
    handed_on INTEGER NOT NULL,
    holds INTEGER NOT NULL,
    hold_ns INTEGER NOT NULL,
    hold_max_ns INTEGER NOT NULL,
    contended_ns INTEGER NOT NULL,
    most_waiting INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    lengths BLOB NOT NULL
);

-- Threads that waited for one another when a window ended, of the first window in which they did. cycle: which of several; step:
-- each waits for a lock that the next has, the last for one of the first; one alone for a lock that itself has, or a thread that its
-- process has not. owner: the thread that has it. comm, lock: rows of the table string. how: perf_ebpf::lock::how. since_ns:
-- CLOCK_MONOTONIC.
CREATE TABLE deadlock (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    cycle INTEGER NOT NULL,
    step INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    comm INTEGER NOT NULL,
    address INTEGER NOT NULL,
    lock INTEGER NOT NULL,
    how INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    owner INTEGER NOT NULL
);
