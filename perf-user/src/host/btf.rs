//! A reader of BTF, just enough to ask where a kernel structure keeps a member.
//!
//! Layout: `Documentation/bpf/btf.rst` of the kernel. aya keeps member offsets to itself, and its full parse takes tens
//! of milliseconds; this walks the type section once.

use std::collections::HashMap;

/// Where the running kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNCTION_PROTOTYPE: u32 = 13;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

/// What is wrong with a BTF blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The magic number, or the header, is not BTF's.
    #[error("the kernel's BTF has no valid header")]
    Header,
    /// A section lies outside the blob.
    #[error("the kernel's BTF is truncated")]
    Truncated,
}

/// A parsed blob, borrowing its bytes.
#[derive(Clone, Debug)]
pub struct Btf<'data> {
    types: &'data [u8],
    strings: &'data [u8],
    /// Where each type is, in the order of their numbers, the first of which is 1.
    index: Vec<usize>,
    /// Where structures are, by their names.
    structures: HashMap<&'data [u8], Vec<usize>>,
}

impl<'data> Btf<'data> {
    /// Finds the sections.
    ///
    /// # Errors
    /// When the header is not BTF's, or the blob is shorter than it says.
    pub fn parse(data: &'data [u8]) -> Result<Self, BtfError> {
        if data.get(..2) != Some(&MAGIC.to_ne_bytes()[..]) {
            return Err(BtfError::Header);
        }
        let field = |at: usize| word(data, at).map(|value| value as usize).ok_or(BtfError::Header);
        let header = field(4)?;
        let section = |offset: usize, len: usize| {
            let start = header.checked_add(offset)?;
            data.get(start..start.checked_add(len)?)
        };
        let types = section(field(8)?, field(12)?).ok_or(BtfError::Truncated)?;
        let strings = section(field(16)?, field(20)?).ok_or(BtfError::Truncated)?;
        let mut btf = Self { types, strings, index: Vec::new(), structures: HashMap::new() };
        let mut at = 0;
        while let Some(info) = word(types, at + 4) {
            let (kind, vlen) = kind_of(info);
            btf.index.push(at);
            if let Some(name) = word(types, at).filter(|_| kind == KIND_STRUCT).and_then(|name| btf.text(name)) {
                btf.structures.entry(name).or_default().push(at);
            }
            let Some(more) = trailer_bytes(kind, vlen) else { break };
            at += TYPE_BYTES + more;
        }
        Ok(btf)
    }

    /// As [`Self::member_offset`], of members of unions and structures without a name in it, too.
    #[must_use]
    pub fn nested_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let found = self.structures.get(structure.as_bytes())?.first()?;
        bytes_of(self.nested_bits(*found, member, 0)?)
    }

    /// How many parameters the functions have whose pointers are of this type; `None` when there is no such type.
    #[must_use]
    pub fn parameters(&self, name: &str) -> Option<u32> {
        let is_it = |at: &usize| {
            word(self.types, at + 4).is_some_and(|info| kind_of(info).0 == KIND_TYPEDEF)
                && word(self.types, *at).is_some_and(|told| self.is_named(told, name))
        };
        let of = |at: usize| self.at(word(self.types, at + 8)?);
        let function = of(of(self.index.iter().copied().find(is_it)?)?)?;
        let (kind, count) = kind_of(word(self.types, function + 4)?);
        (kind == KIND_FUNCTION_PROTOTYPE).then_some(count as u32)
    }

    /// Where the type of this number is.
    fn at(&self, number: u32) -> Option<usize> {
        self.index.get((number as usize).checked_sub(1)?).copied()
    }

    /// The offset in bits of `member` in the structure or union at this place; nobody nests them deeper than so.
    fn nested_bits(&self, at: usize, member: &str, depth: u32) -> Option<u32> {
        const DEEPEST: u32 = 8;
        let info = word(self.types, at + 4)?;
        if !matches!(kind_of(info).0, KIND_STRUCT | KIND_UNION) || depth > DEEPEST {
            return None;
        }
        self.members(at, info).find_map(|(name, of, bits)| {
            if self.is_named(name, member) {
                return Some(bits);
            }
            let nested = if self.is_named(name, "") { self.at(of) } else { None };
            Some(bits + self.nested_bits(nested?, member, depth + 1)?)
        })
    }

    /// The offset in bytes of `member` in the first structure called `structure` that has it; `None` when there is none, or
    /// the member is a bit field.
    #[must_use]
    pub fn member_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let bits = self.structures.get(structure.as_bytes())?.iter().find_map(|at| {
            let info = word(self.types, at + 4)?;
            self.members(*at, info).find(|(name, ..)| self.is_named(*name, member)).map(|(.., bits)| bits)
        });
        bytes_of(bits?)
    }

    /// The names, types and offsets in bits of the members of the structure or union at this place.
    fn members(&self, at: usize, info: u32) -> impl Iterator<Item = (u32, u32, u32)> {
        (0..kind_of(info).1).map_while(move |index| {
            let member_at = at + TYPE_BYTES + index * MEMBER_BYTES;
            let bits = word(self.types, member_at + 8)?;
            // With the kind flag set, the upper byte holds a bit field's width.
            let bits = if info >> 31 == 0 { bits } else { bits & 0x00ff_ffff };
            Some((word(self.types, member_at)?, word(self.types, member_at + 4)?, bits))
        })
    }

    /// Whether anything has this name.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.strings.split(|byte| *byte == 0).any(|known| known == name.as_bytes())
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .is_some_and(|rest| rest.get(..name.len()) == Some(name.as_bytes()) && rest.get(name.len()) == Some(&0))
    }

    fn text(&self, offset: u32) -> Option<&'data [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.get(..rest.iter().position(|byte| *byte == 0)?)
    }
}

