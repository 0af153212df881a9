//! What threads do adds up.

use super::*;

#[test]
fn times_add_up_whatever_a_thread_does() {
    let mut thread = Thread { since_ns: 100, first_ns: 100, state: State::Unheard as u32, ..Thread::default() };
    thread.turn(150, State::Running, State::Blocked);
    assert_eq!(thread.times(175), [50, 0, 25]);
    thread.turn(180, State::Blocked, State::Runnable);
    thread.turn(200, State::Runnable, State::Running);
    assert_eq!(thread.times(260), [110, 20, 30]);
    assert_eq!(thread.times(260).iter().sum::<u64>(), 260 - thread.first_ns);
    let mut thread = Thread { off_ns: 300, since_ns: 300, state: State::Blocked as u32, ..thread };
    assert_eq!(thread.off(320), [20, 0]);
    thread.turn(330, State::Blocked, State::Runnable);
    assert_eq!(thread.off(335), [30, 5]);
    let thread = Thread { first_ns: 100, since_ns: 200, running_ns: 50, runnable_ns: 20, blocked_ns: 30, ..thread };
    let thread = Thread { state: State::Running as u32, ..thread };
    // A clock read before the last change.
    assert_eq!(thread.times(190), [50, 20, 30]);
}

#[test]
fn the_kernels_account_tells_what_was_not_seen() {
    let thread = Thread { exec_ns: 700, ..Thread::default() };
    assert_eq!([thread.ran_since(750), thread.ran_since(699), thread.ran_since(0)], [Some(50), Some(0), None]);
    assert_eq!(Thread { exec_ns: UNKNOWN_EXEC, ..thread }.ran_since(750), None);
    let runs = Thread { since_ns: 1_000, state: State::Running as u32, ..thread };
    for (exec_ns, known_ns, times) in
        [(750, 700, [50, 0, 150]), (950, 700, [200, 0, 0]), (950, UNKNOWN_EXEC, [0, 0, 200])]
    {
        let mut thread = Thread { exec_ns: known_ns, ..runs };
        thread.leave_unseen(exec_ns, 1_200);
        assert_eq!((thread.times(1_200), thread.state, thread.exec_ns), (times, State::Blocked as u32, exec_ns));
    }
}

#[test]
fn places_tell_how_stacks_were_come_by() {
    use place::How;
    for at in [1, 2, 3, 0xffff_ffff_ffff_fffc] {
        for how in [How::Unknown, How::Own, How::Skipped, How::Sampled] {
            let place = place::with(at, how);
            assert_eq!((place::how(place), place::of(place)), (how, at & !3));
        }
    }
    assert_eq!(place::how(WaitKey::default().place), How::Unknown);
}

#[test]
fn filters_keep_what_is_long_enough_and_in_a_wanted_state() {
    let bits = [0, TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE, 4, TASK_UNINTERRUPTIBLE | TASK_NOLOAD].map(state_bit);
    assert_eq!(bits, [1, 2, 4, 8, 16]);
    assert_eq!(state_bit(TASK_WAKEKILL | TASK_UNINTERRUPTIBLE), 4);
    let filter = WaitFilter { min_ns: 1_000, states: 2 | 4 };
    let sleeps = why(TASK_INTERRUPTIBLE, 35);
    assert!(filter.keeps(sleeps, 1_000) && !filter.keeps(sleeps, 999) && !filter.keeps(why(0, 35), 5_000));
    assert!(WaitFilter::ALL.keeps(why(0, 35), 0));
}

#[test]
fn reasons_keep_what_they_are_made_of() {
    for (state, call) in [(1, 202), (2, NO_SYSTEM_CALL), (TASK_WAKEKILL | 2, INTERRUPTED), (0x402, 0)] {
        assert_eq!((task_state(why(state, call)), system_call(why(state, call))), (state, call));
    }
}
