//! What devices are asked for, in words.

use std::borrow::Cow;

use perf_ebpf::block::Operation;

use super::{Named, did_name};
use crate::{collect::Did, host::block::disk_name, task::Module};

/// What a device is asked for.
#[must_use]
pub fn operation_label(operation: u32) -> &'static str {
    match Operation::ALL.into_iter().find(|known| *known as u32 == operation) {
        Some(Operation::Read) => "read",
        Some(Operation::Write) => "write",
        Some(Operation::Flush) => "flush",
        Some(Operation::Discard) => "discard",
        Some(Operation::Writeback) => "writeback",
        Some(Operation::Other) | None => "other",
    }
}

/// `read /srv/t.db`.
pub(super) fn touched(module: &Module, what: Did) -> Named {
    super::made_up_function(format!("{} {}", did_name(what), module.path).trim_end())
}

/// What the frame is called that stands for what a thread did: of a request, `read vda`.
#[must_use]
pub(super) fn did_label(did: Did) -> Cow<'static, str> {
    match did {
        Did::Asked(operation, disk) => format!("{} {}", operation_label(operation), disk_name(disk)).into(),
        _ => did_name(did).into(),
    }
}
