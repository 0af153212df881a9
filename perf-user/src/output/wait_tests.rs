//! Pages and pictures of system calls and of who ended waits.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    profile::{CallKind, Calls, Frame, FrameId, FrameKind, SingleCall},
    report::fixture::{Builder, profile},
};

fn text(format: Format, profile: &Profile) -> String {
    let mut out = Vec::new();
    write(format, profile, &ExportOptions::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_page_tells_system_calls_without_markup_of_their_own() {
    let call = |arguments: &str, start_ns, result| SingleCall {
        tgid: 7,
        process: "<b>server".into(),
        tid: 8,
        comm: "<i>worker".into(),
        name: "openat".into(),
        arguments: arguments.into(),
        start_ns,
        length_ns: 10_000_000_000,
        result,
    };
    let slowest = vec![call("openat(</script><img src=x>)", 5, Some(-2)), call("openat(\u{202e}gpj.exe)", 0, None)];
    let kind = CallKind { errors: [("ENOENT".to_owned(), 3)].into(), ..CallKind::default() };
    let kinds = [((7, "openat".to_owned()), kind)].into();
    let processes = [(7, "<b>server".to_owned())].into();
    let calls = Calls { slowest, kinds, processes, ..Calls::default() };
    let html = text(Format::Html, &Profile { calls: Some(calls), ..profile() });
    for part in [
        "<h2>System calls</h2>",
        "<td>&lt;b&gt;server (7)</td><td>ENOENT 3</td>",
        "<h2>Slowest system calls</h2>",
        "<td>openat(&lt;/script&gt;&lt;img src=x&gt;)</td><td>ENOENT</td>",
        "<h2>System calls that have not returned</h2>",
        "<td class=\"number\">&gt; 10.0 s</td><td class=\"number\">before</td>",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(!html.contains('\u{202e}') && !html.contains("<img src=x>") && !html.contains("<i>worker"));
    assert!(!text(Format::Html, &profile()).contains("System calls"), "where none were recorded");
}

#[test]
fn a_picture_of_wakers_has_the_waker_between_two_stacks() {
    let mut profile = Builder::new()
        .sample((7, 7, "db"), &["main", "query", "futex_[w]", "try_to_wake_up_[k]", "reply", "main"], 2_500_000)
        .build();
    let waker = profile.strings.intern("woken by worker (9)");
    profile.frames.push(Frame { function: waker, kind: FrameKind::Waker, ..profile.frames[0] });
    let series = &mut profile.series[0];
    let stack = profile.stacks.push(series.samples[0].stack, FrameId(profile.frames.len() as u32 - 1));
    series.samples[0].stack = stack;
    (series.event, series.unit, series.period_ns) = ("offwake".into(), "nanoseconds".into(), 1);
    let svg = text(Format::Svg, &profile);
    for part in [
        ">Off-CPU and waker flame graph: server (pid 1234)</text>",
        "<title>woken by worker (9) (2,500 microseconds, 100.00%)</title>",
        "Below a yellow frame: the stack of the thread that waited",
        "who ended the wait",
    ] {
        assert!(svg.contains(part), "{part} in {svg}");
    }
    // From the bottom up: y falls.
    let height = |name: &str| {
        let frame = svg.split_once(&format!("<title>{name} (")).unwrap().1;
        frame.split_once(" y=\"").unwrap().1.split('"').next().unwrap().parse::<u32>().unwrap()
    };
    let heights = ["query", "futex", "woken by worker (9)", "try_to_wake_up", "reply"].map(height);
    assert!(heights.is_sorted_by(|a, b| a > b), "{heights:?}");
    let folded = text(Format::Folded, &profile);
    assert!(folded.contains("reply;main;woken by worker (9)_[w] 2500000"), "{folded}");
}
