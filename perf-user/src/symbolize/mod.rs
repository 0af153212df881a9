//! From places to names. A place without a name is a value with a reason, never a dropped frame.

mod block;
mod calls;
mod debug_files;
mod demangle;
mod debuginfod;
#[cfg(test)]
mod fixture;
mod go;
pub mod jit;
mod kernel_locks;
mod marks;
mod outline;
mod packed;
mod plt;
mod python;
mod sources;
mod trust;
mod unnamed;
mod waits;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use blazesym::{
    MaybeDefault,
    symbolize::{
        CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer,
        source::{Elf, Kernel, Source},
    },
};

use crate::{
    host::{kernel_symbols_hidden, sys},
    task::{Module, ModuleId, ModuleKind, NATIVE_GAP, PYTHON_DEEP, PYTHON_UNREADABLE, did},
};
use debug_files::DebugFiles;
pub(crate) use demangle::demangled;
use marks::is_mark;
use plt::Plt;
use sources::Sources;

pub use block::operation_label;
use block::{did_label, touched};
pub use calls::{arguments, call_label, error_label, is_fault};
pub use debug_files::DEBUG_DIRECTORY;
pub use debuginfod::DebuginfodOptions;
pub(crate) use go::goroutine_end;
pub use kernel_locks::{kernel_lock_kind, takes_kernel_lock};
pub use unnamed::Unnamed;
pub use waits::{HUGE_PAGES, name as did_name};

/// A function at a place: the one that was called, or one that was inlined there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Demangled.
    pub name: String,
    /// Source file, empty if unknown.
    pub file: String,
    /// Line, 0 if unknown.
    pub line: u32,
}

/// What a place is called: functions outermost first, the inlined ones last; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The functions.
    pub functions: Vec<Function>,
    /// Why the only function is a made-up one.
    pub unnamed: Option<Unnamed>,
}

/// Files whose symbols are kept parsed, and the memory that all these symbols may take: beyond either, what was not asked for
/// the longest time is forgotten. Places already stored are not asked for again, so few files are parsed twice.
const PARSED: usize = 256;
const PARSED_BYTES: i64 = 96 << 20;

/// After so much was freed, it is given back to the system.
const TRIM_BYTES: i64 = 16 << 20;

/// Where names are looked for, beside the files themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameOptions {
    /// Directories with debug files, as absolute paths.
    pub debug_directories: Vec<PathBuf>,
    /// Servers to ask for debug files, if any may be asked.
    pub debuginfod: Option<DebuginfodOptions>,
}

impl Default for NameOptions {
    fn default() -> Self {
        Self { debug_directories: vec![DEBUG_DIRECTORY.into()], debuginfod: None }
    }
}

/// Names places, and remembers what it parsed.
#[derive(Debug)]
pub struct Names {
    kernel: Symbolizer,
    files: HashMap<ModuleId, Parsed>,
    debug_files: DebugFiles,
    /// How often files were asked.
    asked: u64,
    /// Memory freed since it was last given back.
    freed: i64,
    generated: jit::Generated,
}

/// A file and what was found out about it when it was first asked for names.
#[derive(Debug)]
struct Parsed {
    symbolizer: Symbolizer,
    /// Holds the file open, so that its path stays its own.
    _module: Arc<Module>,
    /// Memory that its symbols take so far.
    bytes: i64,
    /// [`Names::asked`] when it was last.
    asked: u64,
    sources: Sources,
    stubs: Plt,
}

impl Parsed {
    fn new(module: &Arc<Module>, path: &Path, debug_files: &mut DebugFiles) -> Self {
        let sources = Sources::of(module, path, debug_files);
        Self {
            symbolizer: symbolizer(),
            _module: Arc::clone(module),
            bytes: sources.bytes,
            asked: 0,
            sources,
            stubs: Plt::read(path),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new(NameOptions::default())
    }
}

/// Files are held open and do not change under a recording.
fn symbolizer() -> Symbolizer {
    Symbolizer::builder().enable_auto_reload(false).build()
}

impl Names {
    /// Looks for names where it is told.
    #[must_use]
    pub fn new(options: NameOptions) -> Self {
        let debug_files = DebugFiles::new(options);
        Self {
            kernel: symbolizer(),
            files: HashMap::new(),
            debug_files,
            asked: 0,
            freed: 0,
            generated: jit::Generated::default(),
        }
    }

