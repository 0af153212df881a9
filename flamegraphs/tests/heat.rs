//! The heat map in a browser: what is shown, chosen by clicks, by keys and by address.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod chromium;

use std::collections::BTreeMap;

use chromium::{browser, run};
use flamegraphs::{Event, HeatMap, Tree, heat_map};

const MS: u64 = 1_000_000;

/// Three seconds: a sample each 10 ms in the first half of each, of `work` but in the second one, where it is `other`.
fn map() -> HeatMap {
    let mut stacks = Tree::default();
    let main = stacks.push(Tree::EMPTY, "main");
    let [work, other] = ["work", "</script>_[k]"].map(|label| stacks.push(main, label));
    let times = (0..300_u64).filter(|at| at % 100 < 50);
    let event =
        |at: u64| Event { start_ns: at * 10 * MS + 1, length_ns: 0, stack: if at / 100 == 1 { other } else { work } };
    HeatMap {
        title: "Heat".into(),
        unit: Some("samples".into()),
        started_unix_ns: 1_735_787_045_000 * MS,
        span_ns: 0..3_000 * MS,
        events: times.map(event).collect(),
        stacks,
        ..HeatMap::default()
    }
}

/// One wait of 1.5 s from 0.25 s on, one of 30 ms within.
fn waits() -> HeatMap {
    let mut stacks = Tree::default();
    let [long, short] = ["long", "short"].map(|label| stacks.push(Tree::EMPTY, label));
    let events = vec![
        Event { start_ns: 250 * MS, length_ns: 1_500 * MS, stack: long },
        Event { start_ns: 500 * MS, length_ns: 30 * MS, stack: short },
    ];
    HeatMap { unit: None, span_ns: 0..2_000 * MS, events, stacks, ..HeatMap::default() }
}

const HELPERS: &str = r##"
var said = "";
function say(key, value) { said += key + "=" + value + "|"; }
function shown() {
    return Array.from(document.querySelectorAll("#picture g title")).map(function (title) { return title.textContent; }).join("; ");
}
function look(key) { say(key + ".status", document.getElementById("status").textContent); say(key + ".shown", shown()); }
var canvas = document.getElementById("cells"), map = document.getElementById("map");
function at(kind, column, row) {
    var box = canvas.getBoundingClientRect(), width = 16, height = 5;
    canvas.dispatchEvent(new MouseEvent(kind, { bubbles: true, clientX: box.left + column * width + width / 2, clientY: box.top + (49 - row) * height + 2 }));
}
function key(name) { map.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true })); }
"##;

