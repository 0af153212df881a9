-- How much memory processes have, and what limits it.

-- The memory of a process at a moment, in bytes. process: a row of the table string. at_ns: CLOCK_MONOTONIC. anonymous to swapped: as
-- RssAnon, RssFile, RssShmem and VmSwap of proc(5).
CREATE TABLE memory (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    process INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    file INTEGER NOT NULL,
    shared INTEGER NOT NULL,
    swapped INTEGER NOT NULL
);

-- What lay in a process's mappings of one name, in bytes: now and then. name: a row of the table string.
CREATE TABLE memory_mapping (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    name INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    resident INTEGER NOT NULL,
    anonymous INTEGER NOT NULL,
    huge INTEGER NOT NULL,
    swapped INTEGER NOT NULL
);

-- Figures of the machine, of control groups and of processes at a moment. subject and name: rows of the table string.
CREATE TABLE gauge (
    window INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    name INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    value INTEGER NOT NULL
);
