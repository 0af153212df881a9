-- System calls on files and sockets, operations of io_uring, and page faults.

-- Those that returned in a window, by process, what they were about, and name. process, kind, file, name: rows of the table string;
-- kind: file, socket, pipe, memory or other; file: a path, or a socket's ends, empty where that is not known. lengths: as in the table call.
CREATE TABLE file_call (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    process INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    file INTEGER NOT NULL,
    name INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    from_disk INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    lengths BLOB NOT NULL
);

-- How peers of a process answered in a window, from when the first thing was sent until something was received, and what became of
-- the connections with them, of whatever process. process, peer: rows of the table string.
CREATE TABLE peer (
    window INTEGER NOT NULL,
    tgid INTEGER NOT NULL,
    process INTEGER NOT NULL,
    peer INTEGER NOT NULL,
    retransmits INTEGER NOT NULL,
    resets_sent INTEGER NOT NULL,
    resets_received INTEGER NOT NULL,
    connects INTEGER NOT NULL,
    connect_ns INTEGER NOT NULL,
    connect_max_ns INTEGER NOT NULL,
    connects_failed INTEGER NOT NULL,
    count INTEGER NOT NULL,
    total_ns INTEGER NOT NULL,
    max_ns INTEGER NOT NULL,
    lengths BLOB NOT NULL
);
