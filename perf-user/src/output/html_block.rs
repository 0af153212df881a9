//! The page's tables of requests to block devices.

use flamegraphs::{Column, Section};

use super::html::more;
use crate::{
    profile::SingleRequest,
    report::{
        BlockKindReport, BlockReport, FileReport, LengthsReport, accounting_line,
        human::{bytes, duration, thousands},
    },
};

/// By process, disk and operation, the slowest, and those that are not complete.
pub(super) fn sections(block: &BlockReport) -> Vec<Section> {
    let single = |heading: &str, requests: &[SingleRequest]| {
        (!requests.is_empty()).then(|| Section {
            heading: heading.into(),
            columns: vec![
                Column::number("time"),
                Column::number("in the queue"),
                Column::number("at the device"),
                Column::number("at"),
                Column::number("tid"),
                Column::text("thread"),
                Column::text("request"),
            ],
            rows: requests.iter().map(row).collect(),
            ..Section::default()
        })
    };
    let columns = ["requests", "per s", "bytes", "per s"].map(Column::number);
    let times = ["p50", "p99", "max", "queue p50", "p99", "device p50", "p99"].map(Column::number);
    let texts = ["request", "process", "failures"].map(Column::text);
    let kinds = Section {
        heading: "Requests to disks".into(),
        text: more(&accounting_line(&block.accounting, "requests"), block.kinds_omitted, "kinds of requests"),
        columns: columns.into_iter().chain(times).chain(texts).collect(),
        rows: block.kinds.iter().map(kind).collect(),
    };
    let files = Section {
        heading: "Files on disks".into(),
        text: more("What requests were for, as far as that is known.", block.files_omitted, "files"),
        columns: ["time", "requests", "bytes", "max"]
            .map(Column::number)
            .into_iter()
            .chain(["request", "file", "process"].map(Column::text))
            .collect(),
        rows: block.files.iter().map(file).collect(),
    };
    let slowest = single("Slowest requests", &block.slowest);
    let open = single("Requests that are not complete", &block.open);
    [Some(kinds), Some(files), slowest, open].into_iter().flatten().collect()
}

fn kind(kind: &BlockKindReport) -> Vec<String> {
    let times = |of: &LengthsReport| [of.p50_ns, of.p99_ns].map(duration);
    let amounts = [
        thousands(kind.count),
        format!("{:.1}", kind.per_second),
        bytes(kind.bytes),
        bytes(kind.bytes_per_second as u64),
    ];
    let whole = times(&kind.whole).into_iter().chain([duration(kind.whole.max_ns)]);
    let times = whole.chain([&kind.queue, &kind.device].into_iter().flat_map(times));
    let texts = [kind.label(), format!("{} ({})", kind.process, kind.tgid), kind.told_failures()];
    amounts.into_iter().chain(times).chain(texts).collect()
}

fn file(file: &FileReport) -> Vec<String> {
    vec![
        duration(file.total_ns),
        thousands(file.count),
        bytes(file.bytes),
        duration(file.max_ns),
        format!("{} {}", file.operation, file.disk),
        file.told().to_owned(),
        format!("{} ({})", file.process, file.tgid),
    ]
}

fn row(request: &SingleRequest) -> Vec<String> {
    vec![
        duration(request.length_ns()),
        duration(request.queue_ns),
        duration(request.device_ns),
        format!("{:.3} s", request.start_ns as f64 / 1e9),
        request.tid.to_string(),
        request.comm.clone(),
        request.told(),
    ]
}
