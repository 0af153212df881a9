//! Starting a program as somebody else or somewhere else: what stands before it on the command line.

use std::ffi::{OsStr, OsString};

/// The words before a program's own.
#[derive(Clone, Debug, Default)]
pub struct Launcher {
    pub(crate) words: Vec<OsString>,
}

/// Whom tests start programs as that are not to be root's.
const NOBODY: &str = "65534";

impl Launcher {
    /// As the user nobody with these capabilities (`bpf`) and no others, which a program it executes keeps, and cannot
    /// gain any.
    #[must_use]
    pub fn nobody(capabilities: &[&str]) -> Self {
        let set: String =
            std::iter::once("-all".to_owned()).chain(capabilities.iter().map(|one| format!(",+{one}"))).collect();
        Self::user()
            .word(format!("--inh-caps={set}"))
            .word(format!("--ambient-caps={set}"))
            .word(format!("--bounding-set={set}"))
    }

    /// As the user nobody, who has no capability but may gain those of a program. The limit of locked memory, which only
    /// Linux before 5.11 takes BPF maps from, is none where root may lift it.
    #[must_use]
    pub fn user() -> Self {
        let id = |option| format!("--{option}={NOBODY}");
        let unlimited = "ulimit -l unlimited 2>/dev/null || true; exec \"$@\"";
        Self::through(&["sh", "-c", unlimited, "sh", "setpriv", &id("reuid"), &id("regid"), "--clear-groups"])
    }

    /// By this program, which executes the rest of its arguments.
    #[must_use]
    pub fn through(words: &[impl AsRef<OsStr>]) -> Self {
        Self { words: words.iter().map(|word| word.as_ref().to_owned()).collect() }
    }

    /// In a mount namespace of its own, in which the script has run first.
    #[must_use]
    pub fn after(script: &str) -> Self {
        Self::through(&["unshare", "--mount", "sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"])
    }

    /// By this one, and then by `next`.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        self.words.extend(next.words);
        self
    }

    fn word(mut self, word: String) -> Self {
        self.words.push(word.into());
        self
    }
}