    /// What kept places from being named that the reader of the recording can do something about.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.debug_files.warning()
    }

    /// Names many places of one module at once, in their order.
    #[must_use]
    pub fn name(&mut self, module: &Arc<Module>, addresses: &[u64]) -> Vec<Named> {
        match (module.kind, &module.symbols_path) {
            (ModuleKind::Unmapped, _) => made_up(module, addresses, Unnamed::Unmapped),
            (ModuleKind::CutOff, _) => addresses.iter().map(|reason| cut_off(*reason)).collect(),
            (ModuleKind::Did, _) => addresses.iter().map(|what| made_up_function(&did_label(did(*what)))).collect(),
            (ModuleKind::Touched, _) => addresses.iter().map(|what| touched(module, did(*what))).collect(),
            (ModuleKind::Waker | ModuleKind::Lock, _) => vec![made_up_function(&module.path); addresses.len()],
            (ModuleKind::Python, _) => python::name(module, addresses),
            (ModuleKind::Jit, _) => made_up(module, addresses, Unnamed::Jit),
            (ModuleKind::Hidden, _) => made_up(module, addresses, Unnamed::ProcessHidden),
            (ModuleKind::Kernel, _) => {
                let kernel = Kernel { vmlinux: MaybeDefault::None, debug_syms: false, ..Kernel::default() };
                batch(&self.kernel, module, &Source::Kernel(kernel), Input::AbsAddr(addresses), addresses)
            }
            (ModuleKind::Vdso | ModuleKind::File, Some(path)) => self.file(module, path, addresses),
            (ModuleKind::File, None) if module.denied => made_up(module, addresses, Unnamed::FileDenied),
            (ModuleKind::Vdso | ModuleKind::File, None) => made_up(module, addresses, Unnamed::FileGone),
        }
    }

    fn file(&mut self, module: &Arc<Module>, path: &Path, offsets: &[u64]) -> Vec<Named> {
        self.asked += 1;
        let before = sys::heap_bytes_of_thread();
        let mut file =
            self.files.remove(&module.id).unwrap_or_else(|| Parsed::new(module, path, &mut self.debug_files));
        file.asked = self.asked;
        let elf = Elf { debug_syms: file.sources.debug_syms, ..Elf::new(path) };
        let (mut named, shrunk) = sys::with_files_that_shrink(|| {
            let mut named = batch(&file.symbolizer, module, &Source::Elf(elf), Input::FileOffset(offsets), offsets);
            file.sources.complete(module, path, offsets, &mut named);
            named
        });
        if shrunk {
            return made_up(module, offsets, Unnamed::Shrunk);
        }
        for (named, offset) in named.iter_mut().zip(offsets) {
            if let Some(name) = file.stubs.name(*offset) {
                *named = Named { functions: vec![Function { name, ..Function::default() }], unnamed: None };
            }
        }
        // The names are in this, too, though they are the caller's to free: little beside the symbols.
        file.bytes += sys::heap_bytes_of_thread() - before;
        self.files.insert(module.id, file);
        self.forget();
        named
    }

    /// Forgets what was not asked for the longest time, until the rest fits; what was asked last stays.
    fn forget(&mut self) {
        let fits = |files: &HashMap<ModuleId, Parsed>| {
            let bytes: i64 = files.values().map(|file| file.bytes).sum();
            files.len() <= 1 || files.len() <= PARSED && bytes <= PARSED_BYTES
        };
        while !fits(&self.files) {
            let oldest = self.files.iter().min_by_key(|(_, file)| file.asked).map(|(id, _)| *id);
            self.freed += oldest.and_then(|id| self.files.remove(&id)).map_or(0, |file| file.bytes);
        }
        if self.freed > TRIM_BYTES {
            self.freed = 0;
            sys::trim_heap();
        }
    }
}

