//! The kernel's records of tasks, and the history that is made of them.
#![no_main]

use std::collections::{HashMap, HashSet};

use libfuzzer_sys::fuzz_target;
use perf_ebpf::sample::Key;
use perf_user::collect::{Did, EventKind, RawSample};
use perf_user::drain::{RawKind, RawWindow};
use perf_user::host::perf_ring::parse_records;
use perf_user::task::Tasks;

fuzz_target!(|data: &[u8]| {
    let mut events = Vec::new();
    parse_records(data, &mut events);
    let mut tasks = Tasks::default();
    let mut window = RawWindow { end_ns: u64::MAX, ..RawWindow::default() };
    let mut waits = RawKind::new(EventKind::OffWake);
    let mut stack: Vec<u64> = vec![0, u64::MAX];
    for (time_ns, event) in events {
        if let perf_user::host::perf_ring::TaskEvent::Map { tgid, mapping } = &event {
            stack.extend([mapping.start, mapping.start.wrapping_add(mapping.bytes)]);
            let key = Key { tgid: *tgid, tid: *tgid, comm: [b'a'; 16], user_stack: 1, ..Key::default() };
            let waker = Some(window.wakers.len() as u32);
            window.wakers.push(key);
            waits.samples.push(RawSample { waker, ..RawSample::of(&key, Some(Did::Blocked), 1, time_ns) });
        }
        tasks.apply(time_ns, event);
    }
    let count = waits.samples.len();
    window.kinds.push(waits);
    window.stacks = HashMap::from([(1, stack.into())]);
    let located = tasks.locate(window);
    assert_eq!(located.samples().count(), count);
    tasks.forget_before(u64::MAX / 2, &HashSet::new());
});
