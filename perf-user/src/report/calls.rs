//! System calls: how many, how long, with which errors, and the slowest of them.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt::{self, Formatter},
};

use serde::Serialize;

use super::{
    ReportOptions,
    human::{duration, line, shorten, thousands},
    text::{write_account, write_by_process, write_more},
};
use crate::{
    profile::{Accounting, CallKind, Profile, SingleCall},
    symbolize::error_label,
};

#[cfg(test)]
mod tests;

/// What the program asked of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallsReport {
    /// What became of all calls that returned, of all threads.
    pub accounting: Accounting,
    /// Facts about quality that are no losses.
    pub counters: BTreeMap<String, u64>,
    /// By process and call, the longest in all first. Empty if the report is of one thread.
    pub kinds: Vec<CallReport>,
    /// How many more there are.
    pub kinds_omitted: usize,
    /// The calls that took longest, the longest first.
    pub slowest: Vec<SlowCallReport>,
    /// Those that had not returned when the recording ended, the oldest first.
    pub open: Vec<SlowCallReport>,
}

/// The calls of one name that a process made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The call.
    pub call: String,
    /// How many.
    pub count: u64,
    /// How many had an error, by its name.
    pub errors: BTreeMap<String, u64>,
    /// How long all of them took.
    pub total_ns: u64,
    /// What half of them did not exceed, within 12 %.
    pub p50_ns: u64,
    /// What 99 of 100 did not exceed, within 12 %.
    pub p99_ns: u64,
    /// How long the longest took.
    pub max_ns: u64,
}

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlowCallReport {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub process: String,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub comm: String,
    /// The call.
    pub call: String,
    /// The call with its arguments, in words; the name alone if they are not known.
    pub arguments: String,
    /// When it began, in nanoseconds after the recording's start; negative for before.
    pub start_ns: i64,
    /// How long it took, or has lasted.
    pub length_ns: u64,
    /// Whether it began before the recording, nobody knows when: it has lasted at least for `length_ns`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub began_before: bool,
    /// What it returned; absent if it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<i64>,
    /// The name of the error, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The slowest that are told of: as many as each window keeps.
const SLOWEST: usize = perf_ebpf::calls::SLOWEST;

/// Of the calls of a profile; `None` if it has none recorded.
pub(super) fn calls(profile: &Profile, options: &ReportOptions) -> Option<CallsReport> {
    let calls = profile.calls.as_ref()?;
    let kinds = calls.kinds.iter().map(|((tgid, call), kind)| {
        let process = calls.processes.get(tgid).cloned().unwrap_or_default();
        of_kind(*tgid, process, call, kind)
    });
    let mut kinds: Vec<CallReport> = kinds.collect();
    kinds.sort_by(|a, b| (Reverse(a.total_ns), a.tgid, &a.call).cmp(&(Reverse(b.total_ns), b.tgid, &b.call)));
    let kinds_omitted = kinds.len().saturating_sub(options.top.unwrap_or(usize::MAX));
    kinds.truncate(options.top.unwrap_or(usize::MAX));
    let single = |wanted: &dyn Fn(&SingleCall) -> bool| -> Vec<SlowCallReport> {
        calls.slowest.iter().filter(|call| wanted(call)).map(of_single).collect()
    };
    let mut slowest = single(&|call| call.result.is_some());
    slowest.sort_by_key(|call| (Reverse(call.length_ns), call.start_ns, call.tid));
    slowest.truncate(options.top.unwrap_or(SLOWEST).min(SLOWEST));
    let mut open = single(&|call| call.result.is_none());
    open.sort_by_key(|call| (call.start_ns, call.tid));
    open.truncate(options.top.unwrap_or(usize::MAX));
    let (accounting, counters) = (calls.accounting.clone(), calls.counters.clone());
    Some(CallsReport { accounting, counters, kinds, kinds_omitted, slowest, open })
}

fn of_kind(tgid: u32, process: String, call: &str, kind: &CallKind) -> CallReport {
    CallReport {
        tgid,
        process,
        call: call.to_owned(),
        count: kind.lengths.count,
        errors: kind.errors.clone(),
        total_ns: kind.lengths.total_ns,
        p50_ns: kind.lengths.quantile_ns(0.5),
        p99_ns: kind.lengths.quantile_ns(0.99),
        max_ns: kind.lengths.max_ns,
    }
}

fn of_single(call: &SingleCall) -> SlowCallReport {
    const MAX_ERROR: i64 = 4095;
    let error = call.result.filter(|result| (-MAX_ERROR..0).contains(result));
    SlowCallReport {
        tgid: call.tgid,
        process: call.process.clone(),
        tid: call.tid,
        comm: call.comm.clone(),
        call: call.name.clone(),
        arguments: call.arguments.clone(),
        start_ns: call.start_ns,
        length_ns: call.length_ns,
        began_before: call.began_before(),
        result: call.result,
        error: error.map(|result| error_label(result.unsigned_abs() as u32)),
    }
}

impl CallsReport {
    /// As text of 100 columns.
    pub(super) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_account(f, ("System", "calls"), &self.accounting, &self.counters, FACTS)?;
        self.write_kinds(f)?;
        write_single(f, "slowest calls, with what they returned", &self.slowest)?;
        write_single(f, "calls that have not returned", &self.open)
    }

    fn write_kinds(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.kinds.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n    total      calls     p50     p99     max  {:<18} errors", "call")?;
        write_by_process(f, &self.kinds, |kind| (kind.tgid, &kind.process), |f, kind| kind.write(f))?;
        write_more(f, self.kinds_omitted, "calls")
    }
}

