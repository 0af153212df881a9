//! The history of processes, event by event.

use super::*;

fn map(start: u64, path: &str) -> MapEvent {
    MapEvent { start, bytes: 0x1000, offset: 0, device: 0, inode: 0, path: path.into() }
}

fn executes(tasks: &mut Tasks, tgid: u32, time_ns: u64) {
    tasks.apply(time_ns, TaskEvent::Comm { tgid, tid: tgid, comm: "a".into(), exec: true });
}

fn module_at(tasks: &Tasks, tgid: u32, time_ns: u64, address: u64) -> Option<String> {
    let mapping = tasks.processes.get(&tgid)?.space_at(time_ns)?.find(address, time_ns)?;
    Some(mapping.module.path.clone())
}

#[test]
fn an_address_means_what_was_mapped_at_that_time() {
    let mut tasks = Tasks::default();
    executes(&mut tasks, 1, 9);
    tasks.apply(10, TaskEvent::Map { tgid: 1, mapping: map(0x1000, "/a") });
    tasks.apply(20, TaskEvent::Fork { tgid: 2, parent_tgid: 1, tid: 2 });
    tasks.apply(30, TaskEvent::Comm { tgid: 2, tid: 2, comm: "b".into(), exec: true });
    tasks.apply(31, TaskEvent::Map { tgid: 2, mapping: map(0x1000, "/b") });
    tasks.apply(40, TaskEvent::Map { tgid: 2, mapping: map(0x1000, "/b.so") });
    assert_eq!(module_at(&tasks, 2, 25, 0x1800).as_deref(), Some("/a"), "inherited from the parent");
    assert_eq!(module_at(&tasks, 2, 35, 0x1800).as_deref(), Some("/b"), "after the exec");
    assert_eq!(module_at(&tasks, 2, 45, 0x1800).as_deref(), Some("/b.so"), "after it was mapped over");
    assert_eq!(module_at(&tasks, 1, 45, 0x1800).as_deref(), Some("/a"), "the parent kept its own");
    assert_eq!(module_at(&tasks, 1, 45, 0x2000), None);
    tasks.forget_before(35, &HashSet::new());
    assert_eq!(module_at(&tasks, 2, 45, 0x1800).as_deref(), Some("/b.so"));
}

#[test]
fn a_reused_id_starts_afresh_and_the_past_stays_until_forgotten() {
    let mut tasks = Tasks::default();
    executes(&mut tasks, 1, 8);
    executes(&mut tasks, 7, 9);
    tasks.apply(10, TaskEvent::Map { tgid: 7, mapping: map(0x1000, "/old") });
    tasks.apply(20, TaskEvent::Exit { tgid: 7, tid: 7 });
    tasks.apply(30, TaskEvent::Fork { tgid: 7, parent_tgid: 1, tid: 7 });
    assert!(!tasks.take_remapped());
    assert_eq!(module_at(&tasks, 7, 15, 0x1000).as_deref(), Some("/old"));
    assert_eq!(module_at(&tasks, 7, 35, 0x1000), None);
    tasks.apply(40, TaskEvent::Exit { tgid: 7, tid: 7 });
    tasks.forget_before(50, &HashSet::new());
    assert!(!tasks.processes.contains_key(&7));
}

#[test]
fn the_past_of_who_is_told_of_later_stays_and_its_end_is_told_once() {
    let mut tasks = Tasks::default();
    let later = HashSet::from([7]);
    executes(&mut tasks, 7, 9);
    tasks.apply(10, TaskEvent::Map { tgid: 7, mapping: map(0x1000, "/a") });
    tasks.apply(20, TaskEvent::Comm { tgid: 7, tid: 7, comm: "b".into(), exec: true });
    tasks.apply(30, TaskEvent::Exit { tgid: 7, tid: 7 });
    assert_eq!(tasks.forget_before(40, &later), [7]);
    assert_eq!(tasks.forget_before(50, &later), [0_u32; 0]);
    assert_eq!(module_at(&tasks, 7, 15, 0x1000).as_deref(), Some("/a"), "before it executed another");
    assert_eq!(module_at(&tasks, 7, 25, 0x1000), None);
    tasks.forget_before(40 + LEFT_NS, &later);
    assert!(tasks.processes.is_empty(), "all that it changed is written");
}

#[test]
fn what_happens_to_a_process_of_unknown_beginning_is_left_to_a_scan() {
    let mut tasks = Tasks::default();
    tasks.apply(10, TaskEvent::Fork { tgid: 7, parent_tgid: 1, tid: 7 });
    tasks.apply(11, TaskEvent::Map { tgid: 7, mapping: map(0x1000, "/a") });
    assert!(tasks.processes.is_empty());
    let mut tasks = Tasks::new(Follow::Named("b".into()));
    executes(&mut tasks, 7, 10);
    assert!(tasks.processes.is_empty());
    tasks.apply(11, TaskEvent::Comm { tgid: 7, tid: 7, comm: "b".into(), exec: true });
    assert!(tasks.is_followed(7));
}

#[test]
fn a_process_lives_as_long_as_its_last_thread() {
    let mut tasks = Tasks::default();
    executes(&mut tasks, 1, 9);
    tasks.apply(10, TaskEvent::Fork { tgid: 7, parent_tgid: 1, tid: 7 });
    tasks.apply(11, TaskEvent::Fork { tgid: 7, parent_tgid: 7, tid: 8 });
    tasks.apply(12, TaskEvent::Map { tgid: 7, mapping: map(0x1000, "/a") });
    tasks.apply(13, TaskEvent::Exit { tgid: 7, tid: 7 });
    tasks.forget_before(20, &HashSet::new());
    assert_eq!(module_at(&tasks, 7, 20, 0x1000).as_deref(), Some("/a"), "its main thread has ended, it has not");
    tasks.apply(30, TaskEvent::Comm { tgid: 7, tid: 7, comm: "b".into(), exec: true });
    tasks.apply(31, TaskEvent::Map { tgid: 7, mapping: map(0x1000, "/b") });
    assert_eq!(module_at(&tasks, 7, 32, 0x1000).as_deref(), Some("/b"), "executed by the other thread");
    tasks.apply(40, TaskEvent::Exit { tgid: 7, tid: 7 });
    tasks.forget_before(50, &HashSet::new());
    assert!(!tasks.processes.contains_key(&7));
}

#[test]
fn a_count_of_lost_events_that_makes_no_sense_is_no_crash() {
    let mut tasks = Tasks::default();
    (0..2).for_each(|time_ns| tasks.apply(time_ns, TaskEvent::Lost { count: u64::MAX }));
    assert_eq!(tasks.lost_events(), u64::MAX);
}

#[test]
fn only_other_code_at_the_same_place_is_a_remapping() {
    let mut tasks = Tasks::default();
    executes(&mut tasks, 1, 9);
    tasks.apply(10, TaskEvent::Map { tgid: 1, mapping: map(0x1000, "/a") });
    tasks.apply(11, TaskEvent::Map { tgid: 1, mapping: map(0x2000, "/b") });
    tasks.apply(12, TaskEvent::Map { tgid: 1, mapping: map(0x1000, "/a") });
    assert!(!tasks.take_remapped());
    tasks.apply(13, TaskEvent::Map { tgid: 1, mapping: map(0x1000, "/b") });
    assert!(tasks.take_remapped());
    assert!(!tasks.take_remapped());
}
