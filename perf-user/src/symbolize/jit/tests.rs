//! Windows of generated code that comes, goes and is replaced.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs::File, io::Write as _};

use super::*;
use crate::collect::EventKind;
use crate::task::{GeneratedCode, GrowingFile, LocatedKind, LocatedSample, Modules};

struct Target {
    module: Arc<Module>,
    map: Arc<File>,
    dump: Arc<File>,
}

impl Target {
    fn new() -> Self {
        let file = || Arc::new(tempfile::tempfile().unwrap());
        Self { module: Modules::default().jit(), map: file(), dump: file() }
    }

    /// Has the jitdump tell of code at 0x1000.
    fn dump(&self, time_ns: u64, name: &str) {
        if self.dump.metadata().unwrap().len() == 0 {
            let header = [0x4a69_5444_u32, 1, 40, 0, 0, 0, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
            (&*self.dump).write_all(&header).unwrap();
        }
        let size = 57 + name.len() as u64;
        let words = [size << 32, time_ns, 0, 0x1000, 0x1000, 0x100, 1].map(u64::to_ne_bytes).concat();
        (&*self.dump).write_all(&[&words, name.as_bytes(), &[0]].concat()).unwrap();
    }

    /// A window at whose end the map has grown by `text`, with a sample at each of these addresses.
    fn window(&self, text: &str, addresses: &[u64]) -> LocatedWindow {
        self.window_at(5, text, addresses)
    }

    /// The same, with the time of the samples.
    fn window_at(&self, first_ns: u64, text: &str, addresses: &[u64]) -> LocatedWindow {
        (&*self.map).write_all(text.as_bytes()).unwrap();
        let sample = |address: &u64| LocatedSample {
            tgid: 1,
            tid: 1,
            comm: "a".into(),
            process: "a".into(),
            first_ns,
            value: 1,
            frames: vec![RawFrame { module: self.module.id, address: *address, code: 0 }],
        };
        let generated = GeneratedCode {
            module: Arc::clone(&self.module),
            perf_map: Some(GrowingFile::now(Arc::clone(&self.map)).unwrap()),
            denied: false,
            dumps: vec![Arc::clone(&self.dump)],
            java: None,
        };
        LocatedWindow {
            queues: crate::drain::RawQueues::default(),
            start_ns: first_ns,
            end_ns: first_ns + 1,
            kinds: vec![LocatedKind {
                kind: EventKind::Cpu,
                samples: addresses.iter().map(sample).collect(),
                tally: crate::drain::Tally::default(),
            }],
            modules: HashMap::from([(self.module.id, Arc::clone(&self.module))]),
            generated: vec![generated],
            calls: None,
            locks: None,
            timeline: None,
            block: None,
            file_calls: None,
            kernel_locks: None,
            memory: None,
            files: HashMap::new(),
        }
    }
}

/// The frames of a window and their names.
fn named(names: &mut Names, mut window: LocatedWindow) -> Vec<(RawFrame, String)> {
    names.locate_generated(&mut window);
    let frames: Vec<RawFrame> = window.samples().map(|sample| sample.frames[0]).collect();
    let module = &window.modules[&frames[0].module];
    let functions = names.name_frames(module, &frames).into_iter().map(|named| named.functions[0].name.clone());
    frames.iter().copied().zip(functions).collect()
}

#[test]
fn code_that_is_replaced_is_another_frame() {
    let (target, mut names) = (Target::new(), Names::default());
    // Two windows wait at once: each has the names that held at its own end.
    let windows = [
        target.window("1000 100 first\n", &[0x1010, 0x2000]),
        target.window("1000 100 second\n", &[0x1010, 0x2000]),
        target.window("3000 100 third\n", &[0x1010, 0x2000]),
    ];
    let [first, second, third] = windows.map(|window| named(&mut names, window));
    assert_eq!((&*first[0].1, &*first[1].1), ("first", "[jit+0x2000]"));
    assert_eq!((&*second[0].1, &*third[0].1), ("second", "second"));
    assert_ne!(first[0].0, second[0].0);
    assert_eq!((second[0].0, first[1].0, first[1].0.code), (third[0].0, third[1].0, 0), "what stays is the same frame");
}

#[test]
fn what_was_forgotten_is_read_again() {
    let (target, mut names) = (Target::new(), Names::default());
    let first = named(&mut names, target.window("1000 100 first\n", &[0x1010]));
    names.generated.processes.values_mut().for_each(Process::forget);
    assert_eq!(names.generated.processes.values().map(Process::len).sum::<usize>(), 0);
    assert_eq!(named(&mut names, target.window("", &[0x1010])), first);
}

#[test]
fn a_process_that_nobody_knows_any_more_is_forgotten() {
    let (target, mut names) = (Target::new(), Names::default());
    named(&mut names, target.window("1000 100 first\n", &[0x1010]));
    assert_eq!(names.generated.processes.len(), 1);
    let mut empty = target.window("", &[]);
    empty.generated.clear();
    names.locate_generated(&mut empty);
    assert_eq!(names.generated.processes.len(), 1, "the target is still known");
    empty.modules.clear();
    drop(target);
    names.locate_generated(&mut empty);
    assert!(names.generated.processes.is_empty());
}

#[test]
fn what_a_jitdump_tells_late_names_frames_that_had_no_name() {
    let (target, mut names) = (Target::new(), Names::default());
    let [early, late] = [10, 20].map(|time_ns| named(&mut names, target.window_at(time_ns, "", &[0x1010, 0x2000])));
    assert_eq!((&early, &*early[0].1), (&late, "[jit+0x1010]"));
    assert!(names.take_late().is_empty());
    target.dump(9, "first");
    target.dump(21, "second");
    let now = named(&mut names, target.window_at(30, "", &[0x1010]));
    let frames: Vec<_> = names.take_late().into_iter().map(|(frame, function)| (frame, function.name)).collect();
    assert_eq!((frames, &*now[0].1), (vec![(early[0].0, "first".to_owned())], "second"));
    assert!(names.take_last().is_empty(), "each once, and nothing is known of the other");
}

#[test]
fn frames_that_different_code_lay_under_get_no_name() {
    let (target, mut names) = (Target::new(), Names::default());
    for time_ns in [10, 20] {
        named(&mut names, target.window_at(time_ns, "", &[0x1010]));
    }
    target.dump(9, "first");
    target.dump(15, "second");
    assert!(names.take_last().is_empty());
}

#[test]
fn frames_seen_before_there_was_a_jitdump_count_as_well() {
    let (target, mut names) = (Target::new(), Names::default());
    let mut before = target.window_at(5, "", &[0x1010]);
    before.generated[0].dumps.clear();
    named(&mut names, before);
    named(&mut names, target.window_at(20, "", &[0x1010]));
    target.dump(9, "first");
    assert!(names.take_last().is_empty(), "at the first of the two times it was other code");
}

#[test]
fn what_is_told_at_the_end_counts() {
    let (target, mut names) = (Target::new(), Names::default());
    let frame = named(&mut names, target.window_at(10, "", &[0x1010]))[0].0;
    target.dump(9, "first");
    let last = names.take_last();
    assert_eq!(last.len(), 1);
    assert_eq!((last[0].0, &*last[0].1.name), (frame, "first"));
}

#[test]
fn names_are_cut_and_hold_no_orders() {
    assert_eq!(name_of(b""), None);
    assert_eq!(name_of(b"a\x1b[2Jb").as_deref(), Some("a\u{fffd}[2Jb"));
    let long = name_of(&[b'x'; 2 * MOST_NAME_BYTES]).unwrap();
    assert_eq!((long.chars().count(), long.ends_with('\u{2026}')), (MOST_NAME_BYTES + 1, true));
}
