//! Samples, their summary, the floor of the same run, the limit and the verdict. Depends on no
//! measurement and on no output format.

use anyhow::Result;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Numbers of one kind, in the order in which they were measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    /// One more duration, in microseconds.
    pub(super) fn push(&mut self, took: Duration) {
        self.add(took.as_secs_f64() * 1e6);
    }

    /// One more number, of the row's unit.
    pub(super) fn add(&mut self, number: f64) {
        self.0.push(number);
    }

    /// What they come down to; `None` if there are none.
    pub(super) fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let max = *sorted.last()?;
        // The nearest rank: with few samples p99 is the largest, never an interpolated number.
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Some(Summary {
            n: sorted.len(),
            p50: at(50),
            p99: at(99),
            max,
        })
    }
}

/// Samples in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Summary {
    /// How many.
    pub(super) n: usize,
    /// Median.
    pub(super) p50: f64,
    /// 99th percentile.
    pub(super) p99: f64,
    /// Largest.
    pub(super) max: f64,
}

/// What the numbers of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    /// Microseconds.
    Micros,
    /// Things per second.
    PerSecond,
    /// MiB.
    Mebibytes,
    /// How many of something.
    Count,
}

/// Which number of a row the limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Judged {
    /// The median.
    P50,
    /// The 99th percentile.
    P99,
    /// The largest.
    Max,
    /// Measured by floor.
    Ratio,
}

/// What a figure asks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It is as asked for.
    Met,
    /// It is not.
    Missed,
    /// Nothing was asked for: it is there to explain others.
    Shown,
    /// It could not be measured.
    Failed,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    /// The measured figure, for people.
    pub(super) what: String,
    /// Of what.
    pub(super) unit: Unit,
    /// What came out.
    pub(super) measured: Option<Summary>,
    /// What the floor is, for people.
    pub(super) floor_is: Option<&'static str>,
    /// The same job with nothing of ours around it, in the same run.
    pub(super) floor: Option<Summary>,
    /// Measured by floor, medians.
    pub(super) ratio: Option<f64>,
    /// The limit that the figure must meet; `None`: none.
    pub(super) limit: Option<Limit>,
    /// Which number it is asked of.
    pub(super) judged: Judged,
    /// What nova-network needs on such a machine.
    pub(super) nova: Option<&'static str>,
    /// What became of it.
    pub(super) verdict: Verdict,
    /// The same figure of the build that `--against` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) other_build: Option<OtherBuild>,
    /// What one has to know to read it; why it failed.
    pub(super) notes: Vec<String>,
}

/// What another build measured in the same run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct OtherBuild {
    /// What came out.
    pub(super) measured: Summary,
    /// Our median by its median; `None`: its median is zero, or ours was not measured.
    pub(super) ratio: Option<f64>,
}

impl Row {
    /// A row of samples.
    pub(super) fn new(what: impl Into<String>, unit: Unit, measured: &Samples) -> Self {
        let measured = measured.summary();
        Self {
            what: what.into(),
            unit,
            measured,
            floor_is: None,
            floor: None,
            ratio: None,
            limit: None,
            judged: Judged::P50,
            nova: None,
            verdict: if measured.is_some() {
                Verdict::Shown
            } else {
                Verdict::Failed
            },
            other_build: None,
            notes: Vec::new(),
        }
    }

    /// A number that was measured once.
    pub(super) fn once(what: impl Into<String>, unit: Unit, number: f64) -> Self {
        let mut samples = Samples::default();
        samples.add(number);
        Self::new(what, unit, &samples)
    }

    /// What could not be measured, and why.
    pub(super) fn failed(what: impl Into<String>, error: &anyhow::Error) -> Self {
        Self::new(what, Unit::Count, &Samples::default()).note(format!("{error:#}"))
    }

    /// The floor beside it.
    pub(super) fn floor(mut self, is: &'static str, floor: &Samples) -> Self {
        self.floor_is = Some(is);
        self.floor = floor.summary();
        self.ratio = ratio(self.measured, self.floor);
        self
    }

    /// Puts the same figure of another build beside it; why that one failed becomes a note.
    pub(super) fn compare(&mut self, other: &Self) {
        self.other_build = other.measured.map(|measured| OtherBuild {
            measured,
            ratio: ratio(self.measured, Some(measured)),
        });
        if other.verdict == Verdict::Failed {
            let notes = other.notes.iter();
            self.notes
                .extend(notes.map(|note| format!("other build: {note}")));
        }
    }

    /// Sets the limit of one of its numbers.
    pub(super) fn limit(mut self, judged: Judged, limit: Limit) -> Self {
        let number = match judged {
            Judged::Ratio => self.ratio,
            Judged::P50 => self.measured.map(|m| m.p50),
            Judged::P99 => self.measured.map(|m| m.p99),
            Judged::Max => self.measured.map(|m| m.max),
        };
        self.judged = judged;
        self.limit = Some(limit);
        self.verdict = match (number, limit) {
            (None, _) => Verdict::Failed,
            (Some(n), Limit::AtMost(most)) if n <= most => Verdict::Met,
            (Some(n), Limit::AtLeast(least)) if n >= least => Verdict::Met,
            _ => Verdict::Missed,
        };
        self
    }

