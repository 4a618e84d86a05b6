//! What a limit's shape promises of the sent process, checked by arithmetic of its own.
//!
//! The engine's limiters keep levels in slots and scaled numbers; here every start is kept as it
//! was. Where the two disagree, one of them is wrong, and the run says so.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use brimful_core::{LimitKind, LimitSpec, Shape, Timestamp};

/// Catching up that pacing allows: see `docs/design/limits.md`.
const CATCH_UP: Duration = Duration::from_millis(50);
/// Variation of the delay that a declared bucket is safe under when nothing else is declared.
const BUCKET_JITTER: Duration = Duration::from_millis(300);
/// Longer limits are counted and not paced.
const PACED_BELOW: Duration = Duration::from_secs(3600);

/// The jitter that `sliding` and `fixed` are safe under when nothing is declared: 0.5 % of the
/// window, but 50 to 300 ms, and no more than 5 %.
fn window_jitter(spec: &LimitSpec) -> Duration {
    let declared = spec.jitter.unwrap_or_else(|| {
        (spec.window / 200)
            .clamp(Duration::from_millis(50), Duration::from_millis(300))
            .min(spec.window / 20)
    });
    declared.min(spec.window)
}

/// The promise of one limit.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) kind: LimitKind,
    rule: Rule,
    /// Units a second that are certainly sent while something waits.
    pub(super) floor_per_s: f64,
    /// How long the rate may rest before it is made up for.
    rest: Duration,
}

#[derive(Debug)]
enum Rule {
    /// No more than `amount` starts in any stretch of `span`.
    Window(Window),
    /// No more than `amount` between two edges, wherever in its jitter each start arrives.
    Edges(Edges),
    /// No more than the capacity and what has refilled since.
    Bucket(Bucket),
    /// No more than so many at once.
    InFlight(InFlight),
}

#[derive(Debug, Default)]
struct InFlight {
    amount: u64,
    /// Start of each attempt that has not ended.
    now: BTreeMap<u64, Timestamp>,
    /// The longest of those that have.
    longest: Duration,
}

#[derive(Debug)]
struct Window {
    amount: u64,
    span: Duration,
    /// Start, attempt, units: everything within the last span.
    taken: VecDeque<(Timestamp, u64, u64)>,
    sum: u64,
}

#[derive(Debug)]
struct Edges {
    amount: u64,
    window: u64,
    offset: u64,
    jitter: u64,
    /// Attempt, first and last window that it may be admitted in, units.
    taken: VecDeque<(u64, (u64, u64), u64)>,
    /// By window.
    sums: BTreeMap<u64, u64>,
}

/// Units × the window in nanoseconds.
#[derive(Debug)]
struct Bucket {
    per_nano: i128,
    unit: i128,
    burst: i128,
    /// Whether one request beyond the burst may start before it is paid for.
    pays_later: bool,
    largest: i128,
    /// Starts of what is larger than the level ever gets.
    oversized: u32,
    level: i128,
    at: Timestamp,
}

