//! Who is connected to whom.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::dice::Dice;

/// Shape of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each member joins at one that is there, and then has this many neighbours on average.
    Random {
        /// Neighbours on average, at least 2.
        degree: usize,
    },
    /// A circle.
    Ring,
    /// A square lattice.
    Grid,
    /// Newcomers prefer members with many neighbours (Barabási and Albert).
    ScaleFree {
        /// Neighbours that a newcomer takes.
        links: usize,
    },
    /// A chain.
    Line,
    /// Two halves, each around a centre, and one link between the centres (members 0 and 1).
    Dumbbell,
}

/// A text that names no shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownShape(String);

impl fmt::Display for UnknownShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown topology {:?}; use random, ring, grid, scale-free, line or dumbbell",
            self.0
        )
    }
}

impl std::error::Error for UnknownShape {}

impl FromStr for Shape {
    type Err = UnknownShape;

    fn from_str(text: &str) -> Result<Self, UnknownShape> {
        Ok(match text {
            "random" => Self::Random { degree: 4 },
            "ring" => Self::Ring,
            "grid" => Self::Grid,
            "scale-free" => Self::ScaleFree { links: 2 },
            "line" => Self::Line,
            "dumbbell" => Self::Dumbbell,
            _ => return Err(UnknownShape(text.to_owned())),
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random { .. } => "random",
            Self::Ring => "ring",
            Self::Grid => "grid",
            Self::ScaleFree { .. } => "scale-free",
            Self::Line => "line",
            Self::Dumbbell => "dumbbell",
        })
    }
}

impl Shape {
    /// The links of a network of `n` members, each once, the lower number first, sorted. Connected, and so
    /// that each member but 0 has a link to one of a lower number.
    #[must_use]
    pub fn links(self, n: usize, dice: &mut Dice) -> Vec<(usize, usize)> {
        let mut links = BTreeSet::new();
        let mut add = |a: usize, b: usize| a != b && links.insert((a.min(b), a.max(b)));
        match self {
            Self::Line | Self::Ring => {
                for member in 1..n {
                    add(member - 1, member);
                }
                if self == Self::Ring && n > 2 {
                    add(0, n - 1);
                }
            }
            Self::Grid => {
                let width = (1..=n).find(|w| w * w >= n).unwrap_or(1);
                for member in 1..n {
                    if member % width > 0 {
                        add(member - 1, member);
                    }
                    if member >= width {
                        add(member - width, member);
                    }
                }
            }
            Self::Dumbbell => {
                for member in 1..n {
                    add(if member == 1 { 0 } else { member % 2 }, member);
                }
            }
            Self::Random { degree } => {
                for member in 1..n {
                    add(dice.below(member), member);
                }
                let most = n * n.saturating_sub(1) / 2;
                let more = (n * degree / 2)
                    .min(most)
                    .saturating_sub(n.saturating_sub(1));
                let mut added = 0;
                while added < more {
                    added += usize::from(add(dice.below(n), dice.below(n)));
                }
            }
            Self::ScaleFree { links: per_member } => {
                // Each end of a link once: a draw from it prefers members with many.
                let mut ends: Vec<usize> = vec![0];
                for member in 1..n {
                    let wanted = per_member.max(1).min(member);
                    let mut got = 0;
                    while got < wanted {
                        let other = ends[dice.below(ends.len())];
                        if add(other, member) {
                            ends.push(other);
                            got += 1;
                        } else if wanted > 1 && dice.chance(0.2) {
                            // The preferred ones are taken: anybody.
                            let other = dice.below(member);
                            if add(other, member) {
                                ends.push(other);
                                got += 1;
                            }
                        }
                    }
                    ends.extend(std::iter::repeat_n(member, wanted));
                }
            }
        }
        links.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_connected_and_the_same_from_the_same_seed() {
        for text in ["random", "ring", "grid", "scale-free", "line", "dumbbell"] {
            let shape: Shape = text.parse().unwrap();
            assert_eq!(shape.to_string(), text);
            for n in [1, 2, 3, 10, 101] {
                let links = shape.links(n, &mut Dice::new(3));
                assert_eq!(links, shape.links(n, &mut Dice::new(3)));
                for member in 1..n {
                    let below = links.iter().any(|(a, b)| *b == member && *a < member);
                    assert!(below, "{text} {n}: {member}");
                }
            }
        }
        assert!("star".parse::<Shape>().is_err());
    }

    #[test]
    fn shapes_have_their_number_of_links() {
        let count = |shape: Shape, n| shape.links(n, &mut Dice::new(1)).len();
        assert_eq!(count(Shape::Line, 10), 9);
        assert_eq!(count(Shape::Ring, 10), 10);
        assert_eq!(count(Shape::Grid, 9), 12);
        assert_eq!(count(Shape::Dumbbell, 10), 9);
        assert_eq!(count(Shape::Random { degree: 4 }, 100), 200);
        assert_eq!(count(Shape::ScaleFree { links: 2 }, 100), 197);
    }
}
