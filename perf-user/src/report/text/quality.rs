//! What is known of the quality of one series' stacks: frames without a name, walks that ended early.

use std::fmt::{self, Formatter};

use perf_ebpf::{counters::Counter, sched::STORM_SHARE};

use super::{SeriesReport, amount, is_time, labelled};
use crate::{
    drain::SHARED_NS,
    profile::Accounting,
    report::human::{file_name, percent, shorten, thousands},
    symbolize::Unnamed,
};

pub(super) fn write(f: &mut Formatter<'_>, series: &SeriesReport) -> fmt::Result {
    writeln!(f)?;
    if series.frames_unnamed > 0 && is_time(series) {
        let share = percent(series.frames_unnamed, series.frames);
        labelled(f, "No name", &format!("{share} of all frames, weighted by time"))?;
    } else if series.frames_unnamed > 0 {
        let (unnamed, all) = (thousands(series.frames_unnamed), thousands(series.frames));
        let share = percent(series.frames_unnamed, series.frames);
        labelled(f, "No name", &format!("{unnamed} of {all} frames ({share}), counted once a sample"))?;
    } else {
        labelled(f, "No name", "every frame has a name")?;
    }
    // A stack's time counts for each of its frames, so their sum is no time that passed.
    let frames = |count| if is_time(series) { percent(count, series.frames) } else { thousands(count) };
    for (reason, count) in &series.unsymbolized {
        labelled(f, "", &format!("{:>9}  {}", frames(*count), reason.replace('_', " ")))?;
    }
    if !series.unsymbolized_modules.is_empty() {
        let worst = series.unsymbolized_modules.iter().take(3);
        let worst: Vec<_> = worst
            .map(|module| format!("{} {}", shorten(file_name(&module.module), 24), frames(module.frames)))
            .collect();
        labelled(f, "", &format!("most in: {}", worst.join(", ")))?;
    }
    let generated = series.unsymbolized.get(Unnamed::Jit.name()).copied().unwrap_or(0);
    if generated as f64 > Accounting::NOTABLE_LOSS * series.selected as f64 {
        labelled(f, "", "generated code has names if it is started by node --perf-basic-prof, python3 -X perf,")?;
        labelled(f, "", "DOTNET_PerfMapEnabled=1; Java, if it is recorded with --java-map")?;
    }
    let stripped = series.unsymbolized.get(Unnamed::Stripped.name()).copied().unwrap_or(0);
    if stripped as f64 > Accounting::NOTABLE_LOSS * series.selected as f64 {
        labelled(f, "", "stripped files have names if their debug files are there when it is recorded: installed,")?;
        labelled(f, "", "in a --debug-dir, or fetched with --debuginfod")?;
    }
    if series.stacks_cut_short * 10 > series.selected {
        let share = percent(series.stacks_cut_short, series.selected);
        if !series.walked_by_tables {
            let why = "end early: their code keeps no frame pointers. To see its callers, record with";
            labelled(f, "Stacks", &format!("{share} {why}"))?;
            labelled(f, "", "--unwind tables, or build it with -fno-omit-frame-pointer")?;
        }
    }
    let ended = series.walks_ended;
    if ended as f64 > Accounting::NOTABLE_LOSS * series.selected as f64 {
        labelled(f, "Stacks", &format!("{} end early:", percent(ended, series.selected)))?;
        for end in series.walk_ends.iter().take(3) {
            let (samples, module) = (amount(end.samples, &series.unit), shorten(file_name(&end.module), 40));
            labelled(f, "", &format!("{samples:>9}  {} in {module}", end.why))?;
        }
        let shown: u64 = series.walk_ends.iter().take(3).map(|end| end.samples).sum();
        if ended > shown {
            labelled(f, "", &format!("{:>9}  otherwise, or elsewhere", amount(ended - shown, &series.unit)))?;
        }
    }
    let skipped = Counter::OffSkipped.name();
    let shared_ns = series.counters.get(SHARED_NS).copied().unwrap_or(0);
    if shared_ns > 0 {
        let (share, count) = (percent(shared_ns, series.selected), series.counters.get(skipped).copied().unwrap_or(0));
        labelled(
            f,
            "Storms",
            &format!("{share} is time of {} short waits, one after another at one place:", thousands(count)),
        )?;
        labelled(f, "", &format!("where exactly is known of 1 in {STORM_SHARE} of them, which stand for the others"))?;
    }
    // The timer's own ticks are for programs that check the balance; they tell a reader nothing.
    let told =
        |name: &str| name.starts_with("timer_") || [skipped, SHARED_NS, Counter::OffLeftOut.name()].contains(&name);
    let counters = series.counters.iter().filter(|(name, count)| **count > 0 && !told(name));
    for (at, (name, count)) in counters.enumerate() {
        let label = if at == 0 { "Counters" } else { "" };
        labelled(f, label, &format!("{:>9}  {}", thousands(*count), name.replace('_', " ")))?;
    }
    Ok(())
}