impl Promise {
    pub(super) fn new(spec: &LimitSpec) -> Self {
        let rate = spec.amount as f64 / spec.window.as_secs_f64();
        let (rule, floor, rest) = match (spec.kind, spec.shape, spec.burst) {
            (LimitKind::Concurrency, ..) => {
                let amount = spec.amount;
                let places = InFlight {
                    amount,
                    ..InFlight::default()
                };
                (Rule::InFlight(places), f64::INFINITY, CATCH_UP)
            }
            (_, Shape::Paced, _) => {
                let jitter = spec.jitter.unwrap_or(spec.window / 200);
                let span = spec.window + jitter;
                // Pace is exact to a thousandth.
                let counted = spec.window.as_secs_f64() / span.as_secs_f64();
                let rest = if spec.window < PACED_BELOW {
                    CATCH_UP
                } else {
                    span
                };
                let window = Window::new(spec.amount, span);
                (Rule::Window(window), counted.min(0.991) - 0.003, rest)
            }
            (_, Shape::Sliding | Shape::Fixed, burst) => {
                let span = spec.window + window_jitter(spec);
                let counted = spec.window.as_secs_f64() / span.as_secs_f64();
                let paced = spec.window < PACED_BELOW && burst.is_none() && spec.edge.is_none();
                let rest = if paced { CATCH_UP } else { span };
                let rule = match spec.edge {
                    Some(edge) => Rule::Edges(Edges::new(spec, edge)),
                    None => Rule::Window(Window::new(spec.amount, span)),
                };
                (rule, counted - 0.003, rest)
            }
            (_, Shape::TokenBucket, None) => {
                let burst = rate * CATCH_UP.as_secs_f64();
                let bucket = Bucket::new(spec, burst, true);
                (Rule::Bucket(bucket), 0.999, CATCH_UP)
            }
            (_, Shape::TokenBucket, Some(burst)) => {
                let jitter = spec.jitter.unwrap_or(BUCKET_JITTER);
                let safe = (burst as f64 - rate * jitter.as_secs_f64()).max(1.0);
                (Rule::Bucket(Bucket::new(spec, safe, false)), 0.999, jitter)
            }
        };
        Self {
            kind: spec.kind,
            rule,
            floor_per_s: rate * floor,
            rest,
        }
    }

    /// How long the rate may have rested so far: a request that is larger than what a bucket surely
    /// holds waits until it is surely full.
    pub(super) fn rest(&self) -> Duration {
        match &self.rule {
            Rule::Bucket(bucket) => self.rest * (bucket.oversized + 1),
            _ => self.rest,
        }
    }

    /// The longest that so many starts may take when nothing but places is in short supply: all are
    /// in use as long as something waits, by those starts and by what was in flight before them,
    /// none for longer than the longest so far. Zero for limits that time frees.
    pub(super) fn served_within(&self, now: Timestamp, starts: u64) -> Duration {
        let Rule::InFlight(places) = &self.rule else {
            return Duration::ZERO;
        };
        // Attempts are numbered in the order of their starts: the first one is the oldest.
        let oldest = places.now.first_key_value();
        let under_way = oldest.map(|(_, &started)| now.since(started));
        let longest = places.longest.max(under_way.unwrap_or_default());
        longest.mul_f64((starts + places.amount) as f64 / places.amount as f64)
    }

    /// Something starts; says what is wrong with that.
    pub(super) fn started(&mut self, now: Timestamp, attempt: u64, units: u64) -> Option<String> {
        match &mut self.rule {
            _ if units == 0 => None,
            Rule::Window(window) => window.started(now, attempt, units),
            Rule::Edges(edges) => edges.started(now, attempt, units),
            Rule::Bucket(bucket) => bucket.started(now, units),
            Rule::InFlight(places) => {
                places.now.insert(attempt, now);
                let (count, amount) = (places.now.len() as u64, places.amount);
                (count > amount).then(|| format!("{count} in flight, of at most {amount}"))
            }
        }
    }

    /// An attempt is over and turned out to take `actual` instead of `reserved`.
    pub(super) fn ended(&mut self, now: Timestamp, attempt: u64, reserved: u64, actual: u64) {
        match &mut self.rule {
            Rule::Window(window) => window.ended(attempt, reserved, actual),
            Rule::Edges(edges) => edges.ended(attempt, reserved, actual),
            Rule::Bucket(bucket) => bucket.ended(now, reserved, actual),
            Rule::InFlight(places) => {
                if let Some(started) = places.now.remove(&attempt) {
                    places.longest = places.longest.max(now.since(started));
                }
            }
        }
    }
}

impl Window {
    const fn new(amount: u64, span: Duration) -> Self {
        Self {
            amount,
            span,
            taken: VecDeque::new(),
            sum: 0,
        }
    }

