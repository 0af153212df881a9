//! What becomes of TCP connections.

use aya_ebpf::{
    EbpfContext as _, Global,
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel},
    macros::{map, raw_tracepoint},
    maps::HashMap,
    programs::RawTracePointContext,
};
use perf_ebpf::{
    counters::Counter,
    file_calls::{ASKS, Connections, PeerKey, TCP_ESTABLISHED, TCP_SYN_RECEIVED, TCP_SYN_SENT, Talk},
};

use super::{
    counters::{count, counters, generation},
    sockets::{TALKS, keep_made, key, socket_name},
    stacks::Busy,
    target::{cpu, is_target, now},
};

/// 1 if the kernel tells of segments that could not be sent again, too.
#[unsafe(no_mangle)]
static RESENDS_TELL_ERROR: Global<u32> = Global::new(0);

#[map]
static CONNECTIONS_0: HashMap<PeerKey, Connections> = HashMap::with_max_entries(1, 0);

#[map]
static CONNECTIONS_1: HashMap<PeerKey, Connections> = HashMap::with_max_entries(1, 0);

/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb)`; newer kernels have `int err` behind, and tell of what was not
/// sent, too.
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub(super) fn tcp_resends(ctx: RawTracePointContext) -> i32 {
    // Read by the helper: verifiers of kernels without it would refuse the program.
    // SAFETY: within what the tracepoint gives.
    let error = || unsafe { bpf_probe_read_kernel(ctx.as_ptr().cast::<u64>().add(2)) }.unwrap_or(0) as u32;
    if RESENDS_TELL_ERROR.load() != 0 && error() != 0 {
        return 0;
    }
    socket_became(ctx.arg(0), Became::Resent as u32, 0);
    0
}

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb)`.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub(super) fn tcp_resets(ctx: RawTracePointContext) -> i32 {
    socket_became(ctx.arg(0), Became::ResetSent as u32, 0);
    0
}

/// `tcp_receive_reset(struct sock *sk)`.
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub(super) fn tcp_is_reset(ctx: RawTracePointContext) -> i32 {
    socket_became(ctx.arg(0), Became::ResetReceived as u32, 0);
    0
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(super) fn tcp_state(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let (old, new) = (ctx.arg::<u64>(1) as u32, ctx.arg::<u64>(2) as u32);
    if new == TCP_SYN_SENT || (old == TCP_SYN_RECEIVED && new == TCP_ESTABLISHED) {
        // Its memory may have been another's. One that asks does so in the thread that connects.
        let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        if new == TCP_SYN_SENT && is_target(tgid) {
            let talk = Talk { sent_ns: 0, connect_ns: now(), tgid, role: ASKS };
            let _ = TALKS.insert(&sock, &talk, u64::from(BPF_ANY));
        } else {
            let _ = TALKS.remove(&sock);
        }
        return 0;
    }
    if old == TCP_SYN_SENT {
        let Some(talk) = TALKS.get_ptr_mut(&sock) else { return 0 };
        // SAFETY: memory of the map; a socket is in one state at a time.
        let ns = unsafe {
            let ns = now().saturating_sub((*talk).connect_ns);
            (*talk).connect_ns = 0;
            ns
        };
        let became = if new == TCP_ESTABLISHED { Became::Connected } else { Became::Refused };
        socket_became(sock, became as u32, ns);
    }
    0
}

/// What became of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Became {
    Resent,
    ResetSent,
    ResetReceived,
    Connected,
    Refused,
}

/// Adds what became of a connection: [`Became`], and after how long. Not inlined, and with numbers alone, as `calls_keep`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn socket_became(sock: u64, became: u32, ns: u64) -> i64 {
    // Whose it is, is known of those that the target made calls on.
    let Some(talk) = TALKS.get_ptr(&sock) else { return 0 };
    // SAFETY: memory of the map.
    let tgid = unsafe { (*talk).tgid };
    let generation = generation();
    let Some(counters) = counters(generation) else { return 0 };
    let Some(busy) = Busy::claim() else {
        count(counters, Counter::PeersMissed);
        return 0;
    };
    let key = PeerKey { tgid, cpu: cpu(), socket: key(socket_name(sock, 0)) };
    keep_made(key.socket, generation);
    busy.give_back();
    let sums = if generation == 0 { &CONNECTIONS_0 } else { &CONNECTIONS_1 };
    if sums.get_ptr_mut(&key).is_none() {
        let _ = sums.insert(key, Connections::default(), u64::from(BPF_NOEXIST));
    }
    let Some(sum) = sums.get_ptr_mut(&key) else {
        count(counters, Counter::PeersMissed);
        return 0;
    };
    // SAFETY: as in `talk`.
    let sum = unsafe { &mut *sum };
    sum.retransmits += u64::from(became == Became::Resent as u32);
    sum.resets_sent += u64::from(became == Became::ResetSent as u32);
    sum.resets_received += u64::from(became == Became::ResetReceived as u32);
    sum.connects_failed += u64::from(became == Became::Refused as u32);
    if became == Became::Connected as u32 {
        (sum.connects, sum.connect_ns) = (sum.connects + 1, sum.connect_ns + ns);
        if ns > sum.connect_max_ns {
            sum.connect_max_ns = ns;
        }
    }
    0
}
