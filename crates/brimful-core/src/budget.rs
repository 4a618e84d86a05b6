//! All limits that one attempt must satisfy: reserved all or nothing, settled exactly once.

use std::fmt;

use crate::charge::{CUSTOM_KINDS, Charge};
use crate::limit::{Decision, Limit, LimitKind, LimitSpec, LimitSpecError, Never, Taken};
use crate::time::Timestamp;
use crate::upstream::UpstreamId;

/// Some of a budget's limits: all that apply to one kind of attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route(u32);

impl Route {
    /// All limits that the budget was made of.
    const ALL: Self = Self(0);
}

/// What an attempt holds of a budget. It must go back through [`Budget::settle`] or
/// [`Budget::refund`]; it cannot be copied, so it goes back once:
///
/// ```compile_fail,E0382
/// # use brimful_core::{Budget, Charge, Timestamp};
/// let now = Timestamp::ZERO;
/// let mut budget = Budget::new(Vec::new()).expect("no limits are valid limits");
/// let reservation = budget.reserve(now, Charge::request()).expect("nothing limits it");
/// budget.settle(now, reservation, None);
/// budget.refund(now, reservation);
/// ```
///
/// One that is dropped instead stays in [`Balance::outstanding`] and keeps its place in a limit on
/// concurrency. The engine keeps each in the entry of its request until the attempt is over.
#[must_use = "a reservation that is dropped is never settled"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    charge: Charge,
    at: Timestamp,
    route: Route,
}

impl Reservation {
    /// What was reserved.
    #[must_use]
    pub const fn charge(&self) -> &Charge {
        &self.charge
    }

    /// When it was reserved.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The limits that it was reserved from.
    pub(crate) const fn route(&self) -> Route {
        self.route
    }
}

/// Why a reservation was refused, and which limit decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `WaitUntil` or `Never`.
    pub decision: Decision,
    /// Index of the limit that binds: the one that frees last.
    pub limit: usize,
}

/// Sums over everything that a budget ever granted, in units of each kind.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Taken by reservations.
    pub reserved: Sums,
    /// Part of `reserved` whose attempts were settled.
    pub settled: Sums,
    /// Part of `reserved` that was given back untouched.
    pub refunded: Sums,
    /// Usage that settling replaced `settled` by.
    pub used: Sums,
}

/// One sum for each kind of unit.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sums {
    /// Requests.
    pub requests: u128,
    /// Input tokens.
    pub input: u128,
    /// Output tokens.
    pub output: u128,
    /// Total tokens by the charge rule.
    pub total: u128,
    /// Units of each custom kind.
    pub custom: [u128; CUSTOM_KINDS],
}

impl Sums {
    fn add(&mut self, charge: &Charge) {
        self.requests += u128::from(charge.requests);
        self.input += u128::from(charge.input);
        self.output += u128::from(charge.output);
        self.total += u128::from(charge.total);
        for (sum, units) in self.custom.iter_mut().zip(charge.custom) {
            *sum += u128::from(units);
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            requests: self.requests - other.requests,
            input: self.input - other.input,
            output: self.output - other.output,
            total: self.total - other.total,
            custom: std::array::from_fn(|number| self.custom[number] - other.custom[number]),
        }
    }
}

impl Balance {
    /// What attempts in flight hold: reserved, less settled, less refunded.
    #[must_use]
    pub fn outstanding(&self) -> Sums {
        self.reserved.less(self.settled).less(self.refunded)
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("reserved", &self.reserved)
            .field("outstanding", &self.outstanding())
            .finish_non_exhaustive()
    }
}

