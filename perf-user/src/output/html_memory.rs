//! The page's tables of memory.

use flamegraphs::{Column, Section};

use super::html::more;
use crate::collect::BYTES;
use crate::report::{
    LimitedReport, MemoryReport, PressureReport, accounting_line,
    human::{bytes, bytes_more, percent, thousands},
};

/// Processes, who touched memory first, mappings, and limits.
pub(super) fn sections(memory: &MemoryReport) -> Vec<Section> {
    let numbers = ["resident", "own", "change", "peak"].map(Column::number);
    let processes = Section {
        heading: "Memory of processes".into(),
        text: more(
            "Own: not what files hold as well. The verdict is on its own memory.",
            memory.processes_omitted,
            "processes",
        ),
        columns: numbers.into_iter().chain(["verdict", "process"].map(Column::text)).collect(),
        rows: memory
            .processes
            .iter()
            .map(|process| {
                let change = bytes_more(process.change_bytes as f64);
                let sizes =
                    [bytes(process.resident_bytes), bytes(process.own_bytes()), change, bytes(process.peak_bytes)];
                let named = [process.trend.told(), format!("{} ({})", process.process, process.tgid)];
                sizes.into_iter().chain(named).collect()
            })
            .collect(),
    };
    let touched = [
        accounting_line(&memory.accounting, BYTES),
        format!(
            "An estimate, from {} of {} page faults without disk; +- is half of an interval of 95 %.",
            thousands(memory.faults_sampled),
            thousands(memory.faults),
        ),
    ];
    let places = Section {
        heading: "Who touched memory first".into(),
        text: more(&touched.join(". "), memory.places_omitted, "places"),
        columns: vec![
            Column::number("share"),
            Column::number("touched"),
            Column::number("+-"),
            Column::function("function"),
            Column::function("called"),
            Column::text("kind"),
        ],
        rows: memory
            .places
            .iter()
            .map(|touch| {
                let place = &touch.place;
                vec![
                    percent(place.value, memory.touched_bytes),
                    bytes(place.value),
                    bytes(touch.half()),
                    place.function.clone(),
                    place.called.clone().unwrap_or_default(),
                    place.why.clone(),
                ]
            })
            .collect(),
    };
    let mappings = Section {
        heading: "Mappings".into(),
        text: more(
            "In memory or swapped out when they were looked at first and last.",
            memory.mappings_omitted,
            "mappings",
        ),
        columns: [
            ["first", "last", "in huge pages"].map(Column::number).as_slice(),
            ["mapping", "process"].map(Column::text).as_slice(),
        ]
        .concat(),
        rows: memory
            .mappings
            .iter()
            .filter(|mapping| mapping.change() > 0)
            .map(|mapping| {
                let sizes = [mapping.first_bytes, mapping.last_bytes, mapping.huge_bytes].map(bytes);
                let named = [mapping.name.clone(), format!("{} ({})", mapping.process, mapping.tgid)];
                sizes.into_iter().chain(named).collect()
            })
            .collect(),
    };
    let pressure = memory.pressure.iter().filter(|pressure| pressure.is_told()).map(PressureReport::told);
    let limits = Section {
        heading: "Limits of memory".into(),
        text: Vec::new(),
        columns: vec![Column::text("what is left, and who waited for memory")],
        rows: memory.limits.iter().map(LimitedReport::told).chain(pressure).map(|told| vec![told]).collect(),
    };
    [processes, places, mappings, limits].into_iter().filter(|section| !section.rows.is_empty()).collect()
}
