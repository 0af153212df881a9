//! The pictures, byte for byte. `UPDATE_GOLDENS=1` writes them anew; look at the difference before committing it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod sample;

use std::path::Path;

use flamegraphs::{Picture, Stacks, html, svg};

fn check(name: &str, got: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read(&path).unwrap_or_default();
    assert!(want == got, "{name} differs; run with UPDATE_GOLDENS=1 and look at `git diff`");
}

fn drawn(stacks: &Stacks, picture: &Picture) -> String {
    let mut out = Vec::new();
    svg(stacks, picture, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn picture() {
    check("mixed.svg", drawn(&sample::stacks(), &sample::picture()).as_bytes());
}

#[test]
fn what_tells_the_kind_of_a_name_is_not_shown() {
    let names = ["python_[p]", "kernel_[k]", "inlined_[i]", "generated_[j]", "waited_[w]"];
    let stacks: Stacks = [(names.map(String::from).to_vec(), 5)].into_iter().collect();
    let drawn = drawn(&stacks, &sample::picture());
    assert!(names.iter().all(|name| !drawn.contains(name)), "{drawn}");
    assert!(names.iter().all(|name| drawn.contains(&format!("<title>{} (", &name[..name.len() - 4]))), "{drawn}");
}

#[test]
fn inverted() {
    let stacks: Stacks = sample::stacks()
        .into_iter()
        .map(|(mut stack, value)| {
            stack.reverse();
            (stack, value)
        })
        .collect();
    let picture = Picture { inverted: true, subtitle: None, notes: Vec::new(), ..sample::picture() };
    check("inverted.svg", drawn(&stacks, &picture).as_bytes());
}

#[test]
fn empty() {
    let picture = Picture { when_empty: "The target <used> no CPU.".into(), ..sample::picture() };
    check("empty.svg", drawn(&Stacks::new(), &picture).as_bytes());
}

#[test]
fn page() {
    let mut out = Vec::new();
    html(&sample::page(), &mut out).unwrap();
    check("page.html", &out);
}

#[test]
fn every_count_is_drawn_once_and_whole() {
    let stacks: Stacks = [
        (vec!["m", "foo"], 5),
        // Sorted as text, this line comes between the other two and would split `foo`.
        (vec!["m", "foo(int)"], 3),
        (vec!["m", "foo", "bar"], 2),
        (vec!["m", "ends in 12"], 7),
        (vec![], 1),
        (vec!["", "x;y"], 1),
        (vec!["zero"], 0),
    ]
    .into_iter()
    .map(|(stack, value)| (stack.into_iter().map(String::from).collect(), value))
    .collect();
    let drawn = drawn(&stacks, &Picture { unit: "samples".into(), ..Picture::default() });
    let titles: Vec<&str> = drawn.split("<title>").skip(2).map(|rest| rest.split("</title>").next().unwrap()).collect();
    let mut sorted = titles.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "[no stack] (1 samples, 5.26%)",
            "[unnamed] (1 samples, 5.26%)",
            "all (19 samples, 100%)",
            "bar (2 samples, 10.53%)",
            "ends in 12 (7 samples, 36.84%)",
            "foo (7 samples, 36.84%)",
            "foo(int) (3 samples, 15.79%)",
            "m (17 samples, 89.47%)",
            "x;y (1 samples, 5.26%)",
        ]
    );
}

#[test]
fn a_full_disk_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = svg(&sample::stacks(), &sample::picture(), &mut Full).unwrap_err();
    assert!(matches!(error, flamegraphs::Error::Write(_)), "{error}");
}
