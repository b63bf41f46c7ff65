//! How far a median can be believed.
//!
//! Nothing is assumed about the shape of the noise: each value lies below the true median as often as above it. So the
//! true median lies outside the k-th values from both ends as seldom as, of so many coins, fewer than k show the same
//! side (Conover, Practical Nonparametric Statistics, section 3.2).
//!
//! *Invariant:* an interval is never narrower than [`SURE`] allows; where there are too few values for that, there is none.

/// How sure: of a hundred comparisons of a program with itself, one says that they differ.
const SURE: f64 = 0.99;

/// The fewest values from which one can be so sure: the true median is between the smallest and the largest of them.
const FEWEST: usize = 8;

/// A median, and between which two values the true one lies.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    /// None: there are too few values.
    pub between: Option<[f64; 2]>,
    values: usize,
}

impl Spread {
    /// Of some values, at least one; they are sorted.
    pub fn of(values: &mut [f64]) -> Self {
        let median = median(values);
        let n = values.len();
        let between = outside(n).map(|k| [values[k - 1], values[n - k]]);
        Self { median, between, values: n }
    }

    /// The median, and between what the true one lies.
    pub fn interval(&self, places: usize) -> String {
        let between = self.between.map(|[low, high]| format!(" ({low:.places$} to {high:.places$})"));
        format!("{:.places$}{}", self.median, between.unwrap_or_default())
    }

    /// How far the true median can be from this one, as a share of it.
    fn doubt(&self) -> Option<f64> {
        let [low, high] = self.between?;
        Some((high / self.median).max(self.median / low) - 1.0)
    }

    /// The doubt in percent, and how many values it takes to be sure of 5 %: the doubt shrinks with the root of their
    /// number.
    pub fn said(&self) -> String {
        let Some(doubt) = self.doubt().filter(|doubt| doubt.is_finite()) else {
            return "unknown".into();
        };
        let takes = (self.values as f64 * (doubt / 0.05).powi(2)).ceil() as usize;
        format!("±{:.1} %, {}", doubt * 100.0, takes.max(FEWEST))
    }
}

/// The greatest k such that the true median is surely enough between the k-th values from both ends of `n`.
fn outside(n: usize) -> Option<usize> {
    // The chance that exactly k of n coins show one side, for k from 0 up.
    let (mut chance, mut sum, mut k) = (0.5_f64.powi(n as i32), 0.0, 0);
    loop {
        sum += 2.0 * chance;
        if sum > 1.0 - SURE || 2 * k >= n {
            return (k > 0).then_some(k);
        }
        chance *= (n - k) as f64 / (k + 1) as f64;
        k += 1;
    }
}

/// Sorts, and gives the one in the middle, or the mean of the two there.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}
