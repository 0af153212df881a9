//! The pictures in a browser: zoom, reset and search do what they say.
//!
//! Needs Chromium in `PATH`. Without it the tests skip with a message; with `CI` or `PERFPROBE_REQUIRE_BROWSER` set
//! they fail instead.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod chromium;
mod sample;

use std::collections::BTreeMap;

use chromium::{browser, run};
use flamegraphs::{html, svg};

/// What a script in the page calls; `say` puts a line where [`run`] finds it.
const HELPERS: &str = r##"
var said = "";
function say(key, value) { said += key + "=" + value + "|"; }
function finish() { document.documentElement.setAttribute("data-said", said); }
function frame(name) {
    for (var i = 0; i < frames.children.length; i++)
        if (g_to_func(frames.children[i]) === name) return frames.children[i];
    throw new Error("no frame " + name);
}
function look(key, name) {
    var element = frame(name), box = element.querySelector("rect").getBoundingClientRect();
    say(key + ".width", box.width.toFixed(1));
    say(key + ".shown", getComputedStyle(element).display !== "none");
    say(key + ".text", element.querySelector("text").textContent.trim());
}
function click(element) { element.dispatchEvent(new MouseEvent("click", { bubbles: true })); }
function lit() {
    var names = [];
    for (var i = 0; i < frames.children.length; i++)
        if (frames.children[i].querySelector("rect").getAttribute("fill") === searchcolor) names.push(g_to_func(frames.children[i]));
    return names.sort().join(",");
}
function shows(id) {
    var element = document.getElementById(id);
    return getComputedStyle(element).display === "none" ? "(hidden)" : element.textContent;
}
function steps() {
    look("before.serve", "serve"); look("before.node", "node"); look("before.read", "read");
    say("before.unzoom", shows("unzoom"));
    click(frame("read").querySelector("rect"));
    look("zoomed.read", "read"); look("zoomed.node", "node"); look("zoomed.parse", "parse_request");
    look("zoomed.main", "main"); look("zoomed.recv", "tcp_recvmsg");
    say("zoomed.unzoom", shows("unzoom"));
    click(document.getElementById("unzoom"));
    look("reset.read", "read"); look("reset.node", "node");
    window.prompt = function () { return "^vfs_"; };
    click(document.getElementById("search"));
    say("search.lit", lit()); say("search.matched", shows("matched"));
    click(document.getElementById("search"));
    say("cleared.lit", lit());
    search("samples"); say("numbers.lit", lit()); say("numbers.matched", shows("matched"));
    search("operator[]("); say("invalid.lit", lit()); reset_search(); searching = 0;
    var over = new MouseEvent("mouseover", { bubbles: true });
    frame("vfs_read").querySelector("rect").dispatchEvent(over);
    say("hover", shows("details"));
}
"##;

fn with_script(document: &str, end: &str, steps: &str) -> String {
    let (before, after) = document.rsplit_once(end).unwrap();
    // After the picture has set itself up, which it does when the events of loading have been handled.
    let script = format!(
        "{HELPERS}\nwindow.addEventListener(\"load\", function () {{ setTimeout(function () {{\n\
         try {{ {steps} }} catch (error) {{ say(\"error\", error); }}\nfinish(); }}, 200); }});"
    );
    // HTML knows CDATA only inside of SVG, where it needs it.
    let (open, close) = if end == "</body>" { ("", "") } else { ("<![CDATA[", "]]>") };
    format!("{before}<script>{open}{script}{close}</script>{end}{after}")
}

fn check_picture(said: &BTreeMap<String, String>) {
    assert_eq!(said.get("error"), None, "{said:#?}");
    let width = |key: &str| said[&format!("{key}.width")].parse::<f64>().unwrap();
    let is = |key: &str, value: &str| assert_eq!(said[key], value, "{key} in {said:#?}");

    // The widths are the shares: `read` has 290 of 1000 samples, `serve` 650.
    let whole = width("before.serve") / 0.65;
    assert!((1200.0..1400.0).contains(&whole), "as wide as the window: {whole}");
    assert!((width("before.read") / whole - 0.29).abs() < 0.002, "{said:#?}");
    is("before.unzoom", "(hidden)");
    is("before.read.text", "read");

    // Zoom: the frame and its ancestors fill the picture, what it calls grows, everything else goes.
    assert!((width("zoomed.read") / whole - 1.0).abs() < 0.005, "{said:#?}");
    assert!((width("zoomed.main") / whole - 1.0).abs() < 0.005, "{said:#?}");
    assert!((width("zoomed.recv") / whole - 90.0 / 290.0).abs() < 0.005, "{said:#?}");
    is("zoomed.read.shown", "true");
    is("zoomed.main.shown", "true");
    is("zoomed.node.shown", "false");
    is("zoomed.parse.shown", "false");
    is("zoomed.unzoom", "Reset Zoom");
    assert!((width("reset.read") - width("before.read")).abs() < 0.5, "{said:#?}");
    is("reset.node.shown", "true");

    // Search: names only, with the share of what matched, counted once.
    is("search.lit", "vfs_read");
    is("search.matched", "Matched: 29.0%");
    is("cleared.lit", "");
    is("numbers.lit", "");
    is("numbers.matched", "Matched: nothing");
    is("invalid.lit", "std::map&lt;std::string, int&gt;::operator[](std::string const&amp;)");
    is("hover", " vfs_read (290 samples, 29.00%)");
}

