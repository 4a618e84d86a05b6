//! All limits that one attempt must satisfy: reserved all or nothing, settled exactly once.

use std::fmt;

use crate::charge::Charge;
use crate::limit::{Decision, Limit, LimitKind, LimitSpec, LimitSpecError, Never};
use crate::time::Timestamp;

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
}

impl Sums {
    fn add(&mut self, charge: &Charge) {
        self.requests += u128::from(charge.requests);
        self.input += u128::from(charge.input);
        self.output += u128::from(charge.output);
        self.total += u128::from(charge.total);
    }

    fn less(self, other: Self) -> Self {
        Self {
            requests: self.requests - other.requests,
            input: self.input - other.input,
            output: self.output - other.output,
            total: self.total - other.total,
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
}

/// The budget of one upstream.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: Vec<Limit>,
    uses: Vec<Use>,
    balance: Balance,
}

impl Budget {
    /// A budget of these limits; none means that everything is granted.
    pub fn new(specs: Vec<LimitSpec>) -> Result<Self, LimitSpecError> {
        let limits = specs
            .into_iter()
            .map(Limit::new)
            .collect::<Result<Vec<_>, _>>()?;
        let uses = vec![Use::default(); limits.len()];
        Ok(Self {
            limits,
            uses,
            balance: Balance::default(),
        })
    }

    /// Takes `charge` from every limit, or nothing from any.
    #[inline]
    pub fn reserve(&mut self, now: Timestamp, charge: Charge) -> Result<Reservation, Refusal> {
        let (earliest, binding) = self.earliest(now, &charge)?;
        if earliest > now {
            let decision = Decision::WaitUntil(earliest);
            return Err(Refusal {
                decision,
                limit: binding,
            });
        }
        for (limit, used) in self.limits.iter_mut().zip(&mut self.uses) {
            let units = limit.spec.kind.units(&charge);
            limit.take(now, units);
            if units > 0 {
                used.admitted = used.admitted.saturating_add(units);
                used.first.get_or_insert((now, units));
                used.last = now;
            }
        }
        self.balance.reserved.add(&charge);
        Ok(Reservation { charge, at: now })
    }

    /// Whether `charge` would be granted, without taking it.
    #[must_use]
    pub fn decide(&self, now: Timestamp, charge: &Charge) -> Decision {
        match self.earliest(now, charge) {
            Err(refusal) => refusal.decision,
            Ok((earliest, _)) if earliest > now => Decision::WaitUntil(earliest),
            Ok(_) => Decision::Go,
        }
    }

    /// The attempt is over and used `actual`. `None`: what it used is not known or does not
    /// matter, the reservation stands. Usage beyond the reservation is carried as debt.
    pub fn settle(&mut self, now: Timestamp, reservation: Reservation, actual: Option<Charge>) {
        let Reservation { charge, at } = reservation;
        let actual = actual.unwrap_or(charge);
        self.correct(now, at, &charge, &actual);
        self.balance.settled.add(&charge);
        self.balance.used.add(&actual);
    }

    /// The attempt never reached the server: everything is given back.
    pub fn refund(&mut self, now: Timestamp, reservation: Reservation) {
        let Reservation { charge, at } = reservation;
        self.correct(now, at, &charge, &Charge::default());
        self.balance.refunded.add(&charge);
    }

    /// The server refused for speed: whatever burst was saved up is not there.
    pub fn drain(&mut self, now: Timestamp) {
        for limit in &mut self.limits {
            limit.drain(now);
        }
    }

    /// Sending goes on after a pause of the whole upstream: no burst at its end.
    pub fn resume(&mut self, now: Timestamp) {
        for limit in &mut self.limits {
            limit.resume(now);
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
        let pairs = self.limits.iter().zip(&self.uses);
        pairs
            .map(|(limit, used)| limit_status(&limit.spec, used))
            .collect()
    }

    /// How many limits there are.
    pub(crate) const fn limits(&self) -> usize {
        self.limits.len()
    }

    /// Name of a limit by its index.
    #[must_use]
    pub fn name(&self, limit: usize) -> &str {
        self.limits.get(limit).map_or("", |limit| &limit.spec.name)
    }

    #[inline]
    fn earliest(&self, now: Timestamp, charge: &Charge) -> Result<(Timestamp, usize), Refusal> {
        let mut latest = now;
        let mut binding = 0;
        for (index, limit) in self.limits.iter().enumerate() {
            let units = limit.spec.kind.units(charge);
            match limit.earliest(now, units) {
                Ok(earliest) if earliest > latest => {
                    latest = earliest;
                    binding = index;
                }
                Ok(_) => {}
                Err(most) => {
                    let never = Never {
                        limit: limit.spec.name.clone(),
                        needs: units,
                        most,
                    };
                    return Err(Refusal {
                        decision: Decision::Never(never),
                        limit: index,
                    });
                }
            }
        }
        Ok((latest, binding))
    }

    fn correct(&mut self, now: Timestamp, at: Timestamp, reserved: &Charge, actual: &Charge) {
        for (limit, used) in self.limits.iter_mut().zip(&mut self.uses) {
            let (had, has) = (
                limit.spec.kind.units(reserved),
                limit.spec.kind.units(actual),
            );
            limit.settle(now, at, had, has);
            limit.release(had);
            if limit.spec.kind != LimitKind::Concurrency {
                used.admitted = used.admitted.saturating_add(has).saturating_sub(had);
            }
        }
    }
}

fn limit_status(spec: &LimitSpec, used: &Use) -> LimitStatus {
    let mut status = LimitStatus {
        spec: spec.clone(),
        admitted: used.admitted,
        utilisation_millipercent: None,
    };
    let Some((first_at, first_units)) = used.first else {
        return status;
    };
    let elapsed = used.last.since(first_at).as_nanos();
    if elapsed == 0 || spec.kind == LimitKind::Concurrency {
        return status;
    }
    let units = u128::from(used.admitted.saturating_sub(first_units));
    let allowed_times_window = u128::from(spec.amount) * elapsed;
    // Only usage that no answer can have overflows this; its share is not known then.
    let share = units
        .checked_mul(spec.window.as_nanos() * 100_000)
        .map(|used| used / allowed_times_window);
    status.utilisation_millipercent = share.and_then(|share| u64::try_from(share).ok());
    status
}