fn open(map: &HeatMap, fragment: &str, steps: &str) -> BTreeMap<String, String> {
    let mut page = Vec::new();
    heat_map(map, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let script = format!(
        "<script>{HELPERS}\ntry {{ {steps} }} catch (error) {{ say('error', error); }}\n\
         document.documentElement.setAttribute('data-said', said);</script></body>"
    );
    let document = page.replacen("</body>", &script, 1);
    let Some(browser) = browser() else { return BTreeMap::new() };
    let said = run(&browser, "heat.html", fragment, &document);
    assert_eq!(said.get("error"), None, "{said:#?}");
    said
}

fn assert_said(said: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    // Without a browser nothing is said, which was told.
    for (key, value) in expected.iter().filter(|_| !said.is_empty()) {
        assert_eq!(said[*key], *value, "{key} in {said:#?}");
    }
}

#[test]
fn two_clicks_choose_the_time_between_in_any_order() {
    let steps = "look('all'); at('mousemove', 1, 3); say('tip', document.getElementById('tooltip').textContent); \
        at('click', 1, 9); look('begun'); at('click', 0, 40); look('chosen'); say('address', location.hash); \
        document.getElementById('all').click(); look('again'); say('cleared', location.hash);";
    assert_said(
        &open(&map(), "", steps),
        &[
            ("all.status", "150 samples from 0.00 to 3.00 s"),
            (
                "all.shown",
                "all (150 samples, 100.00%); main (150 samples, 100.00%); &lt;/script&gt; (50 samples, 33.33%); work (100 samples, 66.67%)",
            ),
            ("tip", "1.06 to 1.08 s, 03:04:06.060 UTC: 2 samples"),
            ("begun.status", "From 1.18 s: choose where it ends."),
            // 0.80 s to 1.20 s: the first 20 samples of the second second.
            ("chosen.status", "20 samples from 0.80 to 1.20 s"),
            (
                "chosen.shown",
                "all (20 samples, 100.00%); main (20 samples, 100.00%); &lt;/script&gt; (20 samples, 100.00%)",
            ),
            ("address", "#from=0.80&amp;to=1.20"),
            ("again.status", "150 samples from 0.00 to 3.00 s"),
            ("cleared", ""),
        ],
    );
}

#[test]
fn keys_choose_too() {
    // From the first cell: a second and two cells on, then a second further.
    let steps = "['ArrowRight', 'ArrowUp', 'ArrowUp', 'Enter', 'ArrowRight', 'Enter'].forEach(key); look('chosen'); \
        key('Escape'); look('all');";
    assert_said(
        &open(&map(), "", steps),
        &[
            // 1.04 s to 2.06 s.
            ("chosen.status", "52 samples from 1.04 to 2.06 s"),
            ("all.status", "150 samples from 0.00 to 3.00 s"),
        ],
    );
}

#[test]
fn the_address_chooses_and_a_click_zooms() {
    let steps = "look('chosen'); var boxes = document.querySelectorAll('#picture g'); \
        boxes[3].dispatchEvent(new MouseEvent('click', { bubbles: true })); say('zoomed', shown()); \
        document.getElementById('unzoom').click(); \
        var search = document.getElementById('search'); search.value = '^work'; search.dispatchEvent(new Event('input')); \
        say('matched', document.getElementById('matched').textContent); \
        say('overflow', document.documentElement.scrollWidth > innerWidth);";
    assert_said(
        &open(&map(), "#from=1.40&to=2.1", steps),
        &[
            ("chosen.status", "20 samples from 1.40 to 2.10 s"),
            ("zoomed", "all (20 samples, 100.00%); main (20 samples, 100.00%); work (10 samples, 50.00%)"),
            ("matched", "matched: 50.00%"),
            ("overflow", "false"),
        ],
    );
}

#[test]
fn waits_count_by_their_part_of_the_time() {
    let steps = "look('all'); at('mousemove', 0, 26); say('tip', document.getElementById('tooltip').textContent); \
        at('click', 0, 25); at('click', 1, 9); look('chosen');";
    assert_said(
        &open(&waits(), "", steps),
        &[
            ("all.status", "1.53 s from 0.00 to 2.00 s"),
            // 0.52 s to 0.54 s: all of it of the long wait, and 10 ms of the short one.
            ("tip", "0.52 to 0.54 s, 00:00:00.520 UTC: 30.0 ms"),
            ("chosen.status", "730.0 ms from 0.50 to 1.20 s"),
            ("chosen.shown", "all (730.0 ms, 100.00%); long (700.0 ms, 95.89%); short (30.0 ms, 4.11%)"),
        ],
    );
}

#[test]
fn a_deep_graph_shows_first_where_stacks_begin() {
    let mut deep = map();
    let mut stack = 1;
    for _ in 0..200 {
        stack = deep.stacks.push(stack, "deeper");
    }
    deep.events.push(Event { start_ns: 2_900 * MS, length_ns: 0, stack });
    let steps = "var box = document.getElementById('picture'); \
        say('scrolled', box.scrollTop > 1000 && box.scrollTop + box.clientHeight > box.scrollHeight - 2); \
        say('wide', box.scrollWidth <= box.clientWidth);";
    assert_said(&open(&deep, "", steps), &[("scrolled", "true"), ("wide", "true")]);
}

#[test]
fn an_hour_scrolls() {
    let mut hour = map();
    hour.span_ns = 0..3_600_000 * MS;
    let last = Event { start_ns: 3_599_990 * MS, length_ns: 0, stack: 1 };
    hour.events.push(last);
    let steps = "say('wide', map.scrollWidth > 10 * map.clientWidth && map.scrollWidth < 20000); \
        say('overflow', document.documentElement.scrollWidth > innerWidth); \
        key('End'); look('end'); say('scrolled', map.scrollLeft + map.clientWidth > map.scrollWidth - 2);";
    assert_said(
        &open(&hour, "", steps),
        &[
            ("wide", "true"),
            ("overflow", "false"),
            ("end.status", "3599.98 to 3600.00 s, 04:04:04.980 UTC: 1 sample"),
            ("scrolled", "true"),
        ],
    );
}
