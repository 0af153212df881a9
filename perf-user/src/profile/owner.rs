//! Whose code a frame is: the program's own, its language's runtime, or the C library's.

use super::{Frame, FrameKind, Profile, StackId};

/// Whose code a frame is; the greater, the more it says of what a thread was about when it waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// Nobody's: a reason, the kernel, or what stands for frames that are not known.
    None,
    /// The C library's and the loader's: nearly every wait of any program is in them.
    System,
    /// The runtime's of a language: its locks, channels, interpreters.
    Runtime,
    /// A language's own library, written in the language.
    Library,
    /// The program's own, and of libraries that are neither of these.
    Program,
}

/// Where a thread waited, as the one who wrote the program would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The innermost frame of the program's own; of a runtime where there is none.
    pub own: &'a Frame,
    /// The function of a runtime or the C library that it called; `None` if it made the system call itself.
    pub called: Option<&'a Frame>,
}

/// Libraries by the beginnings of their names.
const SYSTEM_FILES: [&str; 12] = [
    "libc.so",
    "libc-2",
    "libpthread",
    "librt.so",
    "librt-2",
    "ld-linux",
    "ld-musl",
    "ld-2",
    "ld64.so",
    "libnss_",
    "libresolv",
    "libuv.so",
];
const RUNTIME_FILES: [&str; 11] = [
    "libstdc++",
    "libc++",
    "libgcc_s",
    "libgomp",
    "libomp",
    "libjvm",
    "libpython",
    "libcoreclr",
    "libjemalloc",
    "libtcmalloc",
    "libmimalloc",
];

/// Functions of the C library, which a static program has in its own file. Without underscores before them.
const SYSTEM_FUNCTIONS: [&str; 35] = [
    "futex_",
    "pthread_",
    "libc_",
    "nptl_",
    "lll_lock_",
    "clock_nanosleep",
    "int_malloc",
    "int_realloc",
    "int_memalign",
    "sysmalloc",
    "memcpy",
    "memmove",
    "memset",
    "memcpy_",
    "memmove_",
    "memset_",
    "GI_",
    "syscall",
    "internal_syscall_cancel",
    "start_thread",
    "clone",
    "timedwait",
    "timedwait_cp",
    "syscall_cp",
    "syscall_cp_",
    "new_sem_wait",
    "uv_",
    "sem_wait",
    "sem_timedwait",
    "cnd_",
    "mtx_",
    "thrd_",
    "sleep",
    "usleep",
    "start",
];

/// Beginnings of names in languages' runtimes.
const RUNTIME_FUNCTIONS: [&str; 37] = [
    "std::",
    "<std::",
    "<&std::",
    "hashbrown::",
    "<hashbrown::",
    "core::",
    "<core::",
    "alloc::",
    "<alloc::",
    "parking_lot",
    "<parking_lot",
    "lock_api::",
    "<lock_api::",
    "crossbeam_channel::",
    "rayon_core::",
    // PostgreSQL waits for all kinds of things by these.
    "LWLock",
    "PGSemaphore",
    "WaitEventSetWait",
    "WaitLatch",
    "tokio::runtime::",
    "runtime.",
    "internal/",
    "syscall.",
    "sync.",
    "os.(*File)",
    "java.util.concurrent.",
    "java.lang.",
    "jdk.internal.",
    "void std::",
    "operator new",
    // Allocators that are linked in.
    "je_",
    "_rjem_",
    "mi_malloc",
    "mi_heap_",
    "_mi_",
    "tcmalloc::",
    "__gnu_cxx",
];

impl Profile {
    /// Whose code a frame is.
    #[must_use]
    pub fn owner(&self, frame: &Frame) -> Owner {
        let (function, module) = (self.strings.get(frame.function), self.strings.get(frame.module));
        owner(function, module, frame.kind, frame.symbolized)
    }

