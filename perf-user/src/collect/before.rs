//! Where threads wait that left the CPU before the recording.

use std::{collections::HashMap, error::Error, io::Read as _, sync::Arc};

use aya::{Btf, Ebpf, programs::Iter};
use perf_ebpf::{
    before::Before,
    stack::{id_of, used},
};
use zerocopy::FromBytes as _;

use super::AttachError;

/// The program.
pub(super) const PROGRAM: &str = "threads_before";
/// What the kernel calls the list that it is called for.
const LIST: &str = "task";

/// Loads the program: finding the list in the kernel's BTF takes a while.
pub(super) fn load(bpf: &mut Ebpf) -> Result<(), AttachError> {
    let btf = Btf::from_sys_fs().map_err(|error| AttachError::Before(error.into()))?;
    program(bpf)?.load(LIST, &btf).map_err(AttachError::program(PROGRAM))
}

/// Threads that are marked, as the kernel knows them.
pub(super) fn threads_before(bpf: &mut Ebpf) -> Result<HashMap<u32, Before>, AttachError> {
    let bytes = run(program(bpf)?).map_err(AttachError::Before)?;
    let records = bytes.chunks_exact(size_of::<Before>()).filter_map(|record| Before::read_from_bytes(record).ok());
    Ok(records.map(|before| (before.tid, before)).collect())
}

fn program(bpf: &mut Ebpf) -> Result<&mut Iter, AttachError> {
    let program = bpf.program_mut(PROGRAM).ok_or(AttachError::Missing(PROGRAM))?;
    program.try_into().map_err(AttachError::program(PROGRAM))
}

/// What the program writes, which is done then.
fn run(program: &mut Iter) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let link = program.attach()?;
    let mut file = program.take_link(link)?.into_file()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    program.unload()?;
    Ok(bytes)
}

/// The id of a stack, and its frames.
pub(crate) fn stack_of(frames: &[u64]) -> (u64, Arc<[u64]>) {
    let frames = used(frames);
    (id_of(frames), frames.into())
}
