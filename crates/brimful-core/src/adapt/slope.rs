//! What is taken from a limit beyond what we know of, as a rate.

use std::collections::VecDeque;

/// Stretches into which a window of samples is cut: enough for a slope, few enough to keep.
const BINS: usize = 16;

/// Sums over the samples of one stretch of time.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    began_s: f64,
    count: f64,
    time_s: f64,
    drift: f64,
    own: f64,
}

/// Samples of the last window: how far the server's level is below what it would be if nobody had
/// taken anything, and what we have taken. Both only matter as differences.
#[derive(Clone, Debug, Default)]
pub(super) struct Slope {
    bins: VecDeque<Bin>,
}

/// What a window of samples says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// Units a second that left the server's level, ours included.
    pub(super) used_per_s: f64,
    /// Units a second that we took, as declared.
    pub(super) own_per_s: f64,
    /// Time from the first to the last sample, in seconds.
    pub(super) span_s: f64,
}

impl Slope {
    /// Adds a sample. What is older than the last ones finds its place among them.
    pub(super) fn add(&mut self, time_s: f64, drift: f64, own: f64, window_s: f64) {
        let width = window_s / BINS as f64;
        let fresh = self
            .bins
            .back()
            .is_none_or(|bin| time_s - bin.began_s >= width);
        if fresh {
            self.bins.push_back(Bin {
                began_s: time_s,
                ..Bin::default()
            });
        }
        let mut newest_first = self.bins.iter_mut().rev();
        if let Some(bin) = newest_first.find(|bin| bin.began_s <= time_s) {
            bin.count += 1.0;
            bin.time_s += time_s;
            bin.drift += drift;
            bin.own += own;
        }
        let newest_s = self.bins.back().map_or(time_s, |bin| bin.began_s);
        while let Some(oldest) = self.bins.front()
            && (self.bins.len() > 4 * BINS || newest_s - oldest.began_s > window_s)
        {
            self.bins.pop_front();
        }
    }

    /// Straight lines through the means of the stretches. `None` with less than three of them.
    pub(super) fn fit(&self) -> Option<Fit> {
        if self.bins.len() < 3 {
            return None;
        }
        let n = self.bins.len() as f64;
        let mean = |of: fn(&Bin) -> f64| -> f64 {
            self.bins.iter().map(|bin| of(bin) / bin.count).sum::<f64>() / n
        };
        let (time, drift, own) = (
            mean(|bin| bin.time_s),
            mean(|bin| bin.drift),
            mean(|bin| bin.own),
        );
        let (mut squares, mut with_drift, mut with_own) = (0.0, 0.0, 0.0);
        for bin in &self.bins {
            let t = bin.time_s / bin.count - time;
            squares += t * t;
            with_drift += t * (bin.drift / bin.count - drift);
            with_own += t * (bin.own / bin.count - own);
        }
        if squares <= 0.0 {
            return None;
        }
        let at = |bin: &Bin| bin.time_s / bin.count;
        let span_s = at(self.bins.back()?) - at(self.bins.front()?);
        Some(Fit {
            used_per_s: with_drift / squares,
            own_per_s: with_own / squares,
            span_s,
        })
    }

    /// Everything before is of no use any more.
    pub(super) fn clear(&mut self) {
        self.bins.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_lines_are_found_exactly_and_noise_is_averaged() {
        let mut slope = Slope::default();
        for tick in 0..400 {
            let t = f64::from(tick) * 0.1;
            let noise = if tick % 2 == 0 { 3.0 } else { -3.0 };
            slope.add(t, 7.0 + 5.0 * t + noise, 2.0 * t, 10.0);
        }
        let fit = slope.fit().unwrap();
        assert!((fit.used_per_s - 5.0).abs() < 0.1, "{fit:?}");
        assert!((fit.own_per_s - 2.0).abs() < 1e-6, "{fit:?}");
        assert!(fit.span_s > 8.5 && fit.span_s < 10.1, "{fit:?}");
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut slope = Slope::default();
        for tick in 0..100 {
            let t = f64::from(tick);
            let drift = if t < 50.0 { 0.0 } else { (t - 50.0) * 4.0 };
            slope.add(t, drift, 0.0, 20.0);
        }
        let fit = slope.fit().unwrap();
        assert!((fit.used_per_s - 4.0).abs() < 1e-6, "{fit:?}");
    }

    #[test]
    fn the_order_of_samples_does_not_matter() {
        let at = |t: f64| (t, 3.0 * t, t);
        let (mut ordered, mut mixed) = (Slope::default(), Slope::default());
        for tick in 0..100 {
            let (t, drift, own) = at(f64::from(tick) * 0.1);
            ordered.add(t, drift, own, 10.0);
            // The newest, then what was late.
            let late = f64::from((tick * 37) % 100) * 0.1;
            for t in [9.9_f64.min(f64::from(tick)), late] {
                let (t, drift, own) = at(t);
                mixed.add(t, drift, own, 10.0);
            }
        }
        let (ordered, mixed) = (ordered.fit().unwrap(), mixed.fit().unwrap());
        assert!((ordered.used_per_s - mixed.used_per_s).abs() < 1e-6);
    }

    #[test]
    fn two_stretches_are_no_slope() {
        let mut slope = Slope::default();
        slope.add(0.0, 0.0, 0.0, 10.0);
        slope.add(5.0, 9.0, 0.0, 10.0);
        assert_eq!(slope.fit(), None);
    }
}
