//! What is recorded: programs compiled in every way that changes how stacks are walked, and programs that others wrote.

/// A program at work.
pub(super) struct Subject {
    /// As the table names it.
    pub(super) name: &'static str,
    /// The Debian packages it takes.
    pub(super) packages: &'static [&'static str],
    /// Run by the shell in a folder of its own before; `$SOURCES` are the workloads.
    pub(super) prepare: &'static str,
    /// Run by the shell, and recorded with all that it starts; it ends by itself.
    pub(super) run: &'static str,
    /// The threads that count, by their process's name.
    pub(super) comm: &'static str,
}

const NONE: &[&str] = &[];

macro_rules! c {
    ($name:literal, $compiler:literal, $packages:expr) => {
        Subject {
            name: $name,
            packages: $packages,
            prepare: concat!($compiler, " -o subject $SOURCES/frameless.c"),
            run: "./subject 3 30",
            comm: "subject",
        }
    };
}

pub(super) const SUBJECTS: &[Subject] = &[
    c!("C, gcc -O0", "gcc -O0 -fomit-frame-pointer", NONE),
    c!("C, gcc -O1", "gcc -O1 -fomit-frame-pointer", NONE),
    c!("C, gcc -O2", "gcc -O2 -fomit-frame-pointer", NONE),
    c!("C, gcc -O3", "gcc -O3 -fomit-frame-pointer", NONE),
    c!("C, gcc -O2, no PIE", "gcc -O2 -fomit-frame-pointer -no-pie", NONE),
    c!("C, gcc -O2, static", "gcc -O2 -fomit-frame-pointer -static", NONE),
    c!("C, gcc -O2, static PIE", "gcc -O2 -fomit-frame-pointer -static-pie", NONE),
    c!("C, gcc -O2, stripped", "gcc -O2 -fomit-frame-pointer -s", NONE),
    c!("C, gcc -O2, musl", "musl-gcc -O2 -fomit-frame-pointer", &["musl-tools"]),
    c!("C, gcc -O2, musl, static", "musl-gcc -O2 -fomit-frame-pointer -static", &["musl-tools"]),
    c!("C, clang -O2", "clang -O2 -fomit-frame-pointer", &["clang"]),
    Subject {
        name: "C, gcc -O2, recursion of 400",
        packages: NONE,
        prepare: "gcc -O2 -fomit-frame-pointer -o subject $SOURCES/frameless.c",
        run: "./subject 3 400",
        comm: "subject",
    },
    Subject {
        name: "C++, g++ -O0, exceptions",
        packages: NONE,
        prepare: "g++ -O0 -fomit-frame-pointer -o subject $SOURCES/throw.cpp",
        run: "./subject 3",
        comm: "subject",
    },
    Subject {
        name: "C++, g++ -O3, exceptions",
        packages: NONE,
        prepare: "g++ -O3 -fomit-frame-pointer -o subject $SOURCES/throw.cpp",
        run: "./subject 3",
        comm: "subject",
    },
    Subject {
        name: "Rust, -O0",
        packages: NONE,
        prepare: "rustc --edition=2024 -C opt-level=0 -C force-frame-pointers=no -o subject $SOURCES/split.rs",
        run: "./subject 3",
        comm: "subject",
    },
    Subject {
        name: "Rust, -O3",
        packages: NONE,
        prepare: "rustc --edition=2024 -C opt-level=3 -C force-frame-pointers=no -o subject $SOURCES/split.rs",
        run: "./subject 3",
        comm: "subject",
    },
    Subject {
        name: "CPython",
        packages: &["python3"],
        prepare: "",
        run: "/usr/bin/python3 -c 'import json
data = [{\"number\": n, \"text\": str(n) * 3} for n in range(2000)]
for _ in range(400): assert len(sorted(json.loads(json.dumps(data)), key=lambda row: row[\"text\"])) == 2000'",
        comm: "python3",
    },
    Subject {
        name: "Perl",
        packages: &["perl"],
        prepare: "",
        run: "perl -e 'for my $turn (1..60) { my %seen; $seen{$_ % 997} .= \"x\" for 1..50000; my @all = sort keys %seen; join(\",\", @all) =~ s/(\\d+),/$1;/gr }'",
        comm: "perl",
    },
    Subject {
        name: "Node.js",
        packages: NONE,
        prepare: "",
        run: "node -e 'let all = []; for (let turn = 0; turn < 60; turn++) { const rows = Array.from({length: 20000}, (_, n) => ({n, text: String(n * 7919 % 20011)})); rows.sort((a, b) => a.text < b.text ? -1 : 1); all.push(JSON.stringify(rows).length) }'",
        comm: "node",
    },
    Subject {
        name: "Java",
        packages: &["default-jdk-headless"],
        prepare: "cat > Work.java <<'END'
public class Work {
    public static void main(String[] arguments) {
        long end = System.nanoTime() + 4_000_000_000L;
        for (long sum = 0; System.nanoTime() < end;) {
            var text = new StringBuilder();
            for (int at = 0; at < 5000; at++) text.append(at * 31 % 1009).append(',');
            sum += java.util.Arrays.stream(text.toString().split(\",\")).sorted().distinct().count();
        }
    }
}
END
javac Work.java",
        run: "java -cp . Work",
        comm: "java",
    },
    Subject {
        name: "SQLite's shell",
        packages: &["sqlite3"],
        prepare: "",
        run: "sqlite3 :memory: 'create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 1000000) insert into t select x, hex(x * 7919 % 100003) from c; create index i on t(b); select count(*), sum(a) from (select b, max(a) as a from t group by b order by 2);'",
        comm: "sqlite3",
    },
    Subject {
        name: "OpenSSL",
        packages: &["openssl"],
        prepare: "",
        run: "openssl speed -seconds 1 rsa2048 ecdsap256 2> /dev/null; openssl speed -seconds 1 -evp aes-256-gcm 2> /dev/null; openssl speed -seconds 1 -evp sha256 2> /dev/null",
        comm: "openssl",
    },
    Subject {
        name: "Git",
        packages: &["git"],
        prepare: "",
        run: "cd $SOURCES && git log --stat -p --no-textconv > /dev/null && git log --stat -p > /dev/null && git log -p -M > /dev/null",
        comm: "git",
    },
    Subject {
        name: "Redis",
        packages: &["redis-server", "redis-tools"],
        prepare: "",
        run: "redis-server --port 0 --unixsocket $PWD/socket --save '' > /dev/null & server=$!
for wait in 1 2 3 4 5 6 7 8 9 10; do [ -S socket ] && break; sleep 0.2; done
redis-benchmark -s $PWD/socket -n 150000 -q -t set,get,lpush,lrange_100 > /dev/null
kill $server; wait $server",
        comm: "redis-server",
    },
    Subject {
        name: "nginx",
        packages: &["nginx-light", "apache2-utils"],
        prepare: "mkdir -p logs; head -c 20000 /dev/urandom | base64 > file.txt
printf 'daemon off; pid %s/pid; error_log %s/error; events {} http { access_log %s/access; gzip on; gzip_types text/plain; server { listen 127.0.0.1:18080; root %s; default_type text/plain; } }' $PWD $PWD $PWD $PWD > nginx.conf",
        run: "chmod 755 . ; /usr/sbin/nginx -p $PWD -c nginx.conf & server=$!
sleep 0.5
ab -q -n 4000 -c 4 -H 'Accept-Encoding: gzip' http://127.0.0.1:18080/file.txt > /dev/null
kill $server; wait $server",
        comm: "nginx",
    },
    Subject {
        name: "PostgreSQL",
        packages: &["postgresql"],
        prepare: "bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1); chmod 777 .
su postgres -s /bin/sh -c \"$bin/initdb -D data --auth=trust\" > /dev/null",
        run: "bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
su postgres -s /bin/sh -c \"$bin/pg_ctl -D data -w -o '-c listen_addresses= -k $PWD' -l log start\" > /dev/null
pgbench=$(command -v pgbench || echo $bin/pgbench)
$pgbench -h $PWD -U postgres -i -s 3 -q postgres > /dev/null 2>&1
$pgbench -h $PWD -U postgres -S -T 3 -c 2 postgres > /dev/null 2>&1
su postgres -s /bin/sh -c \"$bin/pg_ctl -D data -w -m fast stop\" > /dev/null",
        comm: "postgres",
    },
];
