//! Latency heat maps as one SVG picture: time to the right, how long things took upwards, and how many did in the colour. The form is
//! Brendan Gregg's ("Visualizing System Latency", ACM Queue 8(5), 2010).

use std::fmt::Write as _;
use std::io::Write;

use crate::Error;
use crate::label::{escape, one_line};

/// What is in the picture.
#[derive(Clone, Debug, Default)]
pub struct LatencyMaps {
    /// The heading.
    pub title: String,
    /// Lines below it.
    pub summary: Vec<String>,
    /// The time that is shown, in nanoseconds.
    pub span_ns: std::ops::Range<u64>,
    /// One below the other.
    pub maps: Vec<LatencyMap>,
}

/// How long things of one kind took.
#[derive(Clone, Debug, Default)]
pub struct LatencyMap {
    /// What they are.
    pub title: String,
    /// What else there is to be said of them.
    pub text: String,
    /// How many there were of which length, and when.
    pub cells: Vec<LatencyCell>,
}

/// Things that took about the same time at about the same time.
#[derive(Clone, Debug, Default)]
pub struct LatencyCell {
    /// From when to when, in nanoseconds.
    pub time_ns: std::ops::Range<u64>,
    /// How long they took: from the shortest to the longest, in nanoseconds.
    pub length_ns: std::ops::Range<u64>,
    /// How many.
    pub count: u64,
    /// What is shown where the pointer is.
    pub text: String,
}

const WIDTH: f64 = 1200.0;
/// To the left of maps, where lengths are, and to the right.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const LINE: f64 = 18.0;
/// The height of a doubling of the length.
const DOUBLING: f64 = 20.0;
/// Doublings of a map, at least.
const DOUBLINGS: f64 = 6.0;
/// Between maps, where times are.
const BELOW: f64 = 44.0;
/// Characters of a line.
const LONGEST: usize = 170;

/// Writes the picture.
///
/// # Errors
/// When it cannot be written.
pub fn latency_maps(maps: &LatencyMaps, out: &mut dyn Write) -> Result<(), Error> {
    let mut body = String::new();
    let mut y = 34.0;
    text(&mut body, (WIDTH / 2.0, y), "class=\"title\" text-anchor=\"middle\"", &maps.title);
    for line in &maps.summary {
        y += LINE;
        text(&mut body, (LEFT, y), "", line);
    }
    y += LINE;
    scale(&mut body, y);
    for map in &maps.maps {
        y += 2.0 * LINE;
        let bold = format!("<tspan class=\"name\">{}</tspan>  ", escape(&one_line(&map.title, LONGEST / 2)));
        let rest = escape(&one_line(&map.text, LONGEST));
        let _ = writeln!(body, "<text x=\"{LEFT}\" y=\"{y:.1}\">{bold}{rest}</text>");
        y = draw(&mut body, map, &maps.span_ns, y + 8.0) + BELOW;
    }
    let height = y + 4.0;
    let title = escape(&one_line(&maps.title, LONGEST));
    write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n<svg version=\"1.1\" xmlns=\"http://www.w3.org/2000/svg\" \
         width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\">\n<title>{title}</title>\n<style>\n\
         text {{ font-family: Verdana, 'DejaVu Sans', sans-serif; font-size: 12px; fill: #1a1a1a; }}\n\
         .title {{ font-size: 17px; }}\n.name {{ font-weight: bold; }}\n.grid {{ stroke: #d8d8d8; stroke-width: 1; }}\n\
         rect:hover {{ stroke: #000; stroke-width: 1; }}\n</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\" pointer-events=\"none\"/>\n{body}</svg>\n"
    )?;
    Ok(())
}

fn text(body: &mut String, (x, y): (f64, f64), attributes: &str, line: &str) {
    let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>", escape(&one_line(line, LONGEST)));
}

/// What colours mean.
fn scale(body: &mut String, y: f64) {
    const STEPS: u32 = 24;
    text(body, (LEFT, y), "", "few a second");
    for step in 0..STEPS {
        let share = f64::from(step) / f64::from(STEPS - 1);
        let (x, top, colour) = (LEFT + 92.0 + f64::from(step) * 8.0, y - 10.0, colour(share * share));
        let _ = writeln!(body, "<rect x=\"{x}\" y=\"{top}\" width=\"8\" height=\"12\" fill=\"{colour}\"/>");
    }
    text(body, (LEFT + 92.0 + 8.0 * f64::from(STEPS) + 8.0, y), "", "the most in a map");
}

