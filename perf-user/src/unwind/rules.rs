//! What a row of call frame information says, as a rule that the kernel half can follow; `None` where it cannot.
//!
//! Registers are numbered as in the System V ABI for x86-64, figure 3.36.

use gimli::{CfaRule, FrameDescriptionEntry, Operation, Register, RegisterRule, UnwindSection, UnwindTableRow};
use perf_ebpf::unwind::{Cfa, MAX_SAVED_AT, Rule, SavedFp};

use super::Slice;

const FP: Register = Register(6);
const SP: Register = Register(7);
const RETURN_ADDRESS: Register = Register(16);

/// The return address lies in the word below the CFA.
const RETURN_ADDRESS_AT: i64 = -8;

/// The largest stub of a procedure linkage table, and what one begins a push at.
const STUB_BYTES: u64 = 16;

/// The longest expression that is understood has as many. All rows of a section could share one of megabytes.
const MAX_OPERATIONS: usize = 9;

type Row<'row> = &'row UnwindTableRow<usize>;

/// The rule of a row.
pub(super) fn rule<'data, S>(section: &S, fde: &FrameDescriptionEntry<Slice<'data>>, row: Row<'_>) -> Option<Rule>
where
    S: UnwindSection<Slice<'data>>,
{
    if fde.is_signal_trampoline() {
        return Some(Rule::of(Cfa::Signal, SavedFp::Kept, 0));
    }
    match row.register(RETURN_ADDRESS) {
        Some(RegisterRule::Undefined) => return Some(Rule::of(Cfa::End, SavedFp::Kept, 0)),
        Some(RegisterRule::Offset(RETURN_ADDRESS_AT)) => {}
        _ => return None,
    }
    let operations = |expression: &gimli::UnwindExpression<usize>| -> Option<Vec<Operation<Slice<'data>>>> {
        let mut operations = expression.get(section).ok()?.operations(fde.cie().encoding());
        let mut all = Vec::new();
        while let Some(operation) = operations.next().ok()? {
            all.push(operation);
            if all.len() > MAX_OPERATIONS {
                return None;
            }
        }
        Some(all)
    };
    let fp = match row.register(FP) {
        None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => SavedFp::Kept,
        Some(RegisterRule::Offset(at)) if at % 8 == 0 && at != 0 && (at / 8).abs() <= MAX_SAVED_AT => {
            SavedFp::Saved((at / 8) as i8)
        }
        Some(RegisterRule::Expression(expression)) => match operations(&expression)?[..] {
            [Operation::RegisterOffset { register: FP, offset: 0, .. }] => SavedFp::AtFp,
            _ => return None,
        },
        Some(_) => return None,
    };
    match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => match *register {
            SP => Some(Rule::of(Cfa::Sp, fp, i32::try_from(*offset).ok()?)),
            FP => Some(Rule::of(Cfa::Fp, fp, i32::try_from(*offset).ok()?)),
            Register(number) if number < RETURN_ADDRESS.0 => {
                Some(Rule::halves(Cfa::Register, fp, i16::try_from(*offset).ok()?, number as i16))
            }
            Register(_) => None,
        },
        CfaRule::Expression(expression) => computed(&operations(expression)?, fp),
    }
}

/// The expressions that compilers and hand-written code use for the CFA.
fn computed(operations: &[Operation<Slice<'_>>], fp: SavedFp) -> Option<Rule> {
    use Operation::{And, Deref, Ge, Plus, PlusConstant, RegisterOffset, Shl, UnsignedConstant};
    let kind = |register: Register| match register {
        SP => Some(Cfa::AtSp),
        FP => Some(Cfa::AtFp),
        _ => None,
    };
    match *operations {
        [RegisterOffset { register, offset, .. }, Deref { size: 8, .. }] => {
            Some(Rule::halves(kind(register)?, fp, i16::try_from(offset).ok()?, 0))
        }
        [RegisterOffset { register, offset, .. }, Deref { size: 8, .. }, PlusConstant { value }] => {
            Some(Rule::halves(kind(register)?, fp, i16::try_from(offset).ok()?, i16::try_from(value).ok()?))
        }
        // rsp + 8 + ((rip & 15) >= n) << 3: the linker's own, for the stubs of a procedure linkage table.
        [
            RegisterOffset { register: SP, offset: 8, .. },
            RegisterOffset { register: RETURN_ADDRESS, offset: 0, .. },
            UnsignedConstant { value: 15 },
            And,
            UnsignedConstant { value: from },
            Ge,
            UnsignedConstant { value: 3 },
            Shl,
            Plus,
        ] if from < STUB_BYTES => Some(Rule::of(Cfa::Stub, fp, from as i32)),
        _ => None,
    }
}
