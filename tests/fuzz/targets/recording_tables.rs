//! A recording whose tables are sound and whose rows are anything: ids out of range, cycles, huge numbers, foreign types.
#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use fuzz::{Scratch, check_one_output};
use libfuzzer_sys::fuzz_target;
use perf_user::store::{Selection, read, slice};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);
const SCHEMA: &str = include_str!("../../../perf-user/src/store/schema.sql");
const TIMELINE_SCHEMA: &str = include_str!("../../../perf-user/src/store/timeline.sql");
const RECORDING: &str = r#"{"started_unix_ns":1,"duration_ns":9,"host":"h","kernel":"6","cpus":2,"target":null,"options":null,"target_label":"t","complete":true,"warnings":[]}"#;
/// Tables with the number of their columns.
const TABLES: [(&str, usize); 11] = [
    ("string", 2),
    ("event", 4),
    ("module", 4),
    ("frame", 4),
    ("line", 5),
    ("stack", 4),
    ("thread", 5),
    ("window", 3),
    ("sample", 4),
    ("counter", 5),
    ("timeline", 4),
];

/// What a recording's schema does not hold.
const FOREIGN: [&str; 6] = [
    "CREATE VIEW v AS SELECT * FROM string",
    "CREATE TRIGGER t AFTER DELETE ON sample BEGIN DELETE FROM meta; END",
    "DROP TABLE string; CREATE TABLE string (id INTEGER PRIMARY KEY, text TEXT AS (printf('%.*c', 100000000, 'x')))",
    "ALTER TABLE module ADD COLUMN more TEXT DEFAULT 'x'; ALTER TABLE string RENAME TO strings",
    "CREATE INDEX i ON string (upper(text)); DROP TABLE counter",
    "CREATE TABLE more (a); DROP TABLE line; CREATE VIRTUAL TABLE line USING fts5 (frame, depth, function, file, line)",
];

/// A value of a column: mostly small numbers, which lead from one table to another.
#[derive(Debug)]
struct Cell(Value);

impl<'a> Arbitrary<'a> for Cell {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self(match u8::arbitrary(input)? {
            number @ 0..=159 => Value::Integer(i64::from(number % 16)),
            160..=167 => Value::Text("cpu".into()),
            168..=169 => Value::Text("timeline".into()),
            170..=174 => Value::Text("taken".into()),
            175..=179 => Value::Text("reported".into()),
            180..=184 => Value::Text("kernel".into()),
            185..=194 => Value::Text(String::arbitrary(input)?),
            195..=199 => Value::Text(String::arbitrary(input)?.repeat(300)),
            200..=229 => Value::Blob(entries(input)?),
            230..=234 => Value::Blob(Vec::arbitrary(input)?),
            235..=239 => Value::Integer(i64::arbitrary(input)?),
            240..=244 => Value::Integer(i64::MAX),
            245..=249 => Value::Integer(-1),
            250..=251 => Value::Real(f64::arbitrary(input)?),
            _ => Value::Null,
        }))
    }
}

/// A blob of samples as `store/blob.rs` reads it, or of events as `store/timeline.rs` does, not compressed.
fn entries(input: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let mut data = vec![0];
    for _ in 0..input.int_in_range(0..=8)? {
        data.extend([input.int_in_range(0..=3_u8)?, input.int_in_range(0..=15_u8)?]);
        match u8::arbitrary(input)? {
            small @ 0..=127 => data.push(small),
            _ => data.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        }
    }
    Ok(data)
}

#[derive(Arbitrary, Debug)]
struct Input {
    rows: Vec<(u8, [Cell; 5])>,
    recording: Option<String>,
    schema: Option<u8>,
    selection: [Option<u8>; 4],
    format: u8,
}

fn fill(path: &std::path::Path, input: &Input) -> rusqlite::Result<()> {
    let file = Connection::open(path)?;
    file.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA page_size=512; PRAGMA application_id=1886417506; BEGIN;")?;
    file.execute_batch(SCHEMA)?;
    file.execute_batch(TIMELINE_SCHEMA)?;
    let recording = input.recording.as_deref().unwrap_or(RECORDING);
    for (key, value) in [("schema_version", "3"), ("recording", recording), ("overhead", "{}"), ("start_ns", "1")] {
        file.execute("INSERT INTO meta VALUES (?1, ?2)", [key, value])?;
    }
    for (table, cells) in &input.rows {
        let (table, columns) = TABLES[usize::from(*table) % TABLES.len()];
        let marks = vec!["?"; columns].join(",");
        let values = cells.iter().take(columns).map(|cell| &cell.0);
        // A row that the table refuses is none.
        let _ =
            file.prepare_cached(&format!("INSERT INTO {table} VALUES ({marks})"))?.execute(params_from_iter(values));
    }
    if let Some(choice) = input.schema {
        let _ = file.execute_batch(FOREIGN[usize::from(choice) % FOREIGN.len()]);
    }
    if !file.is_autocommit() {
        file.execute_batch("COMMIT")?;
    }
    Ok(())
}

fuzz_target!(|input: Input| {
    let path = SCRATCH.empty();
    if fill(&path, &input).is_err() {
        return;
    }
    let [from_ns, to_ns, tid, tgid] = input.selection;
    let selection = Selection {
        from_ns: from_ns.map(u64::from),
        to_ns: to_ns.map(u64::from),
        tid: tid.map(u32::from),
        tgid: tgid.map(u32::from),
        moments: true,
        latencies: true,
    };
    for selection in [Selection::default(), Selection { moments: true, ..Selection::default() }, selection] {
        if let Ok(profile) = read(&path, selection) {
            check_one_output(&profile, usize::from(input.format));
        }
    }
    let _ = slice(&path, &SCRATCH.beside("slice.perfprobe"), selection);
});
