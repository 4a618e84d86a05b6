//! What is to be answered: how many requests, how large, in which order.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Duration;

use fastrand::Rng;

use crate::draw::log_normal;

/// The requests of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// How many.
    pub amount: Amount,
    /// How large each is.
    pub sizes: Sizes,
    /// In which order. Default: as drawn. Needs an amount in requests.
    pub order: Order,
}

/// How many requests there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Requests(u64),
    /// Always enough; after this time the run is stopped, and what still waits is abandoned.
    Saturated(Duration),
}

/// What one request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// Tokens of the prompt, at least 1.
    pub input: u32,
    /// The request's `max_tokens`, at least 1.
    pub max_output: u32,
}

/// How large requests are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// All alike.
    Fixed(Size),
    /// Log-normal around a median, prompt and `max_tokens` independently, at most `most` each.
    LogNormal {
        /// The medians.
        median: Size,
        /// σ of the logarithm of the prompt's length.
        input_sigma: f64,
        /// σ of the logarithm of `max_tokens`.
        output_sigma: f64,
        /// The largest prompt and the largest `max_tokens`.
        most: u32,
    },
    /// Two kinds of requests.
    TwoClasses {
        /// One kind.
        one: Size,
        /// The other.
        other: Size,
        /// Share (0 to 1) of the first kind.
        share: f64,
    },
}

/// The order of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As drawn, which is a random order.
    #[default]
    Shuffled,
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

impl Workload {
    /// So many requests of one size.
    #[must_use]
    pub const fn fixed(requests: u64, input: u32, max_output: u32) -> Self {
        Self::shuffled(requests, Sizes::Fixed(Size { input, max_output }))
    }

    /// So many requests in random order.
    #[must_use]
    pub const fn shuffled(requests: u64, sizes: Sizes) -> Self {
        Self {
            amount: Amount::Requests(requests),
            sizes,
            order: Order::Shuffled,
        }
    }
}

impl Sizes {
    fn draw(self, rng: &mut Rng) -> Size {
        match self {
            Self::Fixed(size) => size,
            Self::LogNormal {
                median,
                input_sigma,
                output_sigma,
                most,
            } => {
                let mut tokens = |median: u32, sigma| {
                    let drawn = log_normal(f64::from(median), sigma, rng);
                    (drawn.round() as u32).clamp(1, most)
                };
                Size {
                    input: tokens(median.input, input_sigma),
                    max_output: tokens(median.max_output, output_sigma),
                }
            }
            Self::TwoClasses { one, other, share } => {
                if rng.f64() < share {
                    one
                } else {
                    other
                }
            }
        }
    }
}

/// Hands out the requests of a run.
#[derive(Debug)]
pub(super) struct Feed {
    rng: Rng,
    sizes: Sizes,
    /// Drawn in advance, where the order needs all of them.
    drawn: VecDeque<Size>,
    /// Requests that are still to come.
    left: u64,
}

impl Feed {
    pub(super) fn new(workload: &Workload, seed: u64) -> Self {
        let mut feed = Self {
            rng: Rng::with_seed(seed),
            sizes: workload.sizes,
            drawn: VecDeque::new(),
            left: match workload.amount {
                Amount::Requests(requests) => requests,
                Amount::Saturated(_) => u64::MAX,
            },
        };
        if workload.order != Order::Shuffled && feed.left < u64::MAX {
            let mut all: Vec<Size> = (0..feed.left)
                .map(|_| feed.sizes.draw(&mut feed.rng))
                .collect();
            all.sort_by_key(|size| (u64::from(size.input) + u64::from(size.max_output), *size));
            if workload.order == Order::Descending {
                all.reverse();
            }
            feed.drawn = all.into();
        }
        feed
    }

    pub(super) fn next(&mut self) -> Option<Size> {
        self.left = self.left.checked_sub(1)?;
        Some(match self.drawn.pop_front() {
            Some(size) => size,
            None => self.sizes.draw(&mut self.rng),
        })
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.left = 0;
        self.drawn.clear();
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.left == 0
    }
}

/// Writes the body of request `number` into `body`. Its prompt has four characters for each token,
/// so that client and server estimate the same; the number makes it different from all others.
pub(super) fn write_body(body: &mut Vec<u8>, number: u64, size: Size) {
    const TEXT: [u8; 1024] = [b'x'; 1024];
    body.clear();
    // Writing to a vector cannot fail.
    let _ = write!(
        body,
        r#"{{"model":"m","user":"{number}","max_tokens":{},"messages":[{{"role":"user","content":""#,
        size.max_output
    );
    let mut left = size.input as usize * 4;
    while left > 0 {
        let piece = left.min(TEXT.len());
        body.extend_from_slice(&TEXT[..piece]);
        left -= piece;
    }
    body.extend_from_slice(br#""}]}"#);
}

#[cfg(test)]
mod tests {
    use brimful_providers::dialect::{Json, estimate};

    use super::*;

    #[test]
    fn the_body_costs_what_the_size_says_by_the_estimate_of_production() {
        for (input, max_output) in [(1, 1), (255, 16), (256, 100), (10_001, 4_096)] {
            let mut body = Vec::new();
            write_body(&mut body, 7, Size { input, max_output });
            let value = Json::parse(std::str::from_utf8(&body).unwrap()).unwrap();
            let estimated = estimate("/v1/chat/completions", &value);
            assert_eq!(estimated.input_tokens, u64::from(input));
            assert_eq!(estimated.max_output_tokens, Some(u64::from(max_output)));
        }
    }

    #[test]
    fn an_ordered_feed_gives_the_sizes_of_the_shuffled_one_in_order() {
        let sizes = Sizes::LogNormal {
            median: Size {
                input: 300,
                max_output: 100,
            },
            input_sigma: 1.0,
            output_sigma: 0.5,
            most: 5_000,
        };
        let all = |order| {
            let workload = Workload {
                order,
                ..Workload::shuffled(500, sizes)
            };
            let mut feed = Feed::new(&workload, 3);
            std::iter::from_fn(|| feed.next()).collect::<Vec<Size>>()
        };
        let total = |size: &Size| size.input + size.max_output;
        let (mut shuffled, ascending) = (all(Order::Shuffled), all(Order::Ascending));
        assert_eq!(shuffled.len(), 500);
        assert!(ascending.is_sorted_by_key(total));
        assert!(!shuffled.is_sorted_by_key(total));
        shuffled.sort_by_key(|size| (total(size), *size));
        assert_eq!(shuffled, ascending);
        let mut descending = all(Order::Descending);
        descending.reverse();
        assert_eq!(descending, ascending);
    }
}
