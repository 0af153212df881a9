//! Stacks as lists of addresses, and the 64-bit ids they are stored under.

/// Frames kept of a stack, for user and kernel each: the deepest the kernel's walker goes by default
/// (`kernel.perf_event_max_stack`).
pub const MAX_FRAMES: usize = 127;

/// Addresses, leaf first, ended by a zero if there are fewer than [`MAX_FRAMES`].
pub type Frames = [u64; MAX_FRAMES];

/// Frames kept of a user stack that is walked by tables, and longer than [`MAX_FRAMES`].
pub const MAX_DEEP_FRAMES: usize = 512;

/// As [`Frames`], of a deep stack.
pub type DeepFrames = [u64; MAX_DEEP_FRAMES];

/// Bytes of [`Frames`].
pub const FRAMES_BYTES: usize = size_of::<Frames>();

/// The id before any frame is mixed in.
pub const STACK_ID_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes one more frame into an id. A multiplication and a shift fold every input bit into the result; the odd
/// multiplier makes the step a bijection of the id, so two stacks of equal length that differ in one frame never meet.
#[inline(always)]
#[must_use]
pub const fn mix(id: u64, frame: u64) -> u64 {
    let product = (id ^ frame).wrapping_mul(0xff51_afd7_ed55_8ccd);
    product ^ (product >> 32)
}

/// The finished id: never 0, which stands for "no stack".
#[inline(always)]
#[must_use]
pub const fn finish(id: u64) -> u64 {
    if id == 0 { 1 } else { id }
}

/// The id of a whole stack.
#[must_use]
pub fn id_of(frames: &[u64]) -> u64 {
    finish(frames.iter().fold(STACK_ID_SEED, |id, frame| mix(id, *frame)))
}

/// The frames of a stored stack, without the zeros behind them.
#[must_use]
pub fn used(frames: &[u64]) -> &[u64] {
    let len = frames.iter().position(|frame| *frame == 0).unwrap_or(frames.len());
    &frames[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_every_frame_and_on_their_order() {
        let stack = [0x5555_0000_1000, 0x5555_0000_2000, 0x7fff_f7dd_0000];
        let mut other = stack;
        other.swap(0, 1);
        assert_ne!(id_of(&stack), id_of(&other));
        for at in 0..stack.len() {
            let mut other = stack;
            other[at] += 1;
            assert_ne!(id_of(&stack), id_of(&other));
        }
        assert_ne!(id_of(&stack), id_of(&stack[..2]));
    }

    #[test]
    fn a_million_similar_stacks_have_a_million_ids() {
        extern crate std;
        let mut ids = std::collections::HashSet::new();
        for a in 0..1000_u64 {
            for b in 0..1000_u64 {
                ids.insert(id_of(&[0x5555_5555_4000 + a * 4, 0x5555_5555_8000 + b * 4, 0x7fff_f7de_1234]));
            }
        }
        assert_eq!(ids.len(), 1_000_000);
    }

    #[test]
    fn used_frames_end_at_the_first_zero() {
        let mut frames: Frames = [0; MAX_FRAMES];
        assert!(used(&frames).is_empty());
        frames[0] = 7;
        assert_eq!(used(&frames), [7]);
        assert_eq!(used(&[1; MAX_FRAMES]).len(), MAX_FRAMES);
    }
}
