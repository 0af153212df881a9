//! How threads that wait came into the kernel, and the system calls that they are in, as `/proc` tells them.

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

/// How a thread that waits came into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number and the arguments of the system call that it is in; `None` if it is in none.
    pub call: Option<(u32, [u64; 6])>,
    /// The stack pointer, and the instruction pointer of its user code.
    pub place: [u64; 2],
}

/// How a thread came into the kernel; `None` if it runs, or may not be asked.
#[must_use]
pub fn entry(tgid: u32, tid: u32) -> Option<Entry> {
    parse_entry(&fs::read_to_string(format!("/proc/{tgid}/task/{tid}/syscall")).ok()?)
}

/// Parses `number arguments sp ip`, or `-1 sp ip` of a thread that is in no call.
fn parse_entry(text: &str) -> Option<Entry> {
    let mut fields = text.split_ascii_whitespace();
    let number = fields.next()?;
    let mut words = fields.map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let mut next = || words.next().flatten();
    let call = match number {
        "-1" => None,
        number => Some((number.parse().ok()?, [next()?, next()?, next()?, next()?, next()?, next()?])),
    };
    Some(Entry { call, place: [next()?, next()?] })
}

/// The system call that a blocked thread is in, by the rules of 64-bit programs; `None` also for threads of the kernel.
#[must_use]
pub fn found_call(tgid: u32, tid: u32) -> Option<FoundCall> {
    of_64_bits(entry(tgid, tid)?)
}

fn of_64_bits(Entry { call, place }: Entry) -> Option<FoundCall> {
    let (call, arguments) = call?;
    // Threads of the kernel have no stack there, and those of 32-bit programs, whose calls have other numbers, a low one.
    (place[0] > u64::from(u32::MAX)).then_some(FoundCall { call, arguments, place })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn parse_call(text: &str) -> Option<FoundCall> {
        of_64_bits(parse_entry(text)?)
    }

    #[test]
    fn a_thread_that_waits_in_no_call_came_from_somewhere() {
        let fault = parse_entry("-1 0x7ffe00001000 0x7f0000401234");
        assert_eq!(fault, Some(Entry { call: None, place: [0x7ffe_0000_1000, 0x7f00_0040_1234] }));
        assert_eq!(parse_entry("running"), None);
    }

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