/// How well one limit was used, by what was admitted.
#[derive(Clone, Debug)]
pub struct LimitStatus {
    /// The limit.
    pub spec: LimitSpec,
    /// The upstream whose limit it is. `None`: several share it.
    pub upstream: Option<UpstreamId>,
    /// Whether it limits nothing any more, because a live run was told so.
    pub retired: bool,
    /// Units admitted since the start, corrected by settling.
    pub admitted: u64,
    /// Share of the rate that was used between the first and the last admission, in thousandths
    /// of a per cent; `None` before the second admission and for concurrency.
    pub utilisation_millipercent: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Use {
    admitted: u64,
    /// The first admission's units: they open the stretch and do not count in it.
    first: Option<(Timestamp, u64)>,
    last: Timestamp,
    /// What was allowed under former amounts, from the first admission on, and until when.
    allowed_before: u128,
    since: Timestamp,
}

/// A limit and who uses it.
#[derive(Clone, Debug)]
struct Entry {
    limit: Limit,
    used: Use,
    upstream: Option<UpstreamId>,
    retired: bool,
}

/// Every limit of an engine. A limit keeps its index for ever, also when it limits nothing any
/// more, so that what was reserved before can be settled after.
#[derive(Clone, Debug)]
pub struct Budget {
    entries: Vec<Entry>,
    /// The limits of each route, without repetition.
    routes: Vec<Box<[usize]>>,
    /// Limits that are being grown into.
    ramping: Vec<usize>,
    balance: Balance,
}

impl Budget {
    /// A budget of these limits; none means that everything is granted.
    pub fn new(specs: Vec<LimitSpec>) -> Result<Self, LimitSpecError> {
        let mut budget = Self {
            entries: Vec::with_capacity(specs.len()),
            routes: Vec::new(),
            ramping: Vec::new(),
            balance: Balance::default(),
        };
        let all = specs.into_iter().map(|spec| budget.add(spec, None));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let route = budget.route(all);
        debug_assert_eq!(route, Route::ALL);
        Ok(budget)
    }

    /// Takes `charge` from every limit, or nothing from any.
    #[inline]
    pub fn reserve(&mut self, now: Timestamp, charge: Charge) -> Result<Reservation, Refusal> {
        let (earliest, binding) = self.earliest(now, Route::ALL, &charge)?;
        if earliest > now {
            let decision = Decision::WaitUntil(earliest);
            return Err(Refusal {
                decision,
                limit: binding,
            });
        }
        Ok(self.take(now, Route::ALL, charge))
    }

    /// Whether `charge` would be granted, without taking it.
    #[must_use]
    pub fn decide(&self, now: Timestamp, charge: &Charge) -> Decision {
        match self.earliest(now, Route::ALL, charge) {
            Err(refusal) => refusal.decision,
            Ok((earliest, _)) if earliest > now => Decision::WaitUntil(earliest),
            Ok(_) => Decision::Go,
        }
    }

    /// When all limits of `route` admit `charge`, and the one that does last. `Err`: one never
    /// does.
    #[inline]
    pub(crate) fn earliest(
        &self,
        now: Timestamp,
        route: Route,
        charge: &Charge,
    ) -> Result<(Timestamp, usize), Refusal> {
        let mut latest = now;
        let mut binding = 0;
        for &index in self.limits_of(route) {
            let limit = &self.entries[index].limit;
            let units = limit.spec.kind.units(charge);
            match limit.earliest(now, units) {
                Ok(earliest) if earliest > latest => {
                    latest = earliest;
                    binding = index;
                }
                Ok(_) => {}
                Err(most) => {
                    return Err(Refusal {
                        decision: Decision::Never(never(limit, units, most)),
                        limit: index,
                    });
                }
            }
        }
        Ok((latest, binding))
    }

    /// Why `charge` can never be admitted by the limits of `route`. `None`: it can, some time.
    #[inline]
    pub(crate) fn never(&self, route: Route, charge: &Charge) -> Option<Never> {
        let limits = self.limits_of(route).iter().map(|&index| self.limit(index));
        let mut limits = limits.map(|limit| (limit, limit.spec.kind.units(charge)));
        let (limit, needs) = limits.find(|(limit, units)| *units > limit.spec.most())?;
        Some(never(limit, needs, limit.spec.most()))
    }

    /// Takes what [`Budget::earliest`] has granted for `now`, in one step.
    #[inline]
    pub(crate) fn take(&mut self, now: Timestamp, route: Route, charge: Charge) -> Reservation {
        for &index in &self.routes[route.0 as usize] {
            let Entry { limit, used, .. } = &mut self.entries[index];
            let units = limit.spec.kind.units(&charge);
            limit.take(now, units);
            used.takes(now, units);
        }
        self.balance.reserved.add(&charge);
        Reservation {
            charge,
            at: now,
            route,
        }
    }

    /// The attempt is over and used `actual`. `None`: what it used is not known or does not
    /// matter, the reservation stands. Usage beyond the reservation is carried as debt.
    pub fn settle(&mut self, now: Timestamp, reservation: Reservation, actual: Option<Charge>) {
        let charge = &reservation.charge;
        let actual = actual.as_ref().unwrap_or(charge);
        if actual != charge {
            self.correct(now, &reservation, actual);
        }
        self.release(&reservation);
        self.balance.settled.add(charge);
        self.balance.used.add(actual);
    }