/// The width of the errors of a call, which end lines.
const ERRORS: usize = 34;

/// The width of one call with its arguments and its result.
const SINGLE: usize = 55;

/// What is said of counters that are no losses.
const FACTS: &[(&str, &str)] = &[
    ("begun_before", "more began before the recording; how long they took is not known"),
    ("other_abi", "more were made by 32-bit programs and are left out"),
    ("errors_full", "errors are not told apart: too many kinds of them at once"),
    ("open_at_end", "more had not returned when the recording ended"),
];

impl CallReport {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { call, count, total_ns, p50_ns, p99_ns, max_ns, .. } = self;
        let row = format!(
            "{:>9} {:>10} {:>7} {:>7} {:>7}  {:<18} {}",
            duration(*total_ns),
            thousands(*count),
            duration(*p50_ns),
            duration(*p99_ns),
            duration(*max_ns),
            shorten(call, 18),
            shorten(&self.told_errors(), ERRORS),
        );
        writeln!(f, "{}", row.trim_end())
    }

    /// The errors, the most frequent first.
    #[must_use]
    pub fn told_errors(&self) -> String {
        let mut errors: Vec<_> = self.errors.iter().collect();
        errors.sort_by_key(|(name, count)| (Reverse(**count), *name));
        errors.iter().map(|(name, count)| format!("{name} {}", thousands(**count))).collect::<Vec<_>>().join(", ")
    }
}

impl SlowCallReport {
    /// How long it took, and when it began; of one that began before the recording what is known.
    #[must_use]
    pub fn told_times(&self) -> (String, String) {
        match (duration(self.length_ns), self.began_before) {
            (length, true) => (format!("> {length}"), "before".into()),
            (length, false) => (length, format!("{:.3} s", self.start_ns as f64 / 1e9)),
        }
    }

    /// What it returned; `None` if it has not.
    #[must_use]
    pub fn told_result(&self) -> Option<String> {
        match (&self.error, self.result?) {
            (Some(error), _) => Some(error.clone()),
            (None, result) if result.unsigned_abs() >= 1 << 32 => Some(format!("{result:#x}")),
            (None, result) => Some(result.to_string()),
        }
    }
}

fn write_single(f: &mut Formatter<'_>, heading: &str, calls: &[SlowCallReport]) -> fmt::Result {
    if calls.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n     time         at       tid  thread       {heading}")?;
    for call in calls {
        let result = call.told_result().map_or_else(String::new, |result| format!(" = {result}"));
        let room = SINGLE.saturating_sub(result.chars().count());
        let (length, start) = call.told_times();
        writeln!(
            f,
            "{length:>9} {start:>10} {:>9}  {:<12} {}{result}",
            call.tid,
            shorten(&line(&call.comm), 12),
            shorten(&call.arguments, room),
        )?;
    }
    Ok(())
}
