//! Why places have no name.

/// Why a place has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unnamed {
    /// No executable mapping held the address: a stack that was walked without frame pointers goes astray like this.
    Unmapped,
    /// Code generated at run time.
    Jit,
    /// Code generated at run time, by a process that tells of more than can be kept.
    TooMuchCode,
    /// The kernel does not show the mappings of the process.
    ProcessHidden,
    /// The file could not be opened any more.
    FileGone,
    /// The file may not be opened.
    FileDenied,
    /// The file is stripped: at most its exported functions have names, and none covers the place.
    Stripped,
    /// The file has symbols, but none covers the place.
    NoSymbol,
    /// The file could not be read as ELF.
    Unreadable,
    /// The file was cut short while it was read.
    Shrunk,
    /// The kernel hides its symbols.
    KernelHidden,
    /// The memory that says what Python code is called could not be read when it ran.
    PythonUnread,
}

impl Unnamed {
    /// Its name in recordings and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmapped => "address not mapped",
            Self::Jit => "generated code",
            Self::TooMuchCode => "too much generated code",
            Self::ProcessHidden => "process may not be looked into",
            Self::FileGone => "file gone or unreadable",
            Self::FileDenied => "file may not be opened",
            Self::Stripped => "file is stripped",
            Self::NoSymbol => "no symbol covers the address",
            Self::Unreadable => "file is not readable as ELF",
            Self::Shrunk => "file was cut short",
            Self::KernelHidden => "kernel symbols hidden",
            Self::PythonUnread => "Python code could not be read",
        }
    }

    /// The privilege that would have given a name, for those reasons that one could have helped.
    #[must_use]
    pub fn privilege(name: &str) -> Option<&'static str> {
        let remedies = [
            (Self::ProcessHidden, "CAP_SYS_PTRACE"),
            (
                Self::FileDenied,
                "CAP_DAC_READ_SEARCH (files of other users), CAP_SYS_PTRACE (in other users' namespaces) or \
                 CAP_CHECKPOINT_RESTORE (deleted or replaced)",
            ),
            (Self::KernelHidden, "CAP_SYSLOG, and kernel.kptr_restrict at 0 or 1"),
        ];
        remedies.into_iter().find_map(|(reason, privilege)| (reason.name() == name).then_some(privilege))
    }
}
