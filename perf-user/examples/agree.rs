//! Frame by frame, what tables say of a process and what gdb says: `agree PID ROUNDS`, as root. Each round stops the process,
//! walks the stack of its first thread in both ways, and lets it run on.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    process::Command,
    time::Duration,
};

use perf_ebpf::unwind::{Cfa, Registers, Row, step};
use perf_user::unwind::{Table, read};

type Failure = Box<dyn std::error::Error>;

/// DWARF's order of the registers of x86-64.
const REGISTERS: &str = "rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip";

/// Prints the registers, then a frame a line; functions that were inlined, or have jumped to another one
/// at their end, have none on the stack.
const SCRIPT: &str = "python
frame = gdb.newest_frame()
print('@', *[int(frame.read_register(name)) % 2**64 for name in '@NAMES'.split()])
while frame is not None:
    if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME): print('@', frame.pc())
    frame = frame.older()
end
";

fn main() -> Result<(), Failure> {
    let arguments: Vec<i32> = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let [pid, rounds] = arguments[..] else { return Err("usage: agree PID ROUNDS".into()) };
    let script = std::env::temp_dir().join(format!("agree-{pid}.gdb"));
    fs::write(&script, SCRIPT.replace("@NAMES", REGISTERS))?;
    let mut tables = HashMap::new();
    let (mut same, mut all, mut whole) = (0, 0, 0);
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(13 + round as u64 % 7));
        signal(pid, "STOP")?;
        while !fs::read_to_string(format!("/proc/{pid}/stat"))?.contains(") T ") {
            std::thread::sleep(Duration::from_millis(1));
        }
        let compared = compare(pid, &script, &mut tables);
        signal(pid, "CONT")?;
        let (own, gdb) = compared?;
        let agreed = own.iter().zip(&gdb).filter(|(own, gdb)| own == gdb).count();
        if agreed < own.len().max(gdb.len()) {
            eprintln!("{own:x?}\n{gdb:x?}");
        }
        same += agreed;
        all += own.len().max(gdb.len());
        whole += usize::from(own == gdb);
    }
    fs::remove_file(script)?;
    println!("{same} of {all} frames, {:.2} %; {whole} of {rounds} stacks", 100.0 * same as f64 / all as f64);
    Ok(())
}

fn signal(pid: i32, name: &str) -> Result<(), Failure> {
    Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status()?;
    Ok(())
}

/// The addresses by tables, and those by gdb.
fn compare(
    pid: i32,
    script: &std::path::Path,
    tables: &mut HashMap<String, Option<Table>>,
) -> Result<(Vec<u64>, Vec<u64>), Failure> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-p", &pid.to_string(), "-ex", "set backtrace past-main on", "-x"]).arg(script);
    let printed = String::from_utf8(gdb.output()?.stdout)?;
    let mut lines = printed.lines().filter_map(|line| line.strip_prefix("@ "));
    let numbers = |line: &str| line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>();
    let registers = numbers(lines.next().ok_or("gdb says nothing")?)?;
    let frames = lines.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let word = |at: u64| {
        let mut bytes = [0; 8];
        memory.read_exact_at(&mut bytes, at).ok().map(|()| u64::from_le_bytes(bytes))
    };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut frame = Registers { ip: registers[16], sp: registers[7], fp: registers[6] };
    let (mut own, mut returns) = (Vec::new(), 0);
    // As the kernel half goes, but for code without a row: see `next` in perf-ebpf.
    while own.len() < 512 {
        own.push(frame.ip);
        let Some(row) = find(&maps, frame.ip - returns, tables) else { break };
        let leaf = own.len() == 1;
        let Ok(caller) = step(row, frame, word, |number| leaf.then(|| registers[usize::from(number)])) else { break };
        returns = u64::from(row.kind() != Cfa::Signal as u8);
        frame = caller;
    }
    Ok((own, frames))
}

/// The row of an address.
fn find(maps: &str, ip: u64, tables: &mut HashMap<String, Option<Table>>) -> Option<Row> {
    let (line, offset) = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let start = number(start).filter(|start| *start <= ip && ip < number(end).unwrap_or(0))?;
        Some((line, ip - start + number(rest.split(' ').nth(1)?)?))
    })?;
    let path = line.split_whitespace().nth(5)?.to_owned();
    let table = tables.entry(path.clone()).or_insert_with(|| read(&File::open(path).ok()?, |_| None).ok());
    table.as_ref()?.find(offset)
}
