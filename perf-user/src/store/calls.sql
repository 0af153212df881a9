-- System calls.

-- Those of a process that returned in a window, by name. process and name: rows of the table string. lengths: as the data of
-- samples, with the bucket of perf_ebpf::calls in the place of the stack and how many calls in that of the value.
CREATE TABLE call (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    process INTEGER NOT NULL,
    name INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    lengths BLOB NOT NULL
);

-- How many of these had an error; name and error: rows of the table string.
CREATE TABLE call_error (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    name INTEGER NOT NULL,
    error INTEGER NOT NULL,
    count INTEGER NOT NULL
);

-- The slowest of a window, and those that had not returned when the recording ended (result: null). process, comm, name,
-- arguments: rows of the table string.
CREATE TABLE slow_call (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    process INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    comm INTEGER NOT NULL,
    name INTEGER NOT NULL,
    arguments INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    length_ns INTEGER NOT NULL,
    result INTEGER
);
