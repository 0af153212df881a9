//! What the reader must know before trusting the figures.

use perf_ebpf::counters::Counter;

use super::{
    human::{duration, percent, thousands},
    text::amount,
};
use crate::{
    collect::{BYTES, NANOSECONDS},
    host::memory_limits::MACHINE,
    profile::{Accounting, Memory, Profile, Series},
    symbolize::Unnamed,
};

/// Fewer samples than this make shares rough.
const FEW: u64 = 400;

/// All warnings, the recording's own first.
pub(super) fn warnings(profile: &Profile) -> Vec<String> {
    let mut warnings = profile.recording.warnings.clone();
    if !profile.recording.complete {
        warnings.push(String::from(
            "the recording is not closed: it is still being written, or its recorder was killed; this is what it has so far",
        ));
    }
    if let Some(calls) = profile.calls.as_ref() {
        let accounting = &calls.accounting;
        let (lost, taken) = (accounting.lost_total(), accounting.taken);
        if !accounting.balances() {
            warnings.push("the accounting of system calls does not balance: do not trust their counts".into());
        } else if accounting.lost_share() > Accounting::NOTABLE_LOSS {
            warnings.push(format!(
                "{} of {} system calls ({}) were lost; counts and times are of the rest",
                thousands(lost),
                thousands(taken),
                percent(lost, taken),
            ));
        }
    }
    if let Some(calls) = &profile.file_calls {
        let of = &calls.accounting;
        warnings.extend(of_accounting("files", "calls", of, "counts, bytes and times are of the rest"));
    }
    if let Some(faults) = &profile.faults {
        warnings.extend(of_accounting("faults", "page faults", &faults.accounting, "counts and times are of the rest"));
    }
    if let Some(locks) = &profile.kernel_locks {
        let of = &locks.accounting;
        warnings.extend(of_accounting("kernel locks", "waits", of, "counts and times are of the rest"));
    }
    if let Some(block) = &profile.block {
        warnings.extend(of_accounting("disks", "requests", &block.accounting, "counts and times are of the rest"));
    }
    if let Some((subject, kills)) = profile.memory.as_ref().and_then(Memory::kills) {
        let processes = if kills == 1 { "process was" } else { "processes were" };
        let of = if subject == MACHINE { "somewhere on the machine: dmesg tells which" } else { subject };
        warnings.push(format!("{kills} {processes} killed for want of memory (OOM), {of}"));
    }
    if let Some(timeline) = &profile.timeline {
        warnings.extend(of_accounting(
            "timeline",
            "events",
            &timeline.accounting,
            "sums are whole, pictures of single events not",
        ));
    }
    for series in &profile.series {
        let Series { event, unit, accounting, .. } = series;
        warnings.extend(of_accounting(event, unit, accounting, "shares are of the rest"));
        if let Some(missed) = series.counters.get("children_not_followed").filter(|missed| **missed > 0) {
            warnings
                .push(format!("{event}: {} child processes were not followed: too many at once", thousands(*missed)));
        }
        if let Some(missed) = series.counters.get(Counter::ThreadsMissed.name()).filter(|missed| **missed > 0) {
            warnings.push(format!(
                "{event}: some threads are missing, or their end is: {} times there was no room for one; record fewer processes",
                thousands(*missed)
            ));
        }
        let missed = series.counters.get(Counter::QueuesMissed.name()).copied().unwrap_or(0);
        let kept: u64 = profile.run_queues.waits.values().map(|lengths| lengths.count).sum();
        if missed as f64 > Accounting::NOTABLE_LOSS * (missed + kept) as f64 {
            warnings.push(format!(
                "{event}: {} of {} waits for a CPU ({}) had no room in the table of lengths; the times of threads have them",
                thousands(missed),
                thousands(missed + kept),
                percent(missed, missed + kept),
            ));
        }
        let by_tables = profile.recording.options.get("unwind").is_some_and(|how| how == "tables");
        for (side, kept) in [("user", if by_tables { 510 } else { 127 }), ("kernel", 127)] {
            let cut = series.counters.get(&format!("{side}_stack_truncated")).copied().unwrap_or(0);
            if cut as f64 > Accounting::NOTABLE_LOSS * accounting.taken as f64 {
                warnings.push(format!(
                    "{event}: {} of the {side} stacks are deeper than {kept} frames and lack their outermost callers, whose totals \
                     are too low",
                    percent(cut, accounting.taken),
                ));
            }
        }
        let cut = series.counters.get("python_stack_truncated").copied().unwrap_or(0);
        if cut as f64 > Accounting::NOTABLE_LOSS * accounting.taken as f64 {
            warnings.push(format!(
                "{event}: {} of the stacks have more Python frames than are kept, and lack the outermost of them",
                percent(cut, accounting.taken),
            ));
        }
        for (reason, frames) in &series.unsymbolized {
            let notable = *frames as f64 > Accounting::NOTABLE_LOSS * series.total() as f64;
            if let Some(privilege) = Unnamed::privilege(reason).filter(|_| notable) {
                warnings.push(format!(
                    "{event}: {} frames have no name for want of a privilege ({reason}): record as root, or with {privilege}",
                    thousands(*frames),
                ));
            }
        }
        let total = series.total();
        if unit == "samples" && total > 0 && total < FEW {
            // Half the width of the 95 % interval of a share of one half, where it is widest: 1.96 * sqrt(0.25 / n).
            let points = 98.0 / (total as f64).sqrt();
            warnings.push(format!(
                "{event}: only {} {}: a share can be off by ±{:.0} points; record longer, or raise --frequency",
                thousands(total),
                if total == 1 { "sample" } else { "samples" },
                points.min(50.0)
            ));
        }
    }
    warnings
}

