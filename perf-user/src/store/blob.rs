//! What rows hold as bytes: the samples of one process in one window, sorted, delta-coded, compressed where that helps; and the
//! frames of a stack.

use std::borrow::Cow;

/// One sample: rows of the tables `thread` and `stack`, and the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) thread: u32,
    pub(super) stack: u32,
    pub(super) value: u64,
}

/// First byte: what follows is as it is, or compressed by zstd.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 3;

/// Encodes entries: for each the distance to the thread and stack before it, and its value, as LEB128.
pub(super) fn encode(mut entries: Vec<Entry>) -> Vec<u8> {
    entries.sort_unstable();
    let mut plain = Vec::new();
    let (mut thread, mut stack) = (0, 0);
    for entry in entries {
        if entry.thread != thread {
            stack = 0;
        }
        push(&mut plain, u64::from(entry.thread - thread));
        push(&mut plain, u64::from(entry.stack - stack));
        push(&mut plain, entry.value);
        (thread, stack) = (entry.thread, entry.stack);
    }
    pack(&plain)
}

/// Bytes as they are or compressed, whichever is less; the first byte tells which.
pub(super) fn pack(plain: &[u8]) -> Vec<u8> {
    match zstd::bulk::compress(plain, ZSTD_LEVEL) {
        Ok(packed) if packed.len() < plain.len() => [&[ZSTD], packed.as_slice()].concat(),
        _ => [&[PLAIN], plain].concat(),
    }
}

/// What [`pack`] was given; `None` when the bytes are damaged, or more than `most`.
pub(super) fn unpack(data: &[u8], most: usize) -> Option<Cow<'_, [u8]>> {
    match data.split_first()? {
        (&PLAIN, plain) => Some(plain.into()),
        (&ZSTD, packed) => {
            let bytes = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
            Some(zstd::bulk::decompress(packed, usize::try_from(bytes).ok()?.min(most)).ok()?.into())
        }
        _ => None,
    }
}

/// Decodes what [`encode`] made; `None` when the bytes are damaged.
pub(super) fn decode(data: &[u8]) -> Option<Vec<Entry>> {
    // Fifty times what the kernel half's maps can hold of a window.
    const MAX_BYTES: usize = 8 << 20;
    let plain = unpack(data, MAX_BYTES)?;
    let mut rest = &plain[..];
    let (mut thread, mut stack) = (0_u32, 0_u32);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let step = u32::try_from(pull(&mut rest)?).ok()?;
        if step != 0 {
            stack = 0;
        }
        thread = thread.checked_add(step)?;
        stack = stack.checked_add(u32::try_from(pull(&mut rest)?).ok()?)?;
        entries.push(Entry { thread, stack, value: pull(&mut rest)? });
    }
    Some(entries)
}

/// Encodes rows of the table `frame`: for each how far it is from the one before, as LEB128 of zigzag numbers, since frames that
/// were first seen together have rows near each other.
pub(super) fn encode_frames(frames: &[u32]) -> Vec<u8> {
    let (mut data, mut before) = (Vec::with_capacity(frames.len() * 2), 0);
    for frame in frames {
        let step = i64::from(*frame) - before;
        push(&mut data, ((step << 1) ^ (step >> 63)) as u64);
        before = i64::from(*frame);
    }
    data
}

/// Decodes what [`encode_frames`] made; `None` when the bytes are damaged.
pub(super) fn decode_frames(mut data: &[u8]) -> Option<Vec<u32>> {
    let (mut frames, mut before) = (Vec::new(), 0_i64);
    while !data.is_empty() {
        let step = pull(&mut data)?;
        before = before.checked_add((step >> 1) as i64 ^ -((step & 1) as i64))?;
        frames.push(u32::try_from(before).ok()?);
    }
    Some(frames)
}

pub(super) fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn pull(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_sorted() {
        for count in [0_u32, 1, 7, 5000] {
            let mut entries: Vec<_> = (0..count)
                .map(|at| Entry { thread: at % 5, stack: at.wrapping_mul(7919) % 100_000, value: u64::from(at) << 30 })
                .collect();
            let data = encode(entries.clone());
            entries.sort_unstable();
            assert_eq!(decode(&data).unwrap(), entries);
        }
    }

    #[test]
    fn frames_come_back_in_their_order() {
        for frames in [vec![], vec![0, u32::MAX, 0], vec![7, 8, 6, 500_000, 500_001, 3]] {
            assert_eq!(decode_frames(&encode_frames(&frames)).unwrap(), frames);
        }
        assert_eq!(encode_frames(&[70_000, 70_001, 69_999]).len(), 5);
        // Cut off, below zero, above all rows, and far above.
        for damaged in [&[0x80][..], &[1], &[0xfe, 0xff, 0xff, 0xff, 0x7f], &[0xff; 10]] {
            assert!(decode_frames(damaged).is_none(), "{damaged:?}");
        }
    }

    #[test]
    fn damaged_bytes_are_refused_not_believed() {
        let entries = (0..500).map(|at| Entry { thread: 1, stack: at * 3, value: 9 }).collect();
        let data = encode(entries);
        assert_eq!(data[0], ZSTD);
        assert!(decode(&data[..data.len() / 2]).is_none());
        assert!(decode(&[]).is_none());
        assert!(decode(&[PLAIN, 0x80]).is_none());
        assert!(decode(&[9, 1, 2]).is_none());
    }
}
