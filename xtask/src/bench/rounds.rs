//! The order of measurements: each round takes every tool once, so that tools are compared within the same minute.

use anyhow::Result;

/// What was measured of one tool, and of nothing right before and right after.
pub(super) struct Compared<V> {
    pub(super) before: V,
    pub(super) with: V,
    pub(super) after: V,
}

impl<V> Compared<V> {
    /// A number of the tool's measurement by the mean of its two neighbours'.
    pub(super) fn ratio(&self, number: impl Fn(&V) -> f64) -> f64 {
        number(&self.with) / self.alone(number)
    }

    /// The mean of the two neighbours' number.
    pub(super) fn alone(&self, number: impl Fn(&V) -> f64) -> f64 {
        f64::midpoint(number(&self.before), number(&self.after))
    }
}

/// The order of a round: another one begins, so that none always comes after the same thing.
pub(super) fn order<T>(tools: &[T], round: u32) -> Vec<&T> {
    let mut order: Vec<&T> = tools.iter().collect();
    order.rotate_left(round as usize % tools.len().max(1));
    order
}

/// Measures without, with one tool, without, with the next, without. `take` is told of a tool that fails; when what is
/// measured fails without any, that is the end.
pub(super) fn interleave<T, V: Clone>(
    tools: &[&T],
    mut measure: impl FnMut(Option<&T>) -> Result<V>,
    mut take: impl FnMut(&T, Result<Compared<V>>),
) -> Result<()> {
    let mut before = measure(None)?;
    for tool in tools {
        match measure(Some(tool)) {
            Ok(with) => {
                let after = measure(None)?;
                take(tool, Ok(Compared { before, with, after: after.clone() }));
                before = after;
            }
            Err(error) => take(tool, Err(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::{interleave, order};

    #[test]
    fn each_is_compared_with_its_neighbours() {
        let mut measured = 0.0;
        let mut ratios = Vec::new();
        let tools = ["first", "fails", "second"];
        let measure = |tool: Option<&&str>| {
            measured += 1.0;
            match tool {
                Some(&"fails") => bail!("it failed"),
                Some(_) => Ok(10.0 * measured),
                None => Ok(measured),
            }
        };
        let take = |tool: &&'static str, outcome: anyhow::Result<super::Compared<f64>>| {
            ratios.push((*tool, outcome.ok().map(|compared| compared.ratio(|value| *value))));
        };
        // 1, 20, 3; 4 fails; 50 between 3 and 6.
        assert!(interleave(&order(&tools, 3), measure, take).is_ok());
        assert_eq!(ratios, [("first", Some(10.0)), ("fails", None), ("second", Some(50.0 / 4.5))]);
        assert_eq!(order(&tools, 4), [&"fails", &"second", &"first"]);
    }
}
