-- A recording. All times are nanoseconds of CLOCK_MONOTONIC unless the name says unix.

-- 'schema_version', 'recording' (JSON of profile::Recording), 'overhead' (JSON), 'start_ns'.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE string (id INTEGER PRIMARY KEY, text TEXT NOT NULL);

-- What was recorded: one row an event kind.
CREATE TABLE event (
    name TEXT PRIMARY KEY,
    unit TEXT NOT NULL,
    period_ns INTEGER NOT NULL,
    source TEXT NOT NULL
) WITHOUT ROWID;

-- Files that code was mapped from. kind: kernel, unmapped, cut off, hidden, jit, vdso, file; python: a code object, with
-- the path of its source.
CREATE TABLE module (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, path TEXT NOT NULL, build_id TEXT);

-- A place in a module: file offset, or address; in Python code, the byte offset of the instruction. unnamed: why it has no symbol.
CREATE TABLE frame (id INTEGER PRIMARY KEY, module INTEGER NOT NULL, address INTEGER NOT NULL, unnamed TEXT);

-- The functions at a place: depth 0 was called, the others were inlined into the one before.
CREATE TABLE line (
    frame INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    function INTEGER NOT NULL,
    file INTEGER NOT NULL,
    line INTEGER NOT NULL,
    PRIMARY KEY (frame, depth)
) WITHOUT ROWID;

-- A stack is the outermost frames of another (caller; 0: none), so many as kept says, plus frames of its own: see store/blob.rs.
-- The last that is kept is one of the caller's own. hash names the content, the same in every recording.
CREATE TABLE stack (
    id INTEGER PRIMARY KEY,
    caller INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    frames BLOB NOT NULL,
    hash INTEGER NOT NULL
);

CREATE TABLE thread (
    id INTEGER PRIMARY KEY,
    tgid INTEGER NOT NULL,
    tid INTEGER NOT NULL,
    comm INTEGER NOT NULL,
    process INTEGER NOT NULL
);

CREATE TABLE window (id INTEGER PRIMARY KEY, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL);

-- data: see store/blob.rs.
CREATE TABLE sample (
    window INTEGER NOT NULL,
    event TEXT NOT NULL,
    tgid INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (window, event, tgid)
) WITHOUT ROWID;

-- kind: 'taken', 'reported', 'lost' (name: the cause), 'fact' (name: what is counted).
CREATE TABLE counter (
    window INTEGER NOT NULL,
    event TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (window, event, kind, name)
) WITHOUT ROWID;
