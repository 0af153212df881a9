//! What is done while it is recorded: commands that do nothing but wait or call, and servers under their load generators.

use super::table::Column;

/// Work whose speed can be told.
pub(super) struct Load {
    /// Names its folder and its column.
    pub(super) name: &'static str,
    /// The Debian packages it takes.
    pub(super) packages: &'static [&'static str],
    /// Run by the shell in a folder of its own, once, before anything else.
    pub(super) prepare: &'static str,
    /// What is recorded; where there is none, that is the work itself.
    pub(super) server: Option<Server>,
    /// One command. `$N` is how much, here and nowhere else; `$CPU` the last CPU, for servers, too.
    pub(super) work: &'static str,
    pub(super) amount: u64,
    /// How many units were done in a second, by what the work printed.
    pub(super) rate: fn(&str) -> Option<f64>,
    /// What is counted in that. Work with a step does `$N` of them.
    pub(super) unit: &'static str,
    /// Told where one unit is a known number of switches or calls.
    pub(super) step: Option<Step>,
    /// Do all threads that are recorded belong to one process?
    pub(super) is_one_process: bool,
}

/// What the work asks.
pub(super) struct Server {
    /// One command, which stays in the foreground and ends on SIGINT.
    pub(super) run: &'static str,
    /// Succeeds once the server answers.
    pub(super) answers: &'static str,
}

/// The event that is recorded.
pub(super) struct Step {
    /// The time that one takes more than alone, in nanoseconds.
    pub(super) more_ns: Column,
    pub(super) in_unit: f64,
    /// The process's own CPU time, by that alone.
    pub(super) cpu: Column,
}

const fn step(more_ns: &'static str, in_unit: f64, cpu: &'static str) -> Option<Step> {
    Some(Step {
        more_ns: Column { title: more_ns, digits: 0, has_spread: true },
        in_unit,
        cpu: Column { title: cpu, digits: 2, has_spread: true },
    })
}

/// Redis, and what asks it, over whatever connects the two.
const fn redis(server: Server, work: &'static str) -> Load {
    Load {
        name: "Redis",
        packages: &["redis-server", "redis-tools"],
        prepare: "",
        server: Some(server),
        work,
        amount: 400_000,
        rate: requests,
        unit: "requests",
        step: None,
        is_one_process: true,
    }
}

/// What waits. The first does nothing else.
pub(super) const WAITS: &[Load] = &[
    Load {
        name: "perf bench sched pipe",
        packages: &["linux-perf"],
        prepare: "",
        server: None,
        // On one CPU nothing but switches takes time.
        work: "taskset -c 0 perf bench sched pipe -l $N",
        amount: 100_000,
        rate: |text| before(text, "ops/sec"),
        unit: "operations, of two switches each,",
        step: step("a switch more, ns", 2.0, "its CPU time"),
        is_one_process: false,
    },
    Load {
        name: "perf bench sched messaging (hackbench)",
        packages: &["linux-perf"],
        prepare: "",
        server: None,
        work: "perf bench sched messaging -g 2 -l $N",
        amount: 400,
        rate: |text| Some(1.0 / after(text, "Total time:")?),
        unit: "runs",
        step: None,
        is_one_process: false,
    },
    redis(
        Server {
            run: "taskset -c $CPU redis-server --port 0 --unixsocket $PWD/socket --save ''",
            answers: "redis-cli -s $PWD/socket ping",
        },
        "taskset -c 0 redis-benchmark -s $PWD/socket -t get,set -n $N -c 20 --csv",
    ),
    Load {
        name: "PostgreSQL",
        packages: &["postgresql"],
        prepare: "chmod 777 .; ln -s $(ls -d /usr/lib/postgresql/*/bin | tail -n 1) bin
su postgres -s /bin/sh -c \"bin/initdb -D data --auth=trust\"
su postgres -s /bin/sh -c \"bin/pg_ctl -D data -w -o '-c listen_addresses= -k $PWD' -l log start\"
pgbench -h $PWD -U postgres -i -s 3 -q postgres
su postgres -s /bin/sh -c \"bin/pg_ctl -D data -w -m fast stop\"",
        server: Some(Server {
            run: "setpriv --reuid postgres --regid postgres --init-groups \
                  taskset -c $CPU bin/postgres -D data -c listen_addresses= -k $PWD",
            answers: "bin/pg_isready -h $PWD",
        }),
        work: "taskset -c 0 pgbench -h $PWD -U postgres -n -S -t $N -c 2 postgres",
        amount: 40_000,
        rate: |text| after(text, "tps ="),
        unit: "transactions",
        step: None,
        is_one_process: false,
    },
];