/// The kind of a type, and how many parts it has.
fn kind_of(info: u32) -> (u32, usize) {
    ((info >> 24) & 0x1f, (info & 0xffff) as usize)
}

/// An offset in bytes, if it is one.
fn bytes_of(bits: u32) -> Option<u32> {
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// Bytes that follow a type of this kind; `None` for a kind this reader does not know.
fn trailer_bytes(kind: u32, vlen: usize) -> Option<usize> {
    Some(match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => vlen * 12,
        // ENUM, FUNC_PROTO
        6 | 13 => vlen * 8,
        _ => return None,
    })
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    /// `struct a { int x; }; struct task { int pid; int tgid; }` with an INT and a PTR between them.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0a\0x\0task\0pid\0tgid\0";
        let name = |wanted: &str| {
            let wanted = [b"\0", wanted.as_bytes(), b"\0"].concat();
            (strings.windows(wanted.len()).position(|window| window == wanted).unwrap() + 1) as u32
        };
        let types: Vec<u32> = [
            vec![name("int"), 1 << 24, 4, 32],
            vec![name("a"), (4 << 24) | 1, 4, name("x"), 1, 0],
            vec![0, 2 << 24, 1],
            vec![name("task"), (4 << 24) | 2, 8, name("pid"), 1, 0, name("tgid"), 1, 32],
        ]
        .concat();
        let mut data = Vec::new();
        data.extend(MAGIC.to_ne_bytes());
        data.extend([1, 0]);
        for value in [24, 0, types.len() as u32 * 4, types.len() as u32 * 4, strings.len() as u32] {
            data.extend(value.to_ne_bytes());
        }
        data.extend(types.iter().flat_map(|value| value.to_ne_bytes()));
        data.extend(strings);
        data
    }

    #[test]
    fn finds_members_and_only_them() {
        let data = sample();
        let btf = Btf::parse(&data).unwrap();
        assert_eq!(btf.member_offset("task", "tgid"), Some(4));
        assert_eq!(btf.member_offset("a", "x"), Some(0));
        assert_eq!(btf.member_offset("a", "tgid"), None);
        assert_eq!(btf.member_offset("tas", "pid"), None);
        assert!(btf.has_name("tgid") && !btf.has_name("tgi"));
    }

    #[test]
    fn refuses_what_is_not_btf_and_survives_truncation() {
        assert_eq!(Btf::parse(b"ELF").unwrap_err(), BtfError::Header);
        let data = sample();
        for len in 2..data.len() {
            if let Ok(btf) = Btf::parse(&data[..len]) {
                let _ = btf.member_offset("task", "tgid");
            }
        }
    }

    #[test]
    fn finds_members_of_members_without_a_name() {
        let Ok(data) = std::fs::read(VMLINUX) else {
            println!("skipped: this kernel has no BTF");
            return;
        };
        let btf = Btf::parse(&data).unwrap();
        // `struct page { unsigned long flags; union { struct { union { struct list_head lru; ... }; struct address_space *mapping;`
        assert_eq!(btf.nested_offset("page", "mapping"), Some(24));
        let head = btf.nested_offset("page", "compound_head").or_else(|| btf.nested_offset("page", "compound_info"));
        assert_eq!(head, Some(8));
        // `(void *, bool preempt, struct task_struct *prev, struct task_struct *next[, unsigned int prev_state])`
        assert!(matches!(btf.parameters("btf_trace_sched_switch"), Some(4 | 5)));
        assert_eq!(btf.parameters("no such type"), None);
        assert_eq!(btf.member_offset("page", "mapping"), None);
        assert_eq!(btf.nested_offset("task_struct", "pid"), btf.member_offset("task_struct", "pid"));
        assert_eq!(btf.nested_offset("page", "no such member"), None);
    }

    #[test]
    fn the_running_kernel_describes_its_tasks() {
        let Ok(data) = std::fs::read(VMLINUX) else {
            println!("skipped: this kernel has no BTF");
            return;
        };
        let btf = Btf::parse(&data).unwrap();
        let (pid, tgid) = (btf.member_offset("task_struct", "pid"), btf.member_offset("task_struct", "tgid"));
        assert_eq!(tgid.unwrap() - pid.unwrap(), 4, "pid and tgid are neighbours in every kernel so far");
    }
}