/// Draws one map from `top` on; where it ends.
fn draw(body: &mut String, map: &LatencyMap, span: &std::ops::Range<u64>, top: f64) -> f64 {
    let shortest = map.cells.iter().map(|cell| shown_from(&cell.length_ns)).fold(f64::MAX, f64::min);
    let longest = map.cells.iter().map(|cell| shown_to(&cell.length_ns)).fold(0.0, f64::max);
    let (low, high) = if map.cells.is_empty() { (10.0, 10.0) } else { (shortest, longest) };
    // What is all of one length is in the middle.
    let missing = (DOUBLINGS - (high - low)).max(0.0);
    let low = (low - missing / 2.0).max(0.0);
    let high = high.max(low + DOUBLINGS);
    let bottom = top + (high - low) * DOUBLING;
    let y_of = |power: f64| bottom - (power - low) * DOUBLING;
    let width = WIDTH - LEFT - RIGHT;
    let span_ns = (span.end - span.start).max(1) as f64;
    let x_of = |ns: u64| LEFT + (ns.saturating_sub(span.start) as f64 / span_ns).min(1.0) * width;
    for power in 0..18_u32 {
        let at = (10.0_f64.powi(power as i32)).log2();
        if (low..=high).contains(&at) {
            line(body, [LEFT, y_of(at), LEFT + width, y_of(at)]);
            text(body, (LEFT - 8.0, y_of(at) + 4.0), "text-anchor=\"end\"", &power_of_ten(power));
        }
    }
    let step = step(span_ns / 1e9);
    let mut second = (span.start as f64 / 1e9 / step).ceil() * step;
    while second * 1e9 <= span.end as f64 {
        let x = x_of((second * 1e9) as u64);
        line(body, [x, top, x, bottom]);
        text(body, (x, bottom + 16.0), "text-anchor=\"middle\"", &format!("{} s", (second * 1000.0).round() / 1000.0));
        second += step;
    }
    let rate = |cell: &LatencyCell| cell.count as f64 / (cell.time_ns.end - cell.time_ns.start).max(1) as f64;
    let most = map.cells.iter().map(rate).fold(0.0, f64::max);
    for cell in &map.cells {
        let [left, right] = [x_of(cell.time_ns.start), x_of(cell.time_ns.end)];
        let [upper, lower] = [y_of(shown_to(&cell.length_ns)), y_of(shown_from(&cell.length_ns))];
        let _ = writeln!(
            body,
            "<rect x=\"{left:.1}\" y=\"{upper:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"><title>{}</title></rect>",
            (right - left).max(0.5),
            lower - upper,
            colour(rate(cell) / most),
            escape(&one_line(&cell.text, LONGEST)),
        );
    }
    bottom
}

fn line(body: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(body, "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

/// Where lengths are, in doublings of a nanosecond.
fn shown_from(length: &std::ops::Range<u64>) -> f64 {
    // What begins with 0 has no place among powers: a doubling of it is shown.
    if length.start == 0 { shown_to(length) - 1.0 } else { (length.start as f64).log2() }
}

fn shown_to(length: &std::ops::Range<u64>) -> f64 {
    (length.end.max(2) as f64).log2()
}

/// A colour between few and the most, which are told apart by the square root, so that what is rare is seen.
fn colour(share: f64) -> String {
    const STOPS: [[f64; 3]; 3] = [[254.0, 228.0, 160.0], [240.0, 90.0, 40.0], [100.0, 0.0, 40.0]];
    let at = share.clamp(0.0, 1.0).sqrt() * 2.0;
    let below = (at as usize).min(1);
    let part = at - below as f64;
    let mixed = |channel: usize| STOPS[below][channel] * (1.0 - part) + STOPS[below + 1][channel] * part;
    format!("#{:02x}{:02x}{:02x}", mixed(0) as u8, mixed(1) as u8, mixed(2) as u8)
}

/// A power of ten of a nanosecond: `10 us`.
fn power_of_ten(power: u32) -> String {
    let (unit, zeros) = match power {
        0..=2 => ("ns", power),
        3..=5 => ("us", power - 3),
        6..=8 => ("ms", power - 6),
        _ => ("s", power - 9),
    };
    format!("{} {unit}", 10_u64.pow(zeros))
}

/// Between the times that are told: about ten of them.
fn step(seconds: f64) -> f64 {
    const STEPS: [f64; 15] =
        [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 21_600.0];
    STEPS.into_iter().find(|step| seconds / step <= 12.0).unwrap_or(seconds / 10.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn cell(from: u64, low: u64, count: u64) -> LatencyCell {
        let text = format!("{count} <of> {low}");
        LatencyCell { time_ns: from..from + 1_000_000_000, length_ns: low..low * 5 / 4, count, text }
    }

    fn drawn(cells: Vec<LatencyCell>) -> String {
        let map = LatencyMap { title: "read <sda>".into(), text: "3 of them".into(), cells };
        let maps = LatencyMaps {
            title: "latency & more".into(),
            summary: vec!["one line".into()],
            span_ns: 0..4_000_000_000,
            maps: vec![map],
        };
        let mut out = Vec::new();
        latency_maps(&maps, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn more_is_darker_longer_is_higher_and_later_is_to_the_right() {
        let svg = drawn(vec![cell(0, 1_000, 1), cell(2_000_000_000, 1_000_000, 100)]);
        let place = |text: &str| {
            let line = svg.lines().find(|line| line.contains(text)).unwrap();
            let value =
                |name: &str| line.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
            (value("x").parse::<f64>().unwrap(), value("y").parse::<f64>().unwrap(), value("fill"))
        };
        let (few, most) = (place("1 &lt;of&gt; 1000<"), place("100 &lt;of&gt;"));
        assert_eq!((few.0, most.0), (LEFT, LEFT + (WIDTH - LEFT - RIGHT) / 2.0));
        assert!(few.1 > most.1 + 9.0 * DOUBLING, "{few:?} {most:?}");
        assert_eq!((most.2, few.2), (colour(1.0), colour(0.01)));
        for label in ["1 us<", "10 us<", "100 us<", "1 ms<", ">0 s<", ">4 s<", "read &lt;sda&gt;", "latency &amp; more"]
        {
            assert!(svg.contains(label), "{label} in {svg}");
        }
    }

    #[test]
    fn nothing_and_what_has_no_length_are_drawn() {
        assert!(drawn(Vec::new()).contains("3 of them"));
        let svg = drawn(vec![LatencyCell { time_ns: 5..5, length_ns: 0..32, count: 1, text: String::new() }]);
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("=\"-"), "{svg}");
    }
}
