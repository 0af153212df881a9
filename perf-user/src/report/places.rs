//! Where threads waited, in words of the program: not in which wrapper of the C library, but what called it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    fmt::{self, Formatter},
};

use super::{
    PlaceReport, SeriesReport,
    human::{file_name, line, percent, shorten, shorten_function},
    text::{amount, write_more},
};
use crate::{
    collect::EventKind,
    profile::{Frame, FrameId, FrameKind, Owner, Place, Profile, StackId, bare},
};

/// The places of stacks, of those that are known.
pub(super) type Places = HashMap<StackId, Option<PlaceReport>>;

/// The places of these stacks, the highest value first; what has no frame of a program is at none.
pub(super) fn places(profile: &Profile, stacks: &HashMap<StackId, u64>, known: &mut Places) -> Vec<PlaceReport> {
    for &stack in stacks.keys() {
        known.entry(stack).or_insert_with(|| place(profile, stack));
    }
    let mut places: BTreeMap<&PlaceReport, u64> = BTreeMap::new();
    for (stack, &value) in stacks {
        if let Some(Some(place)) = known.get(stack) {
            *places.entry(place).or_default() += value;
        }
    }
    let mut places: Vec<PlaceReport> =
        places.into_iter().map(|(place, value)| PlaceReport { value, ..place.clone() }).collect();
    places.sort_by(|a, b| (Reverse(a.value), a).cmp(&(Reverse(b.value), b)));
    places
}

fn place(profile: &Profile, stack: StackId) -> Option<PlaceReport> {
    let leaf = profile.stacks.leaf_to_root(stack).next()?;
    let why = profile.frames.get(leaf.0 as usize).filter(|leaf| leaf.kind == FrameKind::Wait)?;
    Some(report_of(profile, &profile.place(stack)?, profile.strings.get(why.function)))
}

/// The place of a stack, whose innermost frame is the last, and which nothing stands for: `serve (pthread_mutex_lock)`.
pub(super) fn label_of(profile: &Profile, stack: &[FrameId]) -> Option<String> {
    let place = profile.place_of(stack.iter().rev().filter_map(|id| profile.frames.get(id.0 as usize)))?;
    Some(report_of(profile, &place, "").label())
}

fn report_of(profile: &Profile, place: &Place<'_>, why: &str) -> PlaceReport {
    let own = name(profile, place.own);
    PlaceReport {
        function: if profile.owner(place.own) == Owner::System { bare(&own).to_owned() } else { own },
        called: place.called.map(|called| bare(&name(profile, called)).to_owned()),
        module: profile.strings.get(place.own.module).to_owned(),
        why: why.to_owned(),
        value: 0,
    }
}

/// The name of a function, or what stands for it.
pub(super) fn name(profile: &Profile, frame: &Frame) -> String {
    let text = |id| profile.strings.get(id);
    match frame.symbolized {
        true => text(frame.function).to_owned(),
        false => super::series::unnamed(text(frame.module)),
    }
}

/// The width of a place.
const PLACE: usize = 47;
/// The width of reasons.
const WHY: usize = 20;
/// The width of module names, which end lines.
const MODULE: usize = 12;

/// As text of 100 columns.
pub(super) fn write(f: &mut Formatter<'_>, event: &str, series: &SeriesReport) -> fmt::Result {
    // A file takes the place of the module.
    let has_files = [EventKind::Files, EventKind::Faults].map(EventKind::name).contains(&event);
    let (room, why) = if has_files { (PLACE - 10, WHY + MODULE + 11) } else { (PLACE, WHY) };
    let heading = if why == WHY { "module" } else { "" };
    let row = format!("\n  share      time  {:<room$} {:<why$} {heading}", "where (what it called there)", "why");
    writeln!(f, "{}", row.trim_end())?;
    for place in &series.places {
        let module = if why == WHY { shorten(file_name(&place.module), MODULE) } else { String::new() };
        let row = format!(
            "{:>7} {:>9}  {:<room$} {:<why$} {module}",
            percent(place.value, series.selected),
            amount(place.value, &series.unit),
            label(place, room),
            shorten(&line(&place.why), why),
        );
        writeln!(f, "{}", row.trim_end())?;
    }
    write_more(f, series.places_omitted, "places")?;
    let placeless = series.selected - series.places_total;
    if placeless > 0 {
        let (share, time) = (percent(placeless, series.selected), amount(placeless, &series.unit));
        writeln!(f, "{share:>7} {time:>9}  (began before the recording, or no stack of a program is known)")?;
    }
    Ok(())
}

/// Of a long name and a long call both have a part.
pub(super) fn label(place: &PlaceReport, room: usize) -> String {
    let whole = place.label();
    let Some(called) = place.called.as_ref().filter(|_| whole.chars().count() > room) else {
        return shorten_function(&whole, FrameKind::User, room);
    };
    let called = shorten_function(called, FrameKind::User, room / 2 - 3);
    let room = room - 3 - called.chars().count();
    format!("{} ({called})", shorten_function(&place.function, FrameKind::User, room))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::super::{ReportOptions, fixture::Builder, report};
    use crate::collect::NANOSECONDS;

    #[test]
    fn waits_are_told_by_the_functions_of_the_program() {
        let main = (1, 1, "server");
        let cond = ["__futex_abstimed_wait_common64", "futex_wait_[k]", "futex_[w]"];
        let stack = |outer: &[&'static str]| [outer, &cond].concat();
        let long = "warehouse::inventory::reconciliation::Reconciler::wait_for_the_next_batch_of_changes";
        let mut profile = Builder::new()
            .sample(main, &stack(&["main", "worker_loop", "pthread_cond_wait@@GLIBC_2.3.2"]), 500)
            .sample(main, &stack(&["main", "other_loop", "pthread_cond_wait@@GLIBC_2.3.2"]), 200)
            .sample(main, &stack(&["main", long, "std::sync::mpsc::Receiver<T>::recv_timeout_at_the_latest"]), 100)
            .sample(main, &["main", "serve", "__poll", "do_poll_[k]", "poll_[w]"], 90)
            .sample(main, &["main", "handmade", "schedule_[k]", "sleep_[w]"], 60)
            .sample(main, &["schedule_[k]", "blocked_[w]"], 30)
            .sample(main, &["sleep_[w]"], 20)
            .build();
        let series = &mut profile.series[0];
        (series.event, series.unit, series.period_ns) = ("offcpu".into(), NANOSECONDS.into(), 1);
        let report = report(&profile, &ReportOptions { top: Some(4) });
        let waits = &report.series["offcpu"];
        let told: Vec<_> = waits.places.iter().map(|place| (place.label(), place.why.as_str(), place.value)).collect();
        assert_eq!(told[0], ("worker_loop (pthread_cond_wait)".to_owned(), "futex", 500));
        assert_eq!(told[1], ("other_loop (pthread_cond_wait)".to_owned(), "futex", 200));
        assert_eq!(told[3], ("serve (poll)".to_owned(), "poll", 90));
        assert_eq!((waits.places_omitted, waits.places_total), (1, 950));
        let text = report.to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains("worker_loop (pthread_cond_wait)") && !text.contains("__futex_abstimed"), "{text}");
        let cut = text.lines().find(|line| line.contains("batch_of_changes")).unwrap();
        assert!(cut.contains("(…") && cut.contains("_latest)"), "of the call the end is told as well: {cut}");
        assert!(text.contains("50 ns  (began before the recording, or no stack"), "{text}");
    }
}