/// What calls the kernel and does nothing else.
pub(super) const CALLS: &[Load] = &[Load {
    name: "dd",
    packages: &["coreutils"],
    prepare: "",
    server: None,
    work: "taskset -c 0 dd if=/dev/zero of=/dev/null bs=1 count=$N",
    amount: 500_000,
    rate: copied,
    unit: "bytes, of two calls each,",
    step: step("a call more, ns", 2.0, "its CPU time"),
    is_one_process: true,
}];

/// A process that touches memory and does nothing else.
const PAGES: Load = Load {
    name: "memory, page by page",
    packages: &["python3"],
    prepare: "",
    server: None,
    work: "taskset -c 0 python3 -c 'import mmap, time; \
           pages = mmap.mmap(-1, $N * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); \
           pages.madvise(mmap.MADV_NOHUGEPAGE); before = time.perf_counter(); \
           [pages.__setitem__(at, 1) for at in range(0, $N * 4096, 4096)]; \
           print($N / (time.perf_counter() - before), \"faults/sec\")'",
    amount: 200_000,
    rate: |text| before(text, "faults/sec"),
    unit: "faults",
    step: None,
    is_one_process: true,
};

/// What takes memory, and gives it back or not.
pub(super) const MEMORY: &[Load] = &[
    PAGES,
    Load {
        name: "Python, JSON",
        packages: &["python3"],
        prepare: "",
        server: None,
        work: "taskset -c 0 python3 -c 'import json, time; \
               text = json.dumps([{\"key\": str(at), \"value\": [at] * 10} for at in range(20000)]); \
               before = time.perf_counter(); [json.loads(text) for _ in range($N)]; \
               print($N / (time.perf_counter() - before), \"texts/sec\")'",
        amount: 60,
        rate: |text| before(text, "texts/sec"),
        unit: "texts",
        step: None,
        is_one_process: true,
    },
    Load {
        name: "gcc",
        packages: &["gcc", "libc6-dev", "python3"],
        prepare: "python3 -c 'print(\"\".join(f\"int f{at}(int a) {{ int s = 0; for (int i = 0; i < a; i++) \
                  s += i * {at} % (i + 3); return s; }}\\n\" for at in range(400)))' >many.c",
        server: None,
        work: "taskset -c 0 python3 -c 'import subprocess, time; before = time.perf_counter(); \
               [subprocess.run([\"gcc\", \"-O2\", \"-c\", \"-o\", \"/dev/null\", \"many.c\"]) for _ in range($N)]; \
               print($N / (time.perf_counter() - before), \"runs/sec\")'",
        amount: 4,
        rate: |text| before(text, "runs/sec"),
        unit: "runs",
        step: None,
        is_one_process: false,
    },
];

/// What asks disks, files and peers, and for memory.
pub(super) const FILES: &[Load] = &[
    Load {
        name: "fio, random reads of 4 KiB",
        packages: &["fio"],
        prepare: "fio --name=new --filename=$PWD/data --size=64m --rw=write --bs=1m --direct=1 --minimal >log",
        server: None,
        work: "taskset -c 0 fio --name=read --filename=$PWD/data --size=64m --rw=randread --bs=4k --direct=1 --ioengine=psync \
               --thread --norandommap --number_ios=$N --io_size=100g --minimal",
        amount: 60_000,
        rate: reads,
        unit: "reads",
        step: None,
        is_one_process: false,
    },
    redis(
        Server {
            run: "taskset -c $CPU redis-server --bind 127.0.0.1 --port 27379 --save ''",
            answers: "redis-cli -p 27379 ping",
        },
        "taskset -c 0 redis-benchmark -p 27379 -t get,set -n $N -c 20 --csv",
    ),
    Load {
        name: "nginx",
        packages: &["nginx-light", "apache2-utils"],
        prepare: "chmod 755 .; head -c 1000 /dev/zero >page
printf 'master_process off; pid nginx.pid; error_log log; daemon off; events {}
http { access_log off; keepalive_requests 1000000000; server { listen 127.0.0.1:27380; root %s; } }' $PWD >nginx.conf",
        server: Some(Server {
            run: "taskset -c $CPU nginx -p $PWD -c nginx.conf",
            answers: "ab -q -n 1 http://127.0.0.1:27380/page",
        }),
        work: "taskset -c 0 ab -q -k -n $N -c 20 http://127.0.0.1:27380/page",
        amount: 100_000,
        rate: |text| after(text, "Requests per second:"),
        unit: "requests",
        step: None,
        is_one_process: false,
    },
    PAGES,
];