    fn started(&mut self, now: Timestamp, attempt: u64, units: u64) -> Option<String> {
        while let Some(&(at, _, old)) = self.taken.front()
            && now.since(at) >= self.span
        {
            self.sum -= old;
            self.taken.pop_front();
        }
        self.taken.push_back((now, attempt, units));
        self.sum += units;
        let (sum, amount, span) = (self.sum, self.amount, self.span);
        (sum > amount).then(|| format!("{sum} sent within {span:?}, of at most {amount}"))
    }

    fn ended(&mut self, attempt: u64, reserved: u64, actual: u64) {
        let given_back = reserved.saturating_sub(actual);
        if given_back == 0 {
            return;
        }
        if let Ok(index) = self.taken.binary_search_by_key(&attempt, |entry| entry.1) {
            self.taken[index].2 -= given_back;
            self.sum -= given_back;
        }
    }
}

impl Edges {
    fn new(spec: &LimitSpec, edge: Timestamp) -> Self {
        let window = spec.window.as_nanos() as u64;
        Self {
            amount: spec.amount,
            window,
            // Windows are numbered from one that begins before everything.
            offset: window - edge.as_nanos() % window,
            jitter: window_jitter(spec).as_nanos() as u64,
            taken: VecDeque::new(),
            sums: BTreeMap::new(),
        }
    }

    fn started(&mut self, now: Timestamp, attempt: u64, units: u64) -> Option<String> {
        let at = now.as_nanos() + self.offset;
        let windows = (at / self.window, (at + self.jitter) / self.window);
        while let Some(&(_, old, _)) = self.taken.front()
            && old.1 < windows.0
        {
            self.taken.pop_front();
        }
        self.sums.retain(|window, _| *window >= windows.0);
        self.taken.push_back((attempt, windows, units));
        // What may still fall into the next window counts in both.
        for window in windows.0..=windows.1 {
            *self.sums.entry(window).or_default() += units;
        }
        let most = self.sums.values().max().copied().unwrap_or_default();
        let amount = self.amount;
        (most > amount).then(|| format!("{most} sent in one window, of at most {amount}"))
    }

    fn ended(&mut self, attempt: u64, reserved: u64, actual: u64) {
        let given_back = reserved.saturating_sub(actual);
        if let Ok(index) = self.taken.binary_search_by_key(&attempt, |entry| entry.0) {
            let (_, windows, units) = &mut self.taken[index];
            *units -= given_back;
            for window in windows.0..=windows.1 {
                if let Some(sum) = self.sums.get_mut(&window) {
                    *sum -= given_back;
                }
            }
        }
    }
}

impl Bucket {
    fn new(spec: &LimitSpec, burst: f64, pays_later: bool) -> Self {
        let unit = spec.window.as_nanos() as i128;
        // Rounding the burst up to a whole thousandth of a unit covers what floats lose.
        let burst = (burst * 1000.0).ceil() as i128 * unit / 1000;
        Self {
            per_nano: i128::from(spec.amount),
            unit,
            burst,
            pays_later,
            largest: 0,
            oversized: 0,
            level: burst,
            at: Timestamp::ZERO,
        }
    }

    fn started(&mut self, now: Timestamp, units: u64) -> Option<String> {
        let size = i128::from(units) * self.unit;
        if self.pays_later && size > self.largest {
            self.level += size - self.largest;
            self.largest = size;
        }
        self.refill(now);
        let over = if size > self.capacity() {
            // More than fits at once: only on a full level.
            self.oversized += 1;
            self.capacity() - self.level
        } else {
            size - self.level
        };
        self.level -= size;
        let unit = self.unit;
        (over > 0).then(|| format!("{} units too early", over as f64 / unit as f64))
    }

    fn ended(&mut self, now: Timestamp, reserved: u64, actual: u64) {
        self.refill(now);
        let change = (i128::from(reserved) - i128::from(actual)) * self.unit;
        self.level = (self.level + change).min(self.capacity());
    }

    fn refill(&mut self, now: Timestamp) {
        let gained = now.since(self.at).as_nanos() as i128 * self.per_nano;
        self.level = (self.level + gained).min(self.capacity());
        self.at = self.at.max(now);
    }

