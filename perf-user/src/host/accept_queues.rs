//! Connections that found an accept queue full, because nobody had accepted those before them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::PathBuf,
};

/// The kernel's accounts of network namespaces at a moment. None is held: who makes namespaces wants them to go with their processes.
#[derive(Debug, Default)]
pub struct AcceptQueues {
    before: BTreeMap<PathBuf, u64>,
    processes: Vec<u32>,
}

impl AcceptQueues {
    /// Of the namespaces that these processes are in.
    #[must_use]
    pub fn of(processes: &[u32]) -> Self {
        Self { before: accounts(processes), processes: processes.to_vec() }
    }

    /// How often one was full since, in the namespaces of which a process is left: of those, of `others`, or the own one.
    fn since(&self, others: &[u32]) -> u64 {
        if self.before.is_empty() {
            return 0;
        }
        let processes = [&self.processes, others, &[std::process::id()]].concat();
        let now = accounts(&processes);
        self.before.iter().filter_map(|(namespace, before)| now.get(namespace)?.checked_sub(*before)).sum()
    }

    /// What is said of that, if some were.
    #[must_use]
    pub fn told_since(&self, others: &[u32]) -> Option<String> {
        let count = self.since(others);
        let times = if count == 1 { "time" } else { "times" };
        let told = format!(
            "{count} {times} an accept queue had no room for a connection, of whatever program in the target's network namespaces: such a \
             connection has to try again; accept sooner, or let more wait (listen(2), net.core.somaxconn)"
        );
        (count > 0).then_some(told)
    }
}

/// By namespace.
fn accounts(processes: &[u32]) -> BTreeMap<PathBuf, u64> {
    let mut accounts = BTreeMap::new();
    for tgid in processes {
        let Ok(namespace) = fs::read_link(format!("/proc/{tgid}/ns/net")) else { continue };
        if let Entry::Vacant(new) = accounts.entry(namespace)
            && let Some(count) =
                fs::read_to_string(format!("/proc/{tgid}/net/netstat")).ok().and_then(|text| parse(&text))
        {
            new.insert(count);
        }
    }
    accounts
}

/// `ListenOverflows` of `/proc/net/netstat`, which has a line of names before each line of numbers.
fn parse(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "ListenOverflows")?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_above_numbers() {
        assert_eq!(parse("IpExt: A\nIpExt: 1\nTcpExt: A ListenOverflows B\nTcpExt: 1 22 3\n"), Some(22));
        assert_eq!(parse("TcpExt: A\nTcpExt: 1\n"), None);
        assert_eq!(parse("TcpExt: A ListenOverflows\nTcpExt: 1\n"), None);
    }
}