    /// The attempt never reached the server: everything is given back.
    pub fn refund(&mut self, now: Timestamp, reservation: Reservation) {
        self.correct(now, &reservation, &Charge::default());
        self.release(&reservation);
        self.balance.refunded.add(&reservation.charge);
    }

    /// The server refused for speed: whatever burst was saved up is not there.
    pub fn drain(&mut self, now: Timestamp) {
        self.drain_route(now, Route::ALL);
    }

    /// Sending goes on after a pause of the whole upstream: no burst at its end.
    pub fn resume(&mut self, now: Timestamp) {
        for entry in &mut self.entries {
            entry.limit.resume(now);
        }
    }

    /// [`Budget::drain`] for what one kind of attempt is limited by.
    pub(crate) fn drain_route(&mut self, now: Timestamp, route: Route) {
        for &index in &self.routes[route.0 as usize] {
            self.entries[index].limit.drain(now);
        }
    }

    /// [`Budget::resume`] for these limits.
    pub(crate) fn resume_limits(&mut self, now: Timestamp, limits: &[usize]) {
        for &index in limits {
            self.entries[index].limit.resume(now);
        }
    }

    /// What was ever reserved, settled and refunded.
    #[must_use]
    pub const fn balance(&self) -> &Balance {
        &self.balance
    }

    /// The limits with what was admitted so far.
    #[must_use]
    pub fn status(&self) -> Vec<LimitStatus> {
        self.entries.iter().map(limit_status).collect()
    }

    /// Name of a limit by its index.
    #[must_use]
    pub fn name(&self, limit: usize) -> &str {
        self.entries
            .get(limit)
            .map_or("", |entry| &entry.limit.spec.name)
    }

    /// Adds a limit and returns its index.
    pub(crate) fn add(
        &mut self,
        spec: LimitSpec,
        upstream: Option<UpstreamId>,
    ) -> Result<usize, LimitSpecError> {
        let limit = Limit::new(spec)?;
        let index = self.entries.len();
        if limit.rises_at().is_some() {
            self.ramping.push(index);
        }
        self.entries.push(Entry {
            limit,
            used: Use::default(),
            upstream,
            retired: false,
        });
        Ok(index)
    }

    /// The route over these limits.
    pub(crate) fn route(&mut self, limits: Vec<usize>) -> Route {
        let known = self.routes.iter().position(|known| **known == *limits);
        let index = known.unwrap_or_else(|| {
            self.routes.push(limits.into());
            self.routes.len() - 1
        });
        Route(u32::try_from(index).expect("there are as many routes as lanes and upstreams"))
    }

    #[inline]
    pub(crate) fn limits_of(&self, route: Route) -> &[usize] {
        &self.routes[route.0 as usize]
    }

    /// Counts what a limit in no route has admitted, which is judged elsewhere.
    pub(crate) fn count(&mut self, now: Timestamp, limit: usize, units: u64) {
        self.entries[limit].used.takes(now, units);
    }

