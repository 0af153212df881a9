//! How often things happened and how long they took, as the last columns of a row: count, sum, longest, and the buckets as the
//! data of samples is kept, with the bucket in the place of the stack and how often in that of the value.

use perf_ebpf::histogram::{self, BUCKETS};
use rusqlite::Row;

use super::{
    blob::{Entry, decode, encode},
    read::Unreadable,
};
use crate::profile::Lengths;

/// The columns.
pub(super) fn columns(lengths: &histogram::Lengths) -> (i64, i64, i64, Vec<u8>) {
    let used = (0_u32..).zip(lengths.buckets).filter(|(_, count)| *count > 0);
    let entries = used.map(|(bucket, count)| Entry { thread: 0, stack: bucket, value: count.into() }).collect();
    (lengths.count as i64, lengths.total_ns as i64, lengths.max_ns as i64, encode(entries))
}

/// Adds what a row tells in the columns from `at` on.
pub(super) fn add(into: &mut Lengths, row: &Row<'_>, at: usize) -> Result<(), Unreadable> {
    into.count = sum(into.count, row.get(at)?)?;
    into.total_ns = sum(into.total_ns, row.get(at + 1)?)?;
    into.max_ns = into.max_ns.max(number(row.get(at + 2)?)?);
    let data: Vec<u8> = row.get(at + 3)?;
    let entries = decode(&data).ok_or(Unreadable::Insane("lengths of times are no lengths"))?;
    for Entry { stack: bucket, value, .. } in entries.into_iter().filter(|entry| (entry.stack as usize) < BUCKETS) {
        let count = &mut into.buckets[bucket as usize];
        *count = count.checked_add(value).ok_or(TOO_LARGE)?;
    }
    Ok(())
}

pub(super) const TOO_LARGE: Unreadable = Unreadable::Insane("its counts are too large to be added up");

/// A count.
pub(super) fn number(value: i64) -> Result<u64, Unreadable> {
    u64::try_from(value).map_err(|_| Unreadable::Insane("it counts below zero"))
}

/// A sum of counts.
pub(super) fn sum(before: u64, more: i64) -> Result<u64, Unreadable> {
    before.checked_add(number(more)?).ok_or(TOO_LARGE)
}
