//! Folded stacks to pictures: lines of `frame;frame;frame count`, with any labels.
#![no_main]

use flamegraphs::{Column, Page, Picture, Section, Stacks, html, svg};
use fuzz::{check_html, check_svg};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut stacks = Stacks::new();
    for line in text.split('\n') {
        let (stack, count) = line.rsplit_once(' ').unwrap_or((line, "1"));
        let count = count.parse::<u32>().unwrap_or(1);
        *stacks.entry(stack.split(';').map(str::to_owned).collect()).or_default() += u64::from(count);
    }
    let title = text.chars().take(400).collect::<String>();
    let picture = Picture {
        title: title.clone(),
        subtitle: Some(title.clone()),
        unit: title.chars().rev().take(60).collect(),
        inverted: data.len() % 2 == 1,
        notes: vec![title.clone()],
        when_empty: title.clone(),
    };
    let mut out = Vec::new();
    svg(&stacks, &picture, &mut out).expect("a picture");
    check_svg(&String::from_utf8(out).expect("text"));
    let page = Page {
        title: title.clone(),
        summary: vec![title.clone()],
        warnings: vec![title.clone()],
        picture,
        stacks,
        sections: vec![Section {
            heading: title.clone(),
            text: vec![title.clone()],
            columns: vec![Column::function(&title)],
            rows: vec![vec![title]],
        }],
    };
    let mut out = Vec::new();
    html(&page, &mut out).expect("a page");
    check_html(&String::from_utf8(out).expect("text"));
});
