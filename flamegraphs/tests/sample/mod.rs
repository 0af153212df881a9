//! Stacks with every kind of frame and every awkward name.
#![allow(dead_code, reason = "each test binary uses a part")]

use flamegraphs::{Column, Page, Picture, Section, Stacks};

const STACKS: &[(&[&str], u64)] = &[
    (&["server", "main", "serve", "parse_request"], 120),
    (&["server", "main", "serve", "parse_request", "memchr_[i]"], 60),
    (&["server", "main", "serve", "read", "entry_SYSCALL_64_[k]", "vfs_read_[k]"], 200),
    (&["server", "main", "serve", "read", "entry_SYSCALL_64_[k]", "vfs_read_[k]", "tcp_recvmsg_[k]"], 90),
    (&["server", "main", "serve", "std::map<std::string, int>::operator[](std::string const&)"], 80),
    (&["server", "main", "serve", "<alloc::vec::Vec<T, A> as core::ops::drop::Drop>::drop"], 70),
    (
        &[
            "server",
            "main",
            "serve",
            "core::ops::function::FnOnce<(A,)>::call_once::{{vtable.shim}}::h0123456789abcdef",
        ],
        30,
    ),
    (&["server", "main", "say \"a & b\"; 'c' 12"], 50),
    (&["server", "[libcrypto.so.3+0x1f2a0]"], 100),
    (&["node", "Interpreter", "renderToString_[j]", "escapeHtml_[j]"], 150),
    (&["node", "Interpreter", "renderToString_[j]"], 40),
    (&["node", "[unnamed memory]"], 10),
];

pub(crate) fn stacks() -> Stacks {
    STACKS.iter().map(|(stack, value)| (stack.iter().map(|label| String::from(*label)).collect(), *value)).collect()
}

pub(crate) fn picture() -> Picture {
    Picture {
        title: "CPU flame graph: server (pid 1234) <test> & \"more\"".into(),
        subtitle: Some("host web-1, 10.0 s, 1,000 samples at 99 Hz, 12 lost (1.2%)".into()),
        unit: "samples".into(),
        notes: vec!["12 samples (1.2%) were lost & are not shown".into()],
        ..Picture::default()
    }
}

pub(crate) fn page() -> Page {
    let row = |cells: &[&str]| cells.iter().map(|cell| String::from(*cell)).collect();
    Page {
        title: picture().title,
        summary: vec!["web-1, Linux 6.12.0, 2025-01-02 03:04:05 UTC, 10.0 s".into()],
        warnings: vec!["1.2% of the samples were <lost>".into()],
        picture: Picture { title: "CPU".into(), ..picture() },
        stacks: stacks(),
        sections: vec![
            Section {
                heading: "Hottest functions".into(),
                text: vec!["Self: the function itself ran. Total: it or what it called.".into()],
                columns: vec![
                    Column::number("self"),
                    Column::number("total"),
                    Column::function("function"),
                    Column::text("module"),
                ],
                rows: vec![
                    row(&["20.0%", "29.0%", "vfs_read", "[kernel]"]),
                    row(&["5.0%", "5.0%", "say \"a & b\"; 'c' 12", "/usr/bin/server"]),
                    row(&["10.0%", "10.0%", "[libcrypto.so.3]", "/usr/lib/libcrypto.so.3"]),
                    row(&["0.0%"]),
                ],
            },
            Section { heading: "Words only".into(), text: vec!["a < b".into()], ..Section::default() },
        ],
    }
}