    /// A limit in no route limits again.
    pub(crate) fn revive(&mut self, limit: usize) {
        self.entries[limit].retired = false;
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn spec(&self, limit: usize) -> &LimitSpec {
        &self.entries[limit].limit.spec
    }

    pub(crate) fn limit(&self, limit: usize) -> &Limit {
        &self.entries[limit].limit
    }

    /// The limit of this name and kind that an upstream has, or that several share.
    pub(crate) fn find(
        &self,
        upstream: Option<UpstreamId>,
        name: &str,
        kind: LimitKind,
    ) -> Option<usize> {
        self.entries.iter().position(|entry| {
            let spec = &entry.limit.spec;
            entry.upstream == upstream && spec.kind == kind && spec.name == name
        })
    }

    /// The same limit with other numbers; what was taken stays counted. The kind stays.
    pub(crate) fn respec(
        &mut self,
        now: Timestamp,
        limit: usize,
        spec: LimitSpec,
    ) -> Result<(), LimitSpecError> {
        let entry = &mut self.entries[limit];
        entry.retired = false;
        if entry.limit.spec == spec {
            return Ok(());
        }
        let before = entry.limit.spec.clone();
        entry.limit.respec(now, spec)?;
        entry.used.changes(now, &before);
        self.ramping.retain(|&ramping| ramping != limit);
        if entry.limit.rises_at().is_some() {
            self.ramping.push(limit);
        }
        Ok(())
    }

    /// The limit limits nothing new any more.
    pub(crate) fn retire(&mut self, limit: usize) {
        self.entries[limit].retired = true;
    }

    pub(crate) fn restore(&mut self, now: Timestamp, limit: usize, before: &[Taken]) {
        self.entries[limit].limit.restore(now, before);
    }

    /// Lets ramps rise whose time it is.
    #[inline]
    pub(crate) fn ramp_up(&mut self, now: Timestamp) {
        if self.ramping.is_empty() {
            return;
        }
        for &index in &self.ramping {
            let Entry { limit, used, .. } = &mut self.entries[index];
            limit.ramp_up(now, used.admitted);
        }
        let entries = &self.entries;
        self.ramping
            .retain(|&index| entries[index].limit.rises_at().is_some());
    }

    /// `charge` waits for the limits of `route`: ramps that keep it out rise with time alone.
    #[inline]
    pub(crate) fn is_awaited(&mut self, now: Timestamp, route: Route, charge: &Charge) {
        for &index in &self.ramping {
            if self.routes[route.0 as usize].contains(&index) {
                let limit = &mut self.entries[index].limit;
                limit.is_awaited(now, limit.spec.kind.units(charge));
            }
        }
    }

    /// When the next ramp rises. `None` without ramps.
    #[inline]
    pub(crate) fn rises_at(&self) -> Option<Timestamp> {
        let rises = self.ramping.iter();
        rises
            .filter_map(|&index| self.entries[index].limit.rises_at())
            .min()
    }

    /// What was held while the attempt was in flight is free again.
    #[inline]
    fn release(&mut self, reservation: &Reservation) {
        for &index in &self.routes[reservation.route.0 as usize] {
            self.entries[index].limit.release(&reservation.charge);
        }
    }

    fn correct(&mut self, now: Timestamp, reservation: &Reservation, actual: &Charge) {
        for &index in &self.routes[reservation.route.0 as usize] {
            let Entry { limit, used, .. } = &mut self.entries[index];
            let (had, has) = (
                limit.spec.kind.units(&reservation.charge),
                limit.spec.kind.units(actual),
            );
            limit.settle(now, reservation.at, had, has);
            if limit.spec.kind != LimitKind::Concurrency {
                used.admitted = used.admitted.saturating_add(has).saturating_sub(had);
            }
        }
    }
}

#[cold]
fn never(limit: &Limit, needs: u64, most: u64) -> Never {
    Never {
        limit: limit.spec.name.clone(),
        needs,
        most,
    }
}

impl Use {
    #[inline]
    fn takes(&mut self, now: Timestamp, units: u64) {
        if units == 0 {
            return;
        }
        self.admitted = self.admitted.saturating_add(units);
        if self.first.is_none() {
            self.first = Some((now, units));
            self.since = now;
        }
        self.last = now;
    }

    /// From `now` on the amount is another than that of `before`.
    fn changes(&mut self, now: Timestamp, before: &LimitSpec) {
        self.allowed_before = self.allowed(now, before);
        self.since = self.since.max(now);
    }

    /// What was allowed until `now`, in units times [`Use::PARTS`].
    fn allowed(&self, now: Timestamp, spec: &LimitSpec) -> u128 {
        let window = spec.window.as_nanos().max(1);
        let elapsed = now.since(self.since).as_nanos();
        // 10¹⁵ units in the time of centuries are below 2¹¹⁴.
        let allowed = (u128::from(spec.amount) * elapsed).saturating_mul(Self::PARTS) / window;
        self.allowed_before.saturating_add(allowed)
    }

    /// Of a unit.
    const PARTS: u128 = 100_000;
}

fn limit_status(entry: &Entry) -> LimitStatus {
    let Entry { limit, used, .. } = entry;
    let spec = &limit.spec;
    let mut status = LimitStatus {
        spec: spec.clone(),
        upstream: entry.upstream,
        retired: entry.retired,
        admitted: used.admitted,
        utilisation_millipercent: None,
    };
    let Some((first_at, first_units)) = used.first else {
        return status;
    };
    if used.last <= first_at || spec.kind == LimitKind::Concurrency {
        return status;
    }
    let units = u128::from(used.admitted.saturating_sub(first_units));
    let allowed = used.allowed(used.last, spec);
    // Only usage that no answer can have overflows this; its share is not known then.
    let share = units
        .checked_mul(Use::PARTS * 100_000)
        .and_then(|used| used.checked_div(allowed));
    status.utilisation_millipercent = share.and_then(|share| u64::try_from(share).ok());
    status
}
