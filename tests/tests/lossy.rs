//! What is sent again because it was lost on its way, against what the kernel knows of the connection.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use tests::{Lab, Program};

#[test]
fn what_is_sent_again_is_counted() {
    let Some(lab) = Lab::open() else { return };
    let recorder = lab.record().frequency(99).option("--event", "cpu,files");
    let recording = recorder.command(&Program::c("lossy.c"), &["1"]).run();
    let files = recording.report.file_calls.as_ref().expect("calls were recorded");
    let number = |name: &str| -> u64 { recording.logged(name)[0].parse().unwrap() };
    let [client, server] = ["ready", "server"].map(|name| number(name) as u32);
    let port = number("port");
    let known = number("client_retransmits");
    assert!(known > 0, "a tenth of 200 requests is lost");
    let to = files.peer(client, &format!("tcp to 127.0.0.1:{port}")).expect("the server");
    // Some kernels run no programs in the context of some threads, in which a timer may send it.
    assert!((known - known / 10 - 1..=known).contains(&to.retransmits), "{known}: {to:?}");
    let from = files.peer(server, &format!("tcp at {port} from 127.0.0.1"));
    let told = from.map_or(0, |from| from.retransmits);
    // It tells before it ends the connection, which it may have to do several times, too.
    let known = number("server_retransmits");
    assert!((known - known / 10..=known + 5).contains(&told), "{known}: {from:?}");
}
