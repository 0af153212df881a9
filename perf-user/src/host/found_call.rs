//! The system calls that threads are in, as `/proc` tells them.

use std::fs;

/// A system call that a thread was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundCall {
    /// Its number.
    pub call: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// Where the thread's stack and its next instruction were: by them two looks tell whether they saw the same call.
    place: [u64; 2],
}

/// The system call that a blocked thread is in, by the rules of 64-bit programs; `None` also for threads of the kernel.
#[must_use]
pub fn found_call(tgid: u32, tid: u32) -> Option<FoundCall> {
    parse_call(&fs::read_to_string(format!("/proc/{tgid}/task/{tid}/syscall")).ok()?)
}

fn parse_call(text: &str) -> Option<FoundCall> {
    let mut fields = text.split_ascii_whitespace();
    let call = fields.next()?.parse().ok()?;
    let mut words = fields.map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let mut next = || words.next().flatten();
    let arguments = [next()?, next()?, next()?, next()?, next()?, next()?];
    let place = [next()?, next()?];
    // Threads of the kernel have no stack there, and those of 32-bit programs, whose calls have other numbers, a low one.
    (place[0] > u64::from(u32::MAX)).then_some(FoundCall { call, arguments, place })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_with_their_arguments() {
        let found =
            parse_call("0 0x3 0x7ffe10 0x1000 0x0 0x0 0xffffffffffffffff 0x7ffe00001000 0x7f0000401234\n").unwrap();
        assert_eq!((found.call, found.arguments[0], found.arguments[5]), (0, 3, u64::MAX));
        for none in ["running", "-1 0x7ffe00001000 0x7f0000401234", "0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0", "3 0x1", ""] {
            assert_eq!(parse_call(none), None, "{none}");
        }
        assert_eq!(parse_call("3 0x1 0x2 0x3 0x0 0x0 0x0 0xffb01000 0xf7f01234"), None, "of a 32-bit program");
    }
}
