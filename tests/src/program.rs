//! Compiling a workload, once for each source and set of flags.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{build_directory, work_directory};

const C_FLAGS: &[&str] =
    &["-O2", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-Wall", "-Wextra", "-pthread"];
const RUST_FLAGS: &[&str] = &["--edition=2024", "-O", "-g", "-C", "force-frame-pointers=yes"];

/// A workload from `tests/workloads`, compiled with frame pointers and debug information.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// Compiles the C program `source` (`split.c`).
    #[must_use]
    pub fn c(source: &str) -> Self {
        let name = source.trim_end_matches(".c");
        Self::c_named(source, name, &[])
    }

    /// Compiles the C program `source` under another name, with further flags.
    #[must_use]
    pub fn c_named(source: &str, name: &str, flags: &[&str]) -> Self {
        Self::compile("cc", source, name, &[C_FLAGS, flags], &["-ldl"])
    }

    /// The same for the C library musl, as a program that needs no other file.
    #[must_use]
    pub fn musl(source: &str) -> Self {
        let name = format!("{}-musl", source.trim_end_matches(".c"));
        // The kernel's own headers are not musl's.
        let kernel = ["-static", "-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"];
        Self::compile("musl-gcc", source, &name, &[C_FLAGS, &kernel], &[])
    }

    /// Compiles the C++ program `source`.
    #[must_use]
    pub fn cpp(source: &str) -> Self {
        Self::compile("c++", source, source.trim_end_matches(".cpp"), &[C_FLAGS], &[])
    }

    /// Compiles the Rust program `source` under the crate and file name `name`, with further flags.
    #[must_use]
    pub fn rust(source: &str, name: &str, flags: &[&str]) -> Self {
        Self::compile("rustc", source, name, &[RUST_FLAGS, &["--crate-name", name], flags], &[])
    }

    /// Compiles the Go program `source` under another name, with further flags.
    #[must_use]
    pub fn go(source: &str, name: &str, flags: &[&str]) -> Self {
        Self::compile("go", source, name, &[&["build"], flags], &[])
    }

    /// An example of this package, which is built with its tests: a program that needs other packages.
    ///
    /// # Panics
    /// If the test does not run from where it was built.
    #[must_use]
    pub fn example(name: &str) -> Self {
        let test = std::env::current_exe().expect("a test knows its own path");
        let built = test.parent().and_then(Path::parent).expect("tests are built into a folder of their own");
        Self { path: built.join("examples").join(name) }
    }

    /// The executable or library.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has been compiled, or copied, to `path`.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// A copy of the executable at `path`, which the test may strip, delete or replace.
    ///
    /// # Panics
    /// If it can't be copied.
    #[must_use]
    pub fn copy_to(&self, path: PathBuf) -> Self {
        std::fs::copy(&self.path, &path)
            .unwrap_or_else(|error| panic!("copy {} to {}: {error}", self.path.display(), path.display()));
        Self { path }
    }

    /// Removes the symbol table and debug information.
    ///
    /// # Panics
    /// If there is no `strip` or it fails.
    #[must_use]
    pub fn stripped(self) -> Self {
        let status = Command::new("strip").arg(&self.path).status().expect("run strip (package binutils)");
        assert!(status.success(), "strip {} failed", self.path.display());
        self
    }

    fn compile(compiler: &str, source: &str, name: &str, flags: &[&[&str]], last: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let source_path = folder.join(source);
        let mut hasher = DefaultHasher::new();
        (compiler, flags).hash(&mut hasher);
        let headers = ["work.h", "account.h", "split.h", "generated.h"].map(|header| folder.join(header));
        for file in headers.iter().chain([&source_path]) {
            std::fs::read(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display())).hash(&mut hasher);
        }
        let place = Path::new("workloads").join(format!("{:016x}", hasher.finish()));
        let [built, directory] = [build_directory(), work_directory()].map(|base| base.join(&place));
        if let Some(path) = [&built, &directory].map(|folder| folder.join(name)).into_iter().find(|path| path.exists())
        {
            return Self { path };
        }
        let path = directory.join(name);
        std::fs::create_dir_all(&directory).expect("create the directory of the compiled workloads");
        let unfinished = directory.join(format!("{name}.unfinished"));
        let output = Command::new(compiler)
            .args(flags.concat())
            .arg("-o")
            .arg(&unfinished)
            .arg(&source_path)
            .args(last)
            .output()
            .unwrap_or_else(|error| panic!("run {compiler} to compile the workload {source}: {error}"));
        assert!(
            output.status.success(),
            "{compiler} can't compile {source}:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::rename(&unfinished, &path).expect("put the compiled workload in its place");
        Self { path }
    }
}