/// That counts do not add up, or that much was lost, and what follows from that.
fn of_accounting(event: &str, unit: &str, accounting: &Accounting, consequence: &str) -> Vec<String> {
    let (lost, mut warnings) = (accounting.lost_total(), Vec::new());
    if !accounting.balances() {
        warnings.push(format!(
            "{event}: the accounting does not balance: taken {} but reported {} + lost {}; do not trust shares",
            thousands(accounting.taken),
            thousands(accounting.reported),
            thousands(lost),
        ));
    }
    if accounting.lost_share() > Accounting::NOTABLE_LOSS {
        let noun = if [NANOSECONDS, BYTES].contains(&unit) { String::new() } else { format!(" {unit}") };
        warnings.push(format!(
            "{event}: {} of {}{noun} ({}) were lost; {consequence}",
            amount(lost, unit),
            amount(accounting.taken, unit),
            percent(lost, accounting.taken),
        ));
    }
    warnings
}

/// Why `series` holds nothing; `None` if it holds something.
#[must_use]
pub fn why_empty(covered_ns: u64, series: &Series) -> Option<String> {
    (series.total() == 0).then(|| reason(covered_ns, &series.event, &series.unit, &series.accounting))
}

/// Why no value of `event` is there to be shown.
pub(super) fn reason(covered_ns: u64, event: &str, unit: &str, accounting: &Accounting) -> String {
    if covered_ns == 0 && accounting.taken == 0 {
        "Not a single window was stored.".into()
    } else if accounting.reported > 0 {
        let reported = thousands(accounting.reported);
        format!("The filters leave nothing: none of the {reported} {unit} of the recording pass them.")
    } else if accounting.taken > 0 {
        format!("All {} {unit} that were taken were lost.", thousands(accounting.taken))
    } else if event == "cpu" {
        format!(
            "No sample hit the target in {}: it used no CPU, or too little to be seen. It slept or waited: \
             waits, recorded unless `-e` leaves them out, show where.",
            duration(covered_ns)
        )
    } else {
        format!("No {event} event of the target was taken in {}.", duration(covered_ns))
    }
}
