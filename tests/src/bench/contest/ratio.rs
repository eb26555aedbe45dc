//! Owns what rounds come to: ratios within each round, their median and range, which are doubtful.
//! Measures nothing.

use serde::Serialize;

use crate::bench::contest::load::Sample;

/// More than this part of the processors stolen, or busy with something else: doubtful.
const DOUBTFUL: f64 = 0.05;

/// The middle and the ends of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them are at most this.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// `None`: there are none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let middle = numbers.len() / 2;
        let median = if numbers.len() % 2 == 1 {
            numbers[middle]
        } else {
            f64::midpoint(numbers[middle - 1], numbers[middle])
        };
        Some(Self { median, min, max })
    }

    /// Of `one` divided by `other` in each round that both have had; pairs are of round and value.
    pub fn of_ratios(one: &[(usize, f64)], other: &[(usize, f64)]) -> Option<Self> {
        Self::of(one.iter().filter_map(|(round, value)| {
            let (_, base) = other.iter().find(|(number, _)| number == round)?;
            Some(value / base)
        }))
    }
}

/// Whether the machine had much else to do.
pub fn doubtful(sample: &Sample) -> bool {
    sample.stolen > DOUBTFUL || sample.foreign > DOUBTFUL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_rounds_own_ratios() {
        // The machine is half as fast in the second round; the ratio of medians would be 2.
        let one = [(1, 4.0), (2, 2.4), (3, 5.0)];
        let other = [(1, 2.0), (2, 1.0), (3, 2.0)];
        let spread = Spread::of_ratios(&one, &other).unwrap();
        assert_eq!(spread, Spread { median: 2.4, min: 2.0, max: 2.5 });
    }

    #[test]
    fn a_round_that_one_has_not_had_counts_for_nothing() {
        let spread = Spread::of_ratios(&[(1, 3.0), (2, 9.0)], &[(1, 2.0)]).unwrap();
        assert_eq!(spread, Spread { median: 1.5, min: 1.5, max: 1.5 });
        assert_eq!(Spread::of_ratios(&[(1, 3.0)], &[(2, 2.0)]), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn a_sample_is_doubtful_where_others_had_more_than_a_twentieth() {
        let calm = Sample {
            gbit_per_s: 1.0,
            machine_s_per_gb: 1.0,
            tunnels_s_per_gb: 1.0,
            stolen: 0.05,
            foreign: 0.05,
        };
        assert!(!doubtful(&calm));
        assert!(doubtful(&Sample { stolen: 0.06, ..calm }));
        assert!(doubtful(&Sample { foreign: 0.06, ..calm }));
    }
}
