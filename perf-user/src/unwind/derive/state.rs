//! What one instruction does to the place of the return address and of the caller's frame pointer.

use iced_x86::{Code, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use perf_ebpf::unwind::{Cfa, MAX_SAVED_AT, Rule, SavedFp};

/// What is known before an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The canonical frame address (CFA) is the stack pointer + this.
    sp: Option<i64>,
    /// The CFA is the frame pointer + this.
    fp: Option<i64>,
    /// Where the caller's frame pointer is saved, from the CFA.
    saved: Option<i64>,
    /// The register still holds the caller's frame pointer.
    intact: bool,
    /// There is no caller: the frame pointer was cleared to say so, as the ABI wants it where a thread begins.
    outermost: bool,
}

impl State {
    /// Where a function begins: the return address is on top of the stack.
    pub(super) const START: Self = Self { sp: Some(8), fp: None, saved: None, intact: true, outermost: false };

    /// Where a thread begins.
    pub(super) const OUTERMOST: Self = Self { outermost: true, ..Self::START };

    /// Whether a function may return, or go on in another one, from here.
    pub(super) fn may_leave(&self) -> bool {
        self.outermost || self.sp == Some(8) && self.intact
    }

    /// Whether a thread begins here.
    pub(super) fn is_outermost(&self) -> bool {
        self.outermost
    }

    /// The rule that says the same; unknown where a part of it is.
    pub(super) fn rule(&self) -> Rule {
        self.known_rule().unwrap_or(Rule::UNKNOWN)
    }

    fn known_rule(&self) -> Option<Rule> {
        if self.outermost {
            return Some(Rule::of(Cfa::End, SavedFp::Kept, 0));
        }
        let fp = match self.saved {
            Some(at) => SavedFp::Saved(i8::try_from(at / 8).ok()?),
            None if self.intact => SavedFp::Kept,
            None => return None,
        };
        // The frame pointer first, if it is one: calls that take their arguments off the stack move the stack pointer alone.
        let (cfa, offset) = match (self.sp, self.fp) {
            (Some(at), _) if !self.keeps_frame_pointer() => (Cfa::Sp, at),
            (_, Some(at)) => (Cfa::Fp, at),
            (sp, None) => (Cfa::Sp, sp?),
        };
        Some(Rule::of(cfa, fp, i32::try_from(offset).ok()?))
    }

    fn keeps_frame_pointer(&self) -> bool {
        self.fp == Some(16) && self.saved == Some(-16)
    }

    /// What holds where code is reached in two ways; `None` if it cannot be one function's.
    pub(super) fn meet(self, other: Self) -> Option<Self> {
        fn same(one: Option<i64>, other: Option<i64>) -> Option<i64> {
            one.filter(|_| one == other)
        }
        let met = Self {
            sp: same(self.sp, other.sp),
            fp: same(self.fp, other.fp),
            saved: same(self.saved, other.saved),
            intact: self.intact && other.intact,
            outermost: self.outermost,
        };
        let found = met.sp.is_some() || met.keeps_frame_pointer() || self.sp.is_none() || other.sp.is_none();
        (found && self.outermost == other.outermost).then_some(met)
    }

    /// What is known behind an instruction that does not leave the function.
    pub(super) fn after(mut self, instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Self {
        if self.outermost {
            return self;
        }
        match instruction.mnemonic() {
            // What a call pushes, its return takes off.
            Mnemonic::Call => {}
            Mnemonic::Leave => {
                self.sp = self.fp;
                self.pop_fp();
            }
            Mnemonic::Push => {
                let size = i64::from(-instruction.stack_pointer_increment());
                self.sp = self.sp.map(|at| at + size);
                if instruction.op0_register() == Register::RBP {
                    self.save_at(self.sp.map(|at| -at));
                }
            }
            Mnemonic::Pop if instruction.op0_register() == Register::RBP => self.pop_fp(),
            Mnemonic::Xor if zeroes_fp(instruction) && self.intact && self.saved.is_none() => self.outermost = true,
            _ => self.other(instruction, factory),
        }
        self
    }

    fn other(&mut self, instruction: &Instruction, factory: &mut InstructionInfoFactory) {
        let is_one = |at| matches!(instruction.op_register(at).full_register(), Register::RSP | Register::RBP);
        if !instruction.is_stack_instruction() && !(0..instruction.op_count()).any(is_one) {
            return;
        }
        let before = *self;
        let address = before.address(instruction);
        if instruction.is_stack_instruction() && instruction.op0_register() != Register::RSP {
            self.sp = self.sp.map(|at| at - i64::from(instruction.stack_pointer_increment()));
        } else if writes(instruction, factory, Register::RSP) {
            self.sp = match (instruction.mnemonic(), instruction.op1_kind()) {
                (Mnemonic::Add, kind) if is_immediate(kind) => before.sp.map(|at| at - instruction.immediate(1) as i64),
                (Mnemonic::Sub, kind) if is_immediate(kind) => before.sp.map(|at| at + instruction.immediate(1) as i64),
                (Mnemonic::Lea, _) => address.map(|at| -at),
                (Mnemonic::Mov, OpKind::Register) if instruction.op1_register() == Register::RBP => before.fp,
                _ => None,
            };
        }
        let stores = instruction.code() == Code::Mov_rm64_r64 && instruction.op0_kind() == OpKind::Memory;
        if stores && instruction.op1_register() == Register::RBP {
            self.save_at(address);
        }
        if !writes(instruction, factory, Register::RBP) {
            return;
        }
        self.fp = match (instruction.mnemonic(), instruction.op1_kind()) {
            (Mnemonic::Mov, OpKind::Register) if instruction.op1_register() == Register::RSP => before.sp,
            (Mnemonic::Lea, _) => address.map(|at| -at),
            _ => None,
        };
        let loads = instruction.code() == Code::Mov_r64_rm64 && instruction.op1_kind() == OpKind::Memory;
        self.intact = loads && address.is_some() && address == self.saved;
        if self.intact {
            self.saved = None;
        }
    }

    /// Where a memory operand lies, from the CFA.
    fn address(&self, instruction: &Instruction) -> Option<i64> {
        if instruction.memory_index() != Register::None {
            return None;
        }
        let base = match instruction.memory_base() {
            Register::RSP => self.sp?,
            Register::RBP => self.fp?,
            _ => return None,
        };
        (instruction.memory_displacement64() as i64).checked_sub(base)
    }

    fn save_at(&mut self, at: Option<i64>) {
        let representable = |at: &i64| *at % 8 == 0 && *at < 0 && *at >= -8 * MAX_SAVED_AT;
        if self.intact && self.saved.is_none() {
            self.saved = at.filter(representable);
        }
    }

    fn pop_fp(&mut self) {
        self.intact = self.saved.is_some() && self.saved == self.sp.map(|at| -at);
        if self.intact {
            self.saved = None;
        }
        self.fp = None;
        self.sp = self.sp.map(|at| at - 8);
    }
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(kind, OpKind::Immediate8to64 | OpKind::Immediate32to64)
}

fn zeroes_fp(instruction: &Instruction) -> bool {
    let is_fp = |register| matches!(register, Register::EBP | Register::RBP);
    is_fp(instruction.op0_register()) && instruction.op0_register() == instruction.op1_register()
}

fn writes(instruction: &Instruction, factory: &mut InstructionInfoFactory, register: Register) -> bool {
    let written =
        |access| !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
    let info = factory.info(instruction);
    info.used_registers().iter().any(|used| used.register().full_register() == register && written(used.access()))
}
