//! What a run keeps of what it was told, for the next one.

use super::{LIMITS_MAX, Told};
use crate::adapt::mirror::Model;
use crate::adapt::named::Named;
use crate::adapt::own::Count;
use crate::learned::{Learned, LearnedFactor, LearnedLimit};
use crate::limit::{LimitKind, LimitSpec, Shape};
use crate::time::Timestamp;

impl Told {
    /// Starts from what an earlier run has learnt: charges are believed, limits wait for the first
    /// reply to show their levels and are sent to evenly until then.
    pub(crate) fn start_from(&mut self, learned: &Learned) {
        for factor in &learned.charges {
            let model = Model {
                count: Count::meant_by(factor.rule),
                permille: factor.permille,
            };
            self.charges.set(factor.kind, model);
        }
        for limit in &learned.limits {
            let spec = LimitSpec::new("", limit.kind, limit.amount, limit.window);
            let counted = matches!(limit.kind, LimitKind::Concurrency | LimitKind::Custom(_));
            if counted || spec.check().is_err() || self.limits.len() >= LIMITS_MAX {
                continue;
            }
            let mut named = Named::new(Timestamp::ZERO, limit.kind, limit.amount, limit.window);
            if let Some(burst) = limit.burst {
                named.mirror.set_holds(burst);
            }
            named.mirror.pace_evenly(true);
            named.take_share(self.share_millionths);
            self.limits.push(named);
        }
    }

    /// What was learnt so far.
    pub(crate) fn learned(&self) -> Learned {
        let limits = self.limits.iter().filter(|named| !named.trust.doubted);
        let limits = limits.map(|named| LearnedLimit {
            shape: if named.bucket.is_proven() {
                Shape::TokenBucket
            } else {
                Shape::Paced
            },
            burst: named.bucket.is_proven().then(|| named.mirror.holds()),
            foreign_permille: named.foreign_permille(),
            ..LearnedLimit::new(named.mirror.kind, named.mirror.amount, named.mirror.window)
        });
        let charges = self.charges.learnt().filter_map(|(kind, model)| {
            let rule = model.count.in_words()?;
            Some(LearnedFactor::new(kind, rule, model.permille))
        });
        Learned {
            limits: limits.collect(),
            charges: charges.collect(),
            ..Learned::new()
        }
    }
}