    const fn capacity(&self) -> i128 {
        self.burst + self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn rpm(amount: u64) -> LimitSpec {
        LimitSpec::new("rpm", LimitKind::Requests, amount, MINUTE)
    }

    #[test]
    fn one_start_too_many_in_a_window_is_found_whatever_its_phase() {
        let mut promise = Promise::new(&rpm(3).jitter(Duration::from_secs(1)));
        for (attempt, second) in [(1, 10), (2, 30), (3, 70)] {
            assert_eq!(
                promise.started(Timestamp::from_secs(second), attempt, 1),
                None
            );
        }
        // 71 s after the first: just out of its span, which is open at the end.
        assert_eq!(promise.started(Timestamp::from_secs(71), 4, 1), None);
        let said = promise
            .started(Timestamp::from_millis(90_999), 5, 1)
            .unwrap();
        assert_eq!(said, "4 sent within 61s, of at most 3");
    }

    #[test]
    fn what_may_be_admitted_on_either_side_of_an_edge_counts_on_both() {
        let mut spec = rpm(2).shape(Shape::Fixed).jitter(Duration::from_secs(5));
        spec.edge = Some(Timestamp::from_secs(10));
        let mut promise = Promise::new(&spec);
        for (attempt, second) in [(1, 15), (2, 66), (3, 71)] {
            assert_eq!(
                promise.started(Timestamp::from_secs(second), attempt, 1),
                None
            );
        }
        let said = promise.started(Timestamp::from_secs(80), 4, 1).unwrap();
        assert_eq!(said, "3 sent in one window, of at most 2");
        assert_eq!(promise.started(Timestamp::from_secs(131), 5, 1), None);
    }

    #[test]
    fn what_is_given_back_leaves_the_window() {
        let spec = LimitSpec::new("tpm", LimitKind::TotalTokens, 100, MINUTE);
        let mut promise = Promise::new(&spec);
        assert_eq!(promise.started(Timestamp::ZERO, 1, 90), None);
        promise.ended(Timestamp::from_secs(1), 1, 90, 20);
        assert_eq!(promise.started(Timestamp::from_secs(2), 2, 80), None);
        assert!(promise.started(Timestamp::from_secs(3), 3, 1).is_some());
    }

    #[test]
    fn a_bucket_without_known_burst_allows_one_and_then_the_rate() {
        let mut promise = Promise::new(&rpm(60).shape(Shape::TokenBucket));
        assert_eq!(promise.started(Timestamp::from_secs(5), 1, 1), None);
        let early = promise
            .started(Timestamp::from_millis(5_900), 2, 1)
            .unwrap();
        assert!(early.starts_with("0.05"), "{early}");
        let mut promise = Promise::new(&rpm(60).shape(Shape::TokenBucket));
        assert_eq!(promise.started(Timestamp::from_secs(5), 1, 1), None);
        assert_eq!(promise.started(Timestamp::from_millis(5_951), 2, 1), None);
    }

    #[test]
    fn a_declared_burst_less_what_delay_may_bunch_is_allowed() {
        let spec = rpm(60).burst(5).jitter(Duration::from_secs(2));
        let mut promise = Promise::new(&spec);
        for attempt in 0..3 {
            assert_eq!(promise.started(Timestamp::from_secs(9), attempt, 1), None);
        }
        assert!(promise.started(Timestamp::from_secs(9), 3, 1).is_some());
    }

    #[test]
    fn concurrency_counts_what_has_not_ended() {
        let mut promise = Promise::new(&LimitSpec::concurrency(1));
        assert_eq!(promise.started(Timestamp::ZERO, 1, 1), None);
        promise.ended(Timestamp::ZERO, 1, 1, 1);
        assert_eq!(promise.started(Timestamp::ZERO, 2, 1), None);
        assert!(promise.started(Timestamp::ZERO, 3, 1).is_some());
    }
}