    /// Where a thread with this stack waited; `None` if no frame of a program is known.
    #[must_use]
    pub fn place(&self, stack: StackId) -> Option<Place<'_>> {
        self.place_of(self.stacks.leaf_to_root(stack).filter_map(|id| self.frames.get(id.0 as usize)))
    }

    /// The same, of the frames themselves, the innermost first.
    pub fn place_of<'a>(&self, frames: impl Iterator<Item = &'a Frame>) -> Option<Place<'a>> {
        let mut best: Option<(Owner, Place<'_>)> = None;
        let mut called = None;
        for frame in frames {
            let owner = self.owner(frame);
            if owner == Owner::None {
                continue;
            }
            if best.is_none_or(|(before, _)| owner > before) {
                best = Some((owner, Place { own: frame, called }));
            }
            if owner == Owner::Program {
                break;
            }
            // How a runtime makes a call says nothing of what it called.
            let name = self.strings.get(frame.function).trim_start_matches('_');
            if called.is_none() || !MACHINERY.iter().any(|start| name.starts_with(start)) {
                called = Some(frame);
            }
        }
        best.map(|(_, place)| place)
    }
}

fn owner(function: &str, module: &str, kind: FrameKind, symbolized: bool) -> Owner {
    let file = module.rsplit('/').next().unwrap_or(module);
    let is_of = |files: &[&str]| files.iter().any(|start| file.starts_with(start));
    match kind {
        FrameKind::Kernel | FrameKind::Wait | FrameKind::Waker => return Owner::None,
        FrameKind::Python => return if is_python_library(module) { Owner::Library } else { Owner::Program },
        FrameKind::User | FrameKind::Inlined | FrameKind::Jit => {}
    }
    if NOWHERE.contains(&module) || function.starts_with("[native frames not known") {
        return Owner::None;
    }
    if file == "[vdso]" || is_of(&SYSTEM_FILES) {
        return Owner::System;
    }
    if is_of(&RUNTIME_FILES) || is_interpreter(file) || module.contains("/lib-dynload/") {
        return Owner::Runtime;
    }
    if !symbolized {
        return Owner::Program;
    }
    let bare = bare(function);
    // `usleep`, but not `sleeper`: of the shorter ones the whole name.
    let is_system = |known: &str| if known.ends_with('_') { bare.starts_with(known) } else { bare == known };
    if SYSTEM_FUNCTIONS.into_iter().any(is_system) || WRAPPERS.contains(&bare) {
        return Owner::System;
    }
    let allocates = function.contains(" as core::alloc::global::GlobalAlloc>::");
    if allocates || RUNTIME_FUNCTIONS.iter().any(|start| function.starts_with(start)) {
        return Owner::Runtime;
    }
    Owner::Program
}

/// Functions by which CPython calls others. Without underscores before them.
const MACHINERY: [&str; 6] =
    ["PyObject_", "PyEval_Eval", "PyVectorcall", "PyFunction_Vectorcall", "cfunction_", "method_vectorcall"];

/// Modules that stand for what is not known.
const NOWHERE: [&str; 3] = ["[unmapped]", "[unwound no further]", "[hidden]"];

/// Functions that do nothing but make a system call that can wait.
const WRAPPERS: [&str; 39] = [
    "read",
    "write",
    "readv",
    "writev",
    "pread",
    "pwrite",
    "pread64",
    "pwrite64",
    "poll",
    "ppoll",
    "select",
    "pselect",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "accept",
    "accept4",
    "connect",
    "recv",
    "recvfrom",
    "recvmsg",
    "send",
    "sendto",
    "sendmsg",
    "nanosleep",
    "wait4",
    "waitpid",
    "waitid",
    "fsync",
    "fdatasync",
    "pause",
    "sigsuspend",
    "malloc",
    "calloc",
    "realloc",
    "memalign",
    "posix_memalign",
    "aligned_alloc",
    "valloc",
];

/// A function of the C library's without what it is decorated with: `__libc_read` is `read`.
#[must_use]
pub fn bare(function: &str) -> &str {
    let name = function.split('@').next().unwrap_or(function).trim_start_matches('_');
    let name = name.strip_prefix("GI_").unwrap_or(name).trim_start_matches('_');
    name.strip_prefix("libc_").filter(|rest| WRAPPERS.contains(rest)).unwrap_or(name)
}

/// CPython and Java's launcher as files of their own.
fn is_interpreter(file: &str) -> bool {
    is_python_program(file) || file == "java"
}