/// The build id of a file in hexadecimal, if it has one.
#[must_use]
pub fn build_id(path: &Path) -> Option<String> {
    let (id, shrunk) = sys::with_files_that_shrink(|| blazesym::helper::read_elf_build_id(&path));
    let bytes = id.ok().flatten().filter(|_| !shrunk)?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn batch(
    symbolizer: &Symbolizer,
    module: &Module,
    source: &Source<'_>,
    input: Input<&[u64]>,
    addresses: &[u64],
) -> Vec<Named> {
    lookup(symbolizer, module, source, input, addresses).unwrap_or_else(|| {
        let why = if module.kind == ModuleKind::Kernel { Unnamed::KernelHidden } else { Unnamed::Unreadable };
        made_up(module, addresses, why)
    })
}

/// The kernel's symbols have no lengths: what lies further behind one is something else, as code of a module that has gone.
const LONGEST_FUNCTION: usize = 1 << 20;

/// `None` when the source cannot be read.
fn lookup(
    symbolizer: &Symbolizer,
    module: &Module,
    source: &Source<'_>,
    input: Input<&[u64]>,
    addresses: &[u64],
) -> Option<Vec<Named>> {
    let is_kernel = module.kind == ModuleKind::Kernel;
    let found = symbolizer.symbolize(source, input).ok()?;
    let named = found.iter().zip(addresses).map(|(symbol, address)| match symbol {
        Symbolized::Sym(symbol) if is_mark(&symbol.name) || is_kernel && symbol.offset > LONGEST_FUNCTION => {
            unnamed(module, *address, Unnamed::NoSymbol)
        }
        Symbolized::Sym(symbol) => Named { functions: functions(symbol), unnamed: None },
        Symbolized::Unknown(reason) => {
            let why = match reason {
                _ if is_kernel && kernel_symbols_hidden().is_some() => Unnamed::KernelHidden,
                Reason::MissingSyms => Unnamed::Stripped,
                Reason::IgnoredError | Reason::Unsupported => Unnamed::Unreadable,
                _ => Unnamed::NoSymbol,
            };
            unnamed(module, *address, why)
        }
    });
    Some(named.collect())
}

/// What stands for the callers that a walk could not reach.
fn cut_off(reason: u64) -> Named {
    let why = match reason {
        NATIVE_GAP => return made_up_function("[native frames not known]"),
        PYTHON_DEEP => return made_up_function("[more Python frames than are kept]"),
        PYTHON_UNREADABLE => return made_up_function("[Python frames not readable]"),
        2 => "no unwind information",
        3 => "stack memory not readable",
        4 => "stack pointer goes backwards",
        5 => "return address outside of code",
        7 => "the process was ending",
        _ => "more frames than are kept",
    };
    made_up_function(&format!("[unwound no further: {why}]"))
}

fn made_up_function(name: &str) -> Named {
    Named { functions: vec![Function { name: name.into(), ..Function::default() }], unnamed: None }
}

fn functions(symbol: &Sym<'_>) -> Vec<Function> {
    let (file, line) = place(symbol.code_info.as_deref());
    let outer = Function { name: demangled(&symbol.name), file, line };
    let inlined = symbol.inlined.iter().map(|inlined| {
        let (file, line) = place(inlined.code_info.as_ref());
        Function { name: demangled(&inlined.name), file, line }
    });
    let mut functions: Vec<_> = std::iter::once(outer).chain(inlined).collect();
    // A function split by the compiler is described as inlined into itself.
    functions.dedup_by(|next, before| next.name == before.name);
    functions
}

fn place(code: Option<&CodeInfo<'_>>) -> (String, u32) {
    code.map_or_else(Default::default, |code| (code.to_path().to_string_lossy().into_owned(), code.line.unwrap_or(0)))
}

fn made_up(module: &Module, addresses: &[u64], why: Unnamed) -> Vec<Named> {
    addresses.iter().map(|address| unnamed(module, *address, why)).collect()
}

fn unnamed(module: &Module, address: u64, why: Unnamed) -> Named {
    let name = match why {
        // Addresses without a mapping are all different, and none says anything.
        Unnamed::Unmapped | Unnamed::ProcessHidden | Unnamed::PythonUnread => module.path.clone(),
        _ => format!("[{}+{address:#x}]", module.short_name()),
    };
    Named { functions: vec![Function { name, ..Function::default() }], unnamed: Some(why) }
}
