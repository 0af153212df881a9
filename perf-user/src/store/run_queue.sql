-- Waiting for a CPU.

-- How often and how long a thread waited in a window for the CPU that it came to run on. lengths: as the data of samples, with
-- the bucket of perf_ebpf::histogram in the place of the stack, and how often in that of the value.
CREATE TABLE run_queue (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    cpu INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    lengths BLOB NOT NULL
);

-- For how long who ran on a CPU while another waited for it. comm: a row of the table string.
CREATE TABLE taker (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    taker_tgid INTEGER NOT NULL,
    taker_tid INTEGER NOT NULL,
    taker_comm INTEGER NOT NULL,
    ns INTEGER NOT NULL
);