fn is_python_program(file: &str) -> bool {
    let version = file.strip_prefix("python").unwrap_or("-");
    version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Whether a file is a Python interpreter, or the library that it is in.
pub(super) fn is_python(file: &str) -> bool {
    is_python_program(file) || file.starts_with("libpython")
}

/// Whether a source file is of Python's own library, and not of packages beside it.
fn is_python_library(file: &str) -> bool {
    let frozen = file.starts_with("<frozen ");
    let library = file.split('/').rev().skip(1).any(|part| {
        let version = part.strip_prefix("python3.").unwrap_or("-");
        version.bytes().all(|byte| byte.is_ascii_digit())
    });
    frozen || (library && !file.contains("/site-packages/") && !file.contains("/dist-packages/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_belong_to_the_program_its_runtime_or_the_system() {
        let user = |function, module| owner(function, module, FrameKind::User, true);
        for (function, module, expected) in [
            ("__futex_abstimed_wait_common64", "/usr/lib/x86_64-linux-gnu/libc.so.6", Owner::System),
            ("pthread_cond_wait@@GLIBC_2.3.2", "/opt/static", Owner::System),
            ("__libc_read", "/opt/static", Owner::System),
            ("_start", "/opt/static", Owner::System),
            ("ep_poll_loop", "/opt/static", Owner::Program),
            ("sleeper", "/opt/static", Owner::Program),
            ("read_request", "/opt/static", Owner::Program),
            ("std::sync::mpsc::Receiver<T>::recv", "/opt/rust", Owner::Runtime),
            ("<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once", "/opt/rust", Owner::Runtime),
            ("runtime.futex.abi0", "/opt/go", Owner::Runtime),
            ("main.serve", "/opt/go", Owner::Program),
            ("take_gil", "/usr/bin/python3.11", Owner::Runtime),
            ("_queue_SimpleQueue_get", "/usr/lib/python3.11/lib-dynload/_queue.so", Owner::Runtime),
            ("LWLockAcquire", "/usr/lib/postgresql/15/bin/postgres", Owner::Runtime),
            ("ProcSleep", "/usr/lib/postgresql/15/bin/postgres", Owner::Program),
            ("gsignal", "[vdso]", Owner::System),
            ("curl_multi_wait", "/usr/lib/libcurl.so.4", Owner::Program),
            ("[unwound no further: no unwind information]", "[unwound no further]", Owner::None),
        ] {
            assert_eq!(user(function, module), expected, "{function} in {module}");
        }
        let python = |file| owner("wait", file, FrameKind::Python, true);
        assert_eq!(python("/usr/lib/python3.11/threading.py"), Owner::Library);
        assert_eq!(python("/usr/lib/python3.11/site-packages/flask/app.py"), Owner::Program);
        assert_eq!(python("/srv/python/app.py"), Owner::Program);
        assert_eq!(owner("schedule", "[kernel]", FrameKind::Kernel, true), Owner::None);
        assert_eq!(owner("[app+0x10]", "/opt/app", FrameKind::User, false), Owner::Program);
        assert_eq!(owner("[libc.so.6+0x10]", "/lib/libc.so.6", FrameKind::User, false), Owner::System);
    }

    #[test]
    fn decorated_names_are_told_plainly() {
        for (decorated, plain) in
            [("__libc_read", "read"), ("___pthread_cond_wait", "pthread_cond_wait"), ("__GI___poll", "poll")]
        {
            assert_eq!(bare(decorated), plain);
        }
    }

    #[test]
    fn what_a_runtime_called_is_told_and_not_how() {
        let mut profile = Profile::default();
        let stack = [("main", "/srv/app.py"), ("PyObject_Vectorcall", "/usr/bin/python3.11")];
        let inner = [("time_sleep", "/usr/bin/python3.11"), ("__clock_nanosleep", "/usr/lib/libc.so.6")];
        for (function, module) in stack.into_iter().chain(inner) {
            let [function, module] = [function, module].map(|text| profile.strings.intern(text));
            let kind = if profile.frames.is_empty() { FrameKind::Python } else { FrameKind::User };
            let file = profile.strings.intern("");
            profile.frames.push(Frame { function, module, file, line: 0, kind, symbolized: true, address: 0 });
        }
        let place = profile.place_of(profile.frames.iter().rev());
        let told = place.map(|place| [Some(place.own), place.called].map(|frame| frame.map(|frame| frame.function)));
        let known = [0, 2].map(|at: usize| Some(profile.frames[at].function));
        assert_eq!(told, Some(known), "main, and time_sleep");
    }
}