#[test]
fn the_picture_zooms_and_searches() {
    let Some(browser) = browser() else { return };
    let mut picture = Vec::new();
    svg(&sample::stacks(), &sample::picture(), &mut picture).unwrap();
    let document = with_script(&String::from_utf8(picture).unwrap(), "</svg>", "steps();");
    check_picture(&run(&browser, "picture.svg", "", &document));
}

#[test]
fn the_page_zooms_and_searches() {
    let Some(browser) = browser() else { return };
    let mut page = Vec::new();
    html(&sample::page(), &mut page).unwrap();
    let steps = "steps(); click(document.querySelector('td.function')); say('table.lit', lit()); \
                 say('table.matched', shows('matched')); \
                 click(document.querySelectorAll('td.function')[2]); say('module.lit', lit()); say('rows', document.querySelectorAll('tbody tr').length);\
                 say('overflow', document.documentElement.scrollWidth > innerWidth);";
    let said = run(&browser, "page.html", "", &with_script(&String::from_utf8(page).unwrap(), "</body>", steps));
    check_picture(&said);
    assert_eq!(said["table.lit"], "vfs_read");
    assert_eq!(said["table.matched"], "Matched: 29.0%");
    assert_eq!(said["module.lit"], "[libcrypto.so.3+0x1f2a0]");
    assert_eq!(said["rows"], "4");
    assert_eq!(said["overflow"], "false");
}

#[test]
fn names_are_shortened_where_it_hurts_least() {
    let Some(browser) = browser() else { return };
    let mut picture = Vec::new();
    svg(&sample::stacks(), &sample::picture(), &mut picture).unwrap();
    let names = [
        ("core::ops::function::FnOnce<(A,)>::call_once::h0123456789abcdef", "call_once"),
        ("<alloc::vec::Vec<T> as core::ops::Drop>::drop", "drop"),
        ("std::vector<int, std::allocator<int> >::push_back(int const&)", "push_back"),
        ("a::B::operator()(int) const", "operator()(int) const"),
        ("main.(*Server).Serve", "main.(*Server).Serve"),
        ("(anonymous namespace)::run(int)", "run"),
        ("PyEval_EvalFrame", "PyEval_EvalFrame"),
        ("<module>", "&lt;module&gt;"),
        ("pack.<locals>.<listcomp>", "pack.&lt;locals&gt;.&lt;listcomp&gt;"),
    ];
    let steps: String =
        names.iter().enumerate().map(|(at, (name, _))| format!("say('{at}', short_name('{name}', 10));")).collect();
    let said = run(&browser, "names.svg", "", &with_script(&String::from_utf8(picture).unwrap(), "</svg>", &steps));
    for (at, (name, short)) in names.iter().enumerate() {
        assert_eq!(said[&at.to_string()], *short, "{name}");
    }
}

#[test]
fn a_high_picture_shows_first_where_stacks_begin() {
    let Some(browser) = browser() else { return };
    for (inverted, scrolled) in [(false, "true"), (true, "false")] {
        let mut stacks = flamegraphs::Stacks::new();
        stacks.insert(vec!["deeper".to_owned(); 200], 1);
        let mut picture = Vec::new();
        svg(&stacks, &flamegraphs::Picture { inverted, ..sample::picture() }, &mut picture).unwrap();
        let steps = "say('scrolled', scrollY > 1000);";
        let said = run(&browser, "high.svg", "", &with_script(&String::from_utf8(picture).unwrap(), "</svg>", steps));
        assert_eq!(said["scrolled"], scrolled, "inverted: {inverted}, {said:#?}");
    }
}

#[test]
fn an_empty_picture_says_why() {
    let Some(browser) = browser() else { return };
    let mut picture = Vec::new();
    svg(&flamegraphs::Stacks::new(), &sample::picture(), &mut picture).unwrap();
    let steps = "say('reason', shows('reason')); say('width', document.documentElement.getBoundingClientRect().width);";
    let said = run(&browser, "empty.svg", "", &with_script(&String::from_utf8(picture).unwrap(), "</svg>", steps));
    assert_eq!(said.get("error"), None, "{said:#?}");
    assert_eq!(said["reason"], "Nothing was sampled, so there is nothing to draw.");
    assert_eq!(said["width"], "1400");
}

#[test]
fn a_long_title_leaves_the_buttons_free() {
    let Some(browser) = browser() else { return };
    let mut picture = Vec::new();
    let title = "a very long title ".repeat(40);
    svg(&sample::stacks(), &flamegraphs::Picture { title, ..sample::picture() }, &mut picture).unwrap();
    let steps = "fit_headings(700); say('width', document.getElementById('title').getComputedTextLength());";
    let said = run(&browser, "title.svg", "", &with_script(&String::from_utf8(picture).unwrap(), "</svg>", steps));
    let width = said["width"].parse::<f64>().unwrap();
    assert!((400.0..=460.0).contains(&width), "{said:#?}");
}
