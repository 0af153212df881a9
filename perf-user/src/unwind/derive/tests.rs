//! Code of the forms that need care, as assemblers write it.

use super::*;

/// The rule at each of these places of code that lies at 0x1000, called from nowhere.
fn rules(code: &[u8], places: &[u64]) -> Vec<Rule> {
    let stretches = derive(&[Gap { start: 0x1000, bytes: code }], std::iter::empty(), 0x1000 + 0x100);
    let at = |place: &u64| {
        let found = stretches.iter().find(|(start, end, _)| (*start..*end).contains(&(0x1000 + place)));
        found.map_or(Rule::UNKNOWN, |(_, _, rule)| *rule)
    };
    places.iter().map(at).collect()
}

fn sp(offset: i32, fp: SavedFp) -> Rule {
    Rule::of(Cfa::Sp, fp, offset)
}

#[test]
fn pushes_and_memory_taken_from_the_stack_are_counted() {
    // push rbp; push rbx; sub rsp, 24; call +0x60; add rsp, 24; pop rbx; pop rbp; ret
    let code = [0x55, 0x53, 0x48, 0x83, 0xec, 24, 0xe8, 0x60, 0, 0, 0, 0x48, 0x83, 0xc4, 24, 0x5b, 0x5d, 0xc3];
    let saved = SavedFp::Saved(-2);
    let expected =
        [sp(8, SavedFp::Kept), sp(16, saved), sp(24, saved), sp(48, saved), sp(24, saved), sp(8, SavedFp::Kept)];
    assert_eq!(rules(&code, &[0, 1, 2, 6, 15, 17]), expected);
}

#[test]
fn a_frame_pointer_is_followed_where_the_stack_pointer_is_not() {
    // push rbp; mov rbp, rsp; sub rsp, rax; nop; leave; ret
    let code = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x29, 0xc4, 0x90, 0xc9, 0xc3];
    let by_pointer = Rule::of(Cfa::Fp, SavedFp::Saved(-2), 16);
    assert_eq!(
        rules(&code, &[0, 4, 7, 8, 9]),
        [sp(8, SavedFp::Kept), by_pointer, by_pointer, by_pointer, sp(8, SavedFp::Kept)]
    );
}

#[test]
fn what_returns_with_something_else_on_top_is_left_unknown() {
    // push rbx; ret
    assert_eq!(rules(&[0x53, 0xc3], &[0, 1]), [Rule::UNKNOWN; 2]);
}

#[test]
fn places_behind_a_jump_through_a_table_have_its_stack() {
    // push rbx; jmp rax; nop; inc ebx; pop rbx; ret
    let code = [0x53, 0xff, 0xe0, 0x90, 0xff, 0xc3, 0x5b, 0xc3];
    let deep = sp(16, SavedFp::Kept);
    assert_eq!(rules(&code, &[1, 4, 6, 7]), [deep, deep, deep, sp(8, SavedFp::Kept)]);
}

#[test]
fn a_thread_begins_where_the_frame_pointer_is_cleared() {
    // test eax, eax; jne +7; xor ebp, ebp; call r9; nop; hlt; ret
    let code = [0x85, 0xc0, 0x75, 7, 0x31, 0xed, 0x41, 0xff, 0xd1, 0x90, 0xf4, 0xc3];
    let end = Rule::of(Cfa::End, SavedFp::Kept, 0);
    assert_eq!(rules(&code, &[0, 6, 9, 11]), [sp(8, SavedFp::Kept), end, end, sp(8, SavedFp::Kept)]);
}

#[test]
fn the_return_from_a_signal_is_known_from_the_byte_before_to_that_behind() {
    // ret; nop; mov eax, 15; syscall; ret
    let code = [0xc3, 0x90, 0xb8, 15, 0, 0, 0, 0x0f, 0x05, 0xc3];
    let signal = Rule::of(Cfa::Signal, SavedFp::Kept, 0);
    assert_eq!(rules(&code, &[0, 1, 2, 7, 9]), [sp(8, SavedFp::Kept), signal, signal, signal, signal]);
}

#[test]
fn code_that_leads_everywhere_comes_to_an_end() {
    // jne -2, over and over, and every other byte as an instruction of its own.
    for code in [[0x75, 0xfe].repeat(5000), (0..20_000_u32).map(|at| ((at * 7919) >> 5) as u8).collect()] {
        derive(&[Gap { start: 0, bytes: &code }], 0..code.len() as u64, 0);
    }
}
