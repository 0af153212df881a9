//! Call frame information, which is the target's, and the tables that are made of it, as they are kept on disk. The first
//! byte says which it is.
#![no_main]

use std::fs::File;
use std::sync::LazyLock;

use fuzz::{Scratch, elf};
use libfuzzer_sys::fuzz_target;
use perf_ebpf::unwind::{PAGE_BITS, Row};
use perf_user::unwind::{Table, decode, encode, read};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let file = match kind {
        b'e' => elf(&[(".eh_frame", data)]),
        b'd' => elf(&[(".debug_frame", data)]),
        b'b' => {
            let (eh_frame, debug_frame) = data.split_at(data.len() / 2);
            elf(&[(".eh_frame", eh_frame), (".debug_frame", debug_frame)])
        }
        b'k' => return kept(data),
        _ => data.to_vec(),
    };
    let Ok(table) = read(&File::open(SCRATCH.file(&file)).expect("a file that was just written"), |_| None) else {
        return;
    };
    assert!(table.pages.is_sorted() && table.pages.last().is_some_and(|last| *last as usize == table.rows.len()));
    for (at, page) in table.pages.windows(2).enumerate() {
        let rows = &table.rows[page[0] as usize..page[1] as usize];
        assert!(rows.first().is_none_or(|row| row.low() == 0), "a page begins with a row for its first byte");
        assert!(rows.is_sorted_by(|row, next| row.low() < next.low()), "rows are in order, and none is there twice");
        for row in rows {
            let offset = ((table.first_page + at as u64) << PAGE_BITS) | u64::from(row.low());
            assert_eq!(table.find(offset), Some(*row));
        }
    }
    assert_eq!(decode(&encode(&table)), Some(table), "what is kept is what was made");
});

/// Any numbers with a digest that is right, and any bytes.
fn kept(data: &[u8]) {
    let _ = decode(data);
    let Some((numbers, rest)) = data.split_first_chunk::<2>() else { return };
    let (pages, rows) = rest.split_at(rest.len().min(usize::from(numbers[0]) * 4));
    let table = Table {
        pages: pages.as_chunks().0.iter().map(|page| u32::from_le_bytes(*page)).collect(),
        first_page: u64::from(numbers[1]),
        rows: rows.as_chunks().0.iter().map(|row| Row(u64::from_le_bytes(*row))).collect(),
    };
    let Some(kept) = decode(&encode(&table)) else { return };
    assert_eq!(kept, table);
    for page in 0..=u64::from(u8::MAX) + 64 {
        for low in [0, 1, 0x7fff, 0xffff] {
            let _ = kept.find((page << PAGE_BITS) | low);
        }
    }
}
