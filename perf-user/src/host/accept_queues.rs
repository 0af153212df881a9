//! Connections that were turned away because nobody accepted those before them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Seek as _},
    path::PathBuf,
};

/// The kernel's accounts of network namespaces at a moment. An open one stays when its processes are gone.
#[derive(Debug, Default)]
pub struct AcceptQueues {
    accounts: BTreeMap<PathBuf, (File, u64)>,
}

impl AcceptQueues {
    /// Of the namespaces that these processes are in.
    #[must_use]
    pub fn of(processes: &[u32]) -> Self {
        let mut accounts = BTreeMap::new();
        for tgid in processes {
            let Ok(namespace) = fs::read_link(format!("/proc/{tgid}/ns/net")) else { continue };
            if accounts.contains_key(&namespace) {
                continue;
            }
            let Ok(mut file) = File::open(format!("/proc/{tgid}/net/netstat")) else { continue };
            if let Some(before) = overflows(&mut file) {
                accounts.insert(namespace, (file, before));
            }
        }
        Self { accounts }
    }

    /// How many connections were turned away since.
    #[must_use]
    pub fn since(&mut self) -> u64 {
        let more = |(file, before): &mut (File, u64)| overflows(file).map_or(0, |now| now.saturating_sub(*before));
        self.accounts.values_mut().map(more).sum()
    }
}

fn overflows(file: &mut File) -> Option<u64> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    parse(&text)
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
