//! How something grows with the number of members: a power law, fitted by least squares in the logarithms.

use serde::Serialize;

/// y = factor · x ^ exponent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Law {
    /// Value at 1.
    pub factor: f64,
    /// 0: constant, 1: as the number of members, 2: as its square.
    pub exponent: f64,
    /// Share of the variance (of the logarithms) that the law explains.
    pub fit: f64,
}

impl Law {
    /// The law for these points; none for fewer than two, or with values that are not above 0.
    #[must_use]
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let logs: Vec<(f64, f64)> = points
            .iter()
            .filter(|(x, y)| *x > 0.0 && *y > 0.0)
            .map(|(x, y)| (x.ln(), y.ln()))
            .collect();
        let n = logs.len() as f64;
        if logs.len() < 2 {
            return None;
        }
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
        let xx: f64 = logs.iter().map(|p| (p.0 - x) * (p.0 - x)).sum();
        let xy: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        let yy: f64 = logs.iter().map(|p| (p.1 - y) * (p.1 - y)).sum();
        if xx <= 0.0 {
            return None;
        }
        let exponent = xy / xx;
        let fit = if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 };
        Some(Self {
            factor: (y - exponent * x).exp(),
            exponent,
            fit,
        })
    }

    /// What it says for `x`.
    #[must_use]
    pub fn at(&self, x: f64) -> f64 {
        self.factor * x.powf(self.exponent)
    }
}

/// Jain's index: 1 when all have the same, 1/n when one has everything.
#[must_use]
pub fn fairness(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares > 0.0 {
        sum * sum / (shares.len() as f64 * squares)
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_is_found_again() {
        let points: Vec<_> = [10.0_f64, 100.0, 1_000.0]
            .map(|x| (x, 3.0 * x.powf(1.5)))
            .to_vec();
        let law = Law::of(&points).unwrap();
        assert!((law.exponent - 1.5).abs() < 1e-9 && (law.factor - 3.0).abs() < 1e-6);
        assert!((law.at(1e6) / 3e9 - 1.0).abs() < 1e-6 && law.fit > 0.999);
        assert_eq!(Law::of(&points[..1]), None);
    }

    #[test]
    fn fairness_is_one_for_equal_shares() {
        assert!((fairness(&[2.0, 2.0, 2.0]) - 1.0).abs() < 1e-12);
        assert!((fairness(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
    }
}