    /// The median must not be above this.
    pub(super) fn at_most(self, limit: Duration) -> Self {
        let micros = limit.as_secs_f64() * 1e6;
        self.limit(Judged::P50, Limit::AtMost(micros))
    }

    /// The median must not be below this.
    pub(super) fn at_least(self, limit: f64) -> Self {
        self.limit(Judged::P50, Limit::AtLeast(limit))
    }

    /// What nova-network needs.
    pub(super) fn nova(mut self, needs: &'static str) -> Self {
        self.nova = Some(needs);
        self
    }

    /// What one has to know to read it.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// Median by median.
fn ratio(measured: Option<Summary>, by: Option<Summary>) -> Option<f64> {
    measured
        .zip(by)
        .filter(|(_, by)| by.p50 > 0.0)
        .map(|(measured, by)| measured.p50 / by.p50)
}

/// Measures two things in turn, the other one first in every second round, so that whatever else
/// the machine does meets both alike. Each answers how long its own part took.
pub(super) async fn pairs(
    rounds: usize,
    mut a: impl AsyncFnMut(usize) -> Result<Duration>,
    mut b: impl AsyncFnMut(usize) -> Result<Duration>,
) -> Result<(Samples, Samples)> {
    let (mut of_a, mut of_b) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        if round % 2 == 0 {
            of_a.push(a(round).await?);
            of_b.push(b(round).await?);
        } else {
            of_b.push(b(round).await?);
            of_a.push(a(round).await?);
        }
    }
    Ok((of_a, of_b))
}

/// How long something takes, and what it answers.
pub(super) async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let began = Instant::now();
    let answer = work.await;
    (began.elapsed(), answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn samples(numbers: &[f64]) -> Samples {
        Samples(numbers.to_vec())
    }

    #[test]
    fn a_percentile_is_a_number_that_was_measured() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let summary = samples(&hundred).summary().unwrap();
        assert_eq!((summary.p50, summary.p99, summary.max), (50.0, 99.0, 100.0));
        let few = samples(&[3.0, 1.0, 2.0]).summary().unwrap();
        assert_eq!((few.p50, few.p99, few.n), (2.0, 3.0, 3));
        assert!(samples(&[]).summary().is_none());
    }

    #[test]
    fn the_verdict_is_about_the_number_that_was_named() {
        let row = || Row::new("x", Unit::Micros, &samples(&[10.0, 10.0, 90.0]));
        let most = Limit::AtMost(50.0);
        assert_eq!(row().verdict, Verdict::Shown);
        assert_eq!(row().limit(Judged::P50, most).verdict, Verdict::Met);
        assert_eq!(row().limit(Judged::Max, most).verdict, Verdict::Missed);
        let floored = row().floor("y", &samples(&[5.0]));
        assert_eq!(floored.ratio, Some(2.0));
        let ratio = floored.limit(Judged::Ratio, Limit::AtMost(1.3));
        assert_eq!(ratio.verdict, Verdict::Missed);
        let without_floor = row().limit(Judged::Ratio, most);
        assert_eq!(without_floor.verdict, Verdict::Failed);
        assert_eq!(row().at_least(11.0).verdict, Verdict::Missed);
        let nothing = Row::new("x", Unit::Micros, &samples(&[]));
        assert_eq!(nothing.at_least(0.0).verdict, Verdict::Failed);
    }

    #[test]
    fn a_row_is_compared_with_the_same_row_of_another_build() {
        let mut row = Row::new("x", Unit::Micros, &samples(&[10.0]));
        row.compare(&Row::new("x", Unit::Micros, &samples(&[8.0])));
        let other = row.other_build.unwrap();
        assert_eq!((other.measured.p50, other.ratio), (8.0, Some(1.25)));
        row.compare(&Row::failed("x", &anyhow::anyhow!("no such flag")));
        assert_eq!(row.other_build, None);
        assert_eq!(row.notes, ["other build: no such flag"]);
    }

    #[tokio::test]
    async fn pairs_take_turns_at_going_first() {
        let order = std::cell::RefCell::new(Vec::new());
        let round = |name: char| {
            let order = &order;
            async move |_| {
                order.borrow_mut().push(name);
                Ok(Duration::from_micros(1))
            }
        };
        let (a, b) = pairs(4, round('a'), round('b')).await.unwrap();
        let order: String = order.borrow().iter().collect();
        assert_eq!(order, "abbaabba");
        assert_eq!(a.summary().unwrap().n + b.summary().unwrap().n, 8);
    }
}
