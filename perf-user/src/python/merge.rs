//! Python frames in their places among native ones.

use perf_ebpf::python::{Ending, Frame, Header};

/// What one call of the interpreter's loop runs: Python frames that call one another without native ones between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Innermost first; none if the call has not begun its first, or has left it.
    pub frames: Vec<Frame>,
}

/// Takes a stored stack of Python frames apart: its header, and the calls of the loop, innermost first.
#[must_use]
pub fn groups(words: &[u64]) -> Option<(Header, Vec<Group>)> {
    let (header, words) = words.split_first()?;
    let mut groups = vec![Group::default()];
    let mut whole = true;
    for frame in words.as_chunks().0.iter().map(|words| Frame::of(*words)) {
        if whole {
            groups.push(Group::default());
        }
        whole = frame.outermost;
        if let Some(group) = groups.last_mut().filter(|_| frame.code != 0) {
            group.frames.push(frame);
        }
    }
    groups.remove(0);
    Some((Header::of(*header), groups))
}

/// Puts the Python frames of a stack in the places of the native frames of the interpreter's loop: one call of the loop is
/// one native frame. `native`, outermost first, says of each frame whether it is of the loop. The result is outermost first.
///
/// Native frames can be missing, from the outermost on, where a stack could not be walked to its end: the Python frames
/// whose calls are among those stand outermost, with `gap` after those of each call, unless `is_gap` says that one is there
/// already. A call of the loop without Python frames keeps its native frame. If the Python frames are not all of them,
/// `more` stands where they end.
pub fn merge<F: Copy>(
    native: &[(F, bool)],
    (ending, groups): (u32, Vec<Vec<F>>),
    is_gap: impl Fn(F) -> bool,
    gap: F,
    more: F,
) -> Vec<F> {
    let cut = ending != Ending::Whole as u32;
    let calls = native.iter().filter(|(_, is_loop)| *is_loop).count();
    // The innermost call may just be entering the loop, or leaving it: then it has no Python frame, and all others do.
    let idle = if cut { 0 } else { calls.saturating_sub(groups.len()) };
    let last = groups.len().saturating_sub(1);
    let mut groups = groups.into_iter().enumerate().peekable();
    let mut merged = Vec::new();
    let mut seen = 0;
    for (frame, is_loop) in native.iter().rev() {
        seen += usize::from(*is_loop);
        let group = if *is_loop && seen > idle { groups.next() } else { None };
        match group {
            Some((at, frames)) => {
                if frames.is_empty() {
                    merged.push(*frame);
                }
                merged.extend(frames);
                merged.extend((cut && at == last).then_some(more));
            }
            None => merged.push(*frame),
        }
    }
    if groups.peek().is_some() {
        let mut is_told = native.first().is_some_and(|(outermost, _)| is_gap(*outermost));
        for (_, frames) in groups.filter(|(_, frames)| !frames.is_empty()) {
            merged.extend((!is_told).then_some(gap));
            is_told = false;
            merged.extend(frames);
        }
        merged.extend(cut.then_some(more));
    }
    merged.reverse();
    merged
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn frame(code: u64, outermost: bool) -> [u64; 2] {
        Frame { code, outermost, check: 1, offset: 0 }.words()
    }

    fn stack(frames: &[[u64; 2]]) -> Vec<u64> {
        let header = Header { number: 7, ending: Ending::Whole as u32 }.word();
        std::iter::once(header).chain(frames.iter().copied().flatten()).collect()
    }

    fn codes(words: &[u64]) -> Vec<Vec<u64>> {
        let (header, groups) = groups(words).unwrap();
        assert_eq!(header.number, 7);
        groups.into_iter().map(|group| group.frames.iter().map(|frame| frame.code).collect()).collect()
    }

    #[test]
    fn calls_of_the_loop_end_with_a_marked_frame_or_with_one_that_has_no_code() {
        let marked = [frame(1, false), frame(2, true), frame(3, true), frame(4, false)];
        assert_eq!(codes(&stack(&marked)), [vec![1, 2], vec![3], vec![4]]);
        let shims = [frame(0, true), frame(1, false), frame(2, false), frame(0, true), frame(3, false), frame(0, true)];
        assert_eq!(codes(&stack(&shims)), [vec![], vec![1, 2], vec![3]]);
        assert_eq!(codes(&stack(&[])), Vec::<Vec<u64>>::new());
        assert!(groups(&[]).is_none());
    }

    /// Native frames as letters, `E` a frame of the loop, `!` a gap; groups innermost first.
    fn merged(native: &str, groups: &[&str], ending: Ending) -> String {
        let native: Vec<_> = native.chars().map(|frame| (frame, frame == 'E')).collect();
        let groups = groups.iter().map(|group| group.chars().collect()).collect();
        merge(&native, (ending as u32, groups), |frame| frame == '!', '~', '+').into_iter().collect()
    }

    #[test]
    fn whole_stacks_are_in_order() {
        assert_eq!(merged("maEbEc", &["yx", "wv"], Ending::Whole), "mavwbxyc");
        assert_eq!(merged("mab", &[], Ending::Whole), "mab");
        assert_eq!(merged("", &[], Ending::Whole), "");
    }

    #[test]
    fn a_call_that_enters_or_leaves_the_loop_stays_native() {
        assert_eq!(merged("maEbE", &["wv"], Ending::Whole), "mavwbE");
        assert_eq!(merged("maEbE", &["", "wv"], Ending::Whole), "mavwbE");
        assert_eq!(merged("mE", &[], Ending::Whole), "mE");
    }

    #[test]
    fn callers_without_native_frames_stand_outermost_behind_a_gap() {
        assert_eq!(merged("Ec", &["y", "x", "wv"], Ending::Whole), "vw~x~yc");
        assert_eq!(merged("!aEc", &["y", "wv"], Ending::Whole), "vw!ayc");
        assert_eq!(merged("c", &["y"], Ending::Whole), "y~c");
        assert_eq!(merged("", &["y"], Ending::Whole), "y~");
    }

    #[test]
    fn python_frames_that_are_not_all_say_so() {
        assert_eq!(merged("mEaEbEc", &["y", "x"], Ending::Deep), "mEa+xbyc");
        assert_eq!(merged("mEaEc", &["y", "x"], Ending::Unreadable), "m+xayc");
        assert_eq!(merged("!Ec", &["y", "x"], Ending::Deep), "+x!yc");
    }
}
