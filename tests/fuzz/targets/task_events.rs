//! The kernel's records of tasks, and the history that is made of them.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use perf_user::collect::RawSample;
use perf_user::drain::RawWindow;
use perf_user::host::perf_ring::parse_records;
use perf_user::task::Tasks;

fuzz_target!(|data: &[u8]| {
    let mut events = Vec::new();
    parse_records(data, &mut events);
    let mut tasks = Tasks::default();
    let mut window = RawWindow { end_ns: u64::MAX, ..RawWindow::default() };
    let mut stack: Vec<u64> = vec![0, u64::MAX];
    for (time_ns, event) in events {
        if let perf_user::host::perf_ring::TaskEvent::Map { tgid, mapping } = &event {
            stack.extend([mapping.start, mapping.start.wrapping_add(mapping.bytes)]);
            window.samples.push(RawSample {
                tgid: *tgid,
                tid: *tgid,
                comm: [b'a'; 16],
                user_stack: 1,
                kernel_stack: 0,
                python_stack: 0,
                first_ns: time_ns,
                value: 1,
            });
        }
        tasks.apply(time_ns, event);
    }
    window.stacks = HashMap::from([(1, stack.into())]);
    let located = tasks.locate(&window);
    assert_eq!(located.samples.len(), window.samples.len());
    tasks.forget_before(u64::MAX / 2);
});
