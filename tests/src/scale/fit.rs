//! Straight lines through measured points.

/// A straight line `y = intercept + slope × x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// The value at zero.
    pub intercept: f64,
    /// The increase for each unit of `x`.
    pub slope: f64,
}

impl Line {
    /// Returns the line with the smallest sum of squared distances, weighted by `1 / y²`, so that
    /// each point counts by its relative distance. Sizes of jobs differ by orders of magnitude, and
    /// without weights only the largest would count.
    ///
    /// With fewer than two different `x`, the line is level.
    pub fn through(points: &[(f64, f64)]) -> Self {
        Self::weighted(points, |(_, y)| 1.0 / (y * y))
    }

    /// Returns the exponent of the power law `y = a × x^exponent` that fits best: 1 means that `y`
    /// grows in proportion to `x`, 2 that it grows with the square.
    pub fn exponent(points: &[(f64, f64)]) -> f64 {
        let logarithms: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        Self::weighted(&logarithms, |_| 1.0).slope
    }

    fn weighted(points: &[(f64, f64)], weight: impl Fn((f64, f64)) -> f64) -> Self {
        let sum = |of: &dyn Fn((f64, f64)) -> f64| {
            points
                .iter()
                .map(|point| weight(*point) * of(*point))
                .sum::<f64>()
        };
        let total = sum(&|_| 1.0);
        let (x, y) = (sum(&|(x, _)| x) / total, sum(&|(_, y)| y) / total);
        let spread = sum(&|point| (point.0 - x).powi(2));
        // Rounding alone leaves a spread of this size between equal values.
        let least = total * (x * 1e-9).powi(2);
        let slope = if spread > least {
            sum(&|point| (point.0 - x) * (point.1 - y)) / spread
        } else {
            0.0
        };
        Self {
            intercept: y - slope * x,
            slope,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let points: Vec<_> = [1e3, 1e4, 1e5].map(|x| (x, 30.0 + 2.5 * x)).to_vec();
        let line = Line::through(&points);
        assert!((line.slope - 2.5).abs() < 1e-9 && (line.intercept - 30.0).abs() < 1e-4);
    }

    #[test]
    fn the_exponent_distinguishes_a_square_from_a_line() {
        let squares: Vec<_> = [1e3, 1e4, 1e5].map(|x| (x, 3.0 * x * x)).to_vec();
        let lines: Vec<_> = [1e3, 1e4, 1e5].map(|x| (x, 7.0 * x)).to_vec();
        assert!((Line::exponent(&squares) - 2.0).abs() < 1e-9);
        assert!((Line::exponent(&lines) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_single_point_has_a_level_line() {
        for (x, y) in [(5.0, 8.0), (1_000.0, 3_507.0)] {
            let line = Line::through(&[(x, y)]);
            assert!(
                line.slope == 0.0 && (line.intercept - y).abs() < 1e-9,
                "{line:?}"
            );
        }
    }
}
