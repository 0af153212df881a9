//! Thread names as the kernel keeps them: at most 15 bytes, padded with zeros.

/// Bytes of a thread's name, its final zero among them (`TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;

/// A thread's name.
pub type Comm = [u8; COMM_BYTES];

/// The name as two integers, the form in which the kernel half is told it and compares it.
#[inline]
#[must_use]
pub const fn comm_words(comm: &Comm) -> [u64; 2] {
    let (low, high) = comm.split_at(8);
    let mut words = [[0; 8]; 2];
    words[0].copy_from_slice(low);
    words[1].copy_from_slice(high);
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_differ_when_any_byte_does() {
        let name: Comm = *b"redis-server\0\0\0\0";
        for at in 0..COMM_BYTES {
            let mut other = name;
            other[at] ^= 1;
            assert_ne!(comm_words(&name), comm_words(&other), "byte {at}");
        }
    }
}