/// Work at locks, of a program that does nothing else, `locks.c`.
const fn locks(name: &'static str, work: &'static str, amount: u64, step: Option<Step>) -> Load {
    Load {
        name,
        packages: &["gcc", "libc6-dev"],
        prepare: concat!(
            "cat >locks.c <<'END'\n",
            include_str!("locks.c"),
            "END\ncc -O2 -fno-omit-frame-pointer -pthread -o locks locks.c"
        ),
        server: None,
        work,
        amount,
        rate: |text| before(text, "rounds/sec"),
        unit: "rounds",
        step,
        is_one_process: true,
    }
}

/// What waits for locks, and what does not.
pub(super) const LOCKS: &[Load] = &[
    locks("futex, in turns", "./locks turns $N", 100_000, step("a wait more, ns", 2.0, "its CPU time")),
    locks("one mutex, four threads", "./locks one $N", 100_000, None),
    locks("a mutex each", "./locks own $N", 200_000, None),
];

/// Of `fio --minimal`: how many reads a second, the eighth of its fields.
fn reads(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(";fio-"))?;
    line.split(';').nth(7)?.parse().ok()
}

/// The number that stands before this word.
fn before(text: &str, word: &str) -> Option<f64> {
    text.split_once(word)?.0.split_whitespace().next_back()?.parse().ok()
}

/// The number that stands after this word.
fn after(text: &str, word: &str) -> Option<f64> {
    text.split_once(word)?.1.split_whitespace().next()?.parse().ok()
}

/// Of `redis-benchmark --csv`, which tells each kind of request apart and does equally many of each.
fn requests(text: &str) -> Option<f64> {
    let fields = text.lines().filter_map(|line| line.split(',').nth(1)?.trim_matches('"').parse::<f64>().ok());
    let seconds: Vec<f64> = fields.map(|rate| 1.0 / rate).collect();
    (!seconds.is_empty()).then(|| seconds.len() as f64 / seconds.iter().sum::<f64>())
}

/// Of dd, which times its copying alone.
fn copied(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(" copied, "))?;
    let bytes: f64 = line.split(' ').next()?.parse().ok()?;
    Some(bytes / after(line, " copied, ")?)
}

#[cfg(test)]
mod tests {
    use super::{CALLS, FILES, LOCKS, Load, MEMORY, WAITS};

    fn rate(load: &Load, text: &str) -> Option<f64> {
        (load.rate)(text)
    }

    #[test]
    fn what_each_work_prints() {
        let [pipe, messaging, redis, postgres] = WAITS else { panic!("four loads wait") };
        assert_eq!(
            rate(pipe, "     Total time: 0.557 [sec]\n\n  9.2 usecs/op\n         107590 ops/sec\n"),
            Some(107_590.0)
        );
        assert_eq!(rate(messaging, "# 2 groups\n\n     Total time: 0.250 [sec]\n"), Some(4.0));
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"30000.00\",\"0.2\"\n\"GET\",\"60000.00\",\"0.2\"\n";
        assert_eq!(rate(redis, csv), Some(40_000.0));
        assert_eq!(rate(postgres, "tps = 1234.5 (without initial connection time)\n"), Some(1234.5));
        assert_eq!(rate(&CALLS[0], "8+0 records in\n8+0 records out\n8 bytes copied, 0.5 s, 16 B/s\n"), Some(16.0));
        assert_eq!(rate(&CALLS[0], "2000000 bytes (2.0 MB, 1.9 MiB) copied, 0.5 s, 4.0 MB/s\n"), Some(4_000_000.0));
    }

    #[test]
    fn what_asks_for_files_prints() {
        let [disk, redis, nginx, memory] = FILES else { panic!("four loads ask") };
        assert_eq!(rate(disk, "3;fio-3.41;read;0;0;240000;80000;20000;3000;0\n"), Some(20_000.0));
        assert_eq!(rate(redis, "\"test\",\"rps\"\n\"SET\",\"500.00\",\"0.2\"\n"), Some(500.0));
        assert_eq!(rate(nginx, "Requests per second:    1234.50 [#/sec] (mean)\n"), Some(1234.5));
        assert_eq!(rate(memory, "350000.5 faults/sec\n"), Some(350_000.5));
    }

    #[test]
    fn what_locks_prints() {
        assert_eq!(rate(&LOCKS[0], "1234.5 rounds/sec\n"), Some(1234.5));
    }

    #[test]
    fn what_failed_has_no_rate() {
        for load in WAITS.iter().chain(CALLS).chain(FILES).chain(LOCKS).chain(MEMORY) {
            assert_eq!(rate(load, "cannot connect\n"), None, "{}", load.name);
        }
    }
}
