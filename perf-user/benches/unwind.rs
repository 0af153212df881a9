//! How fast unwind tables are made: `cargo bench -p perf-user`. Throughput is in rows of the finished table.

use std::{fs::File, path::PathBuf, process::Command};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use perf_user::unwind::read;

/// The C and C++ libraries of this machine, and the largest Rust program on it, the compiler.
fn files() -> Vec<PathBuf> {
    let library = |name: &str| {
        let output = Command::new("cc").arg(format!("-print-file-name={name}")).output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim())).filter(|path| path.is_absolute())
    };
    let compiler = || {
        let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
        let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()).join("lib");
        let mut paths = folder.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| path.to_string_lossy().contains("librustc_driver"))
    };
    [library("libc.so.6"), library("libstdc++.so.6"), compiler()].into_iter().flatten().collect()
}

fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    group.sample_size(10);
    for path in files() {
        let Ok(table) = File::open(&path).map_err(|_| ()).and_then(|file| read(&file, |_| None).map_err(|_| ())) else {
            continue;
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        group.throughput(Throughput::Elements(table.rows.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| File::open(&path).ok().and_then(|file| read(&file, |_| None).ok()));
        });
    }
    group.finish();
}

criterion_group!(benches, tables);
criterion_main!(benches);
