-- Only in recordings with a timeline.

-- Single events of a process that ended in a window. data: see store/timeline.rs.
CREATE TABLE timeline (
    window INTEGER NOT NULL,
    event TEXT NOT NULL,
    tgid INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (window, event, tgid)
) WITHOUT ROWID;
