//! Code as bytes: what can be seen of it without following it.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, Register};

use super::ALIGNED;

/// How the kernel is asked to return from a signal, in the forms that C libraries use; handlers return to its first byte.
const SIGNAL_RETURNS: [&[u8]; 2] = [&[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05], &[0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05]];

/// A stretch of code without information. All places are offsets in the file.
#[derive(Clone, Copy, Debug)]
pub(in crate::unwind) struct Gap<'data> {
    pub(in crate::unwind) start: u64,
    pub(in crate::unwind) bytes: &'data [u8],
}

impl Gap<'_> {
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub(super) fn holds(&self, at: u64) -> bool {
        self.start <= at && at < self.end()
    }

    /// The instruction at a place; `None` where there is none.
    pub(super) fn decode(&self, at: u64) -> Option<Instruction> {
        let rest = self.bytes.get(usize::try_from(at.checked_sub(self.start)?).ok()?..)?;
        let mut decoder = Decoder::with_ip(64, rest, at, DecoderOptions::NONE);
        Some(decoder.decode()).filter(|instruction| !instruction.is_invalid())
    }

    /// Whether what begins at a place saves registers or takes memory from the stack first, as functions do that call others.
    pub(super) fn makes_frame(&self, at: u64) -> bool {
        let first = self.decode(at).filter(|_| at.is_multiple_of(ALIGNED));
        first.is_some_and(|first| match first.mnemonic() {
            Mnemonic::Push => true,
            Mnemonic::Sub => first.op0_register() == Register::RSP,
            _ => false,
        })
    }

    /// Trampolines of signals, with the byte before, where the walk looks for what a handler returns to, and the one behind,
    /// where the thread is while the kernel returns.
    pub(super) fn signal_returns(&self) -> impl Iterator<Item = (u64, u64)> {
        let found = move |form: &'static [u8]| {
            let places = self.bytes.windows(form.len()).enumerate().filter(move |(_, code)| *code == form);
            places.map(move |(at, _)| {
                let start = self.start + at as u64;
                (start.saturating_sub(1).max(self.start), (start + form.len() as u64 + 1).min(self.end()))
            })
        };
        SIGNAL_RETURNS.into_iter().flat_map(found)
    }
}

/// Whether an instruction only fills up to where the next function begins.
pub(super) fn fills(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
        || instruction.mnemonic() == Mnemonic::Xchg && instruction.op0_register() == instruction.op1_register()
}
