//! Which upstreams and limits there are, and which of them a lane may use: at the start, and when a
//! live engine is told of others.

use super::{Engine, EngineConfig, Outcome};
use crate::charge::{Cost, Lane};
use crate::event::Event;
use crate::limit::{LimitSpec, Never};
use crate::time::Timestamp;
use crate::upstream::{Upstream, UpstreamConfig, UpstreamId, Way};

impl Engine {
    /// Takes a new configuration over, or leaves everything as it is.
    pub(super) fn reconfigure(&mut self, now: Timestamp, config: &EngineConfig) {
        let refused = config.check().err();
        if refused.is_none() {
            self.set_up(now, config);
            self.abandon_what_nobody_serves();
        }
        self.event(Event::Reconfigured { refused });
    }

    /// Makes upstreams and limits as `config` says, which was checked.
    pub(super) fn set_up(&mut self, now: Timestamp, config: &EngineConfig) {
        for limit in 0..self.budget.len() {
            self.budget.retire(limit);
        }
        for upstream in &mut self.upstreams {
            upstream.retire();
        }
        let shared: Vec<usize> = config
            .shared
            .iter()
            .map(|spec| self.set_limit(now, None, spec))
            .collect();
        for upstream in &config.upstreams {
            let index = self.set_upstream(upstream);
            let id = upstream_id(index);
            let own = upstream.limits.iter();
            let mut limits: Vec<usize> = own
                .map(|spec| self.set_limit(now, Some(id), spec))
                .collect();
            let names = config.shared.iter().map(|spec| &spec.name);
            let shares = names.zip(&shared);
            let shares = shares.filter(|(name, _)| upstream.shares.contains(name));
            limits.extend(shares.map(|(_, &limit)| limit));
            self.upstreams[index].limits = limits;
            for told in self.upstreams[index].each_told() {
                for place in told.places() {
                    self.budget.revive(place);
                }
            }
        }
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].known {
                let lane = u16::try_from(lane).expect("lanes are numbered by 16 bits");
                self.lanes[usize::from(lane)].ways = self.ways(Lane(lane));
            }
        }
    }

    fn set_upstream(&mut self, config: &UpstreamConfig) -> usize {
        let known = self
            .upstreams
            .iter()
            .position(|known| known.name == config.name);
        if let Some(index) = known {
            self.upstreams[index].reconfigure(config);
            return index;
        }
        let index = self.upstreams.len();
        self.upstreams
            .push(Upstream::new(upstream_id(index), config));
        index
    }

    fn set_limit(&mut self, now: Timestamp, of: Option<UpstreamId>, spec: &LimitSpec) -> usize {
        const CHECKED: &str = "the configuration was checked";
        match self.budget.find(of, &spec.name, spec.kind) {
            Some(limit) => {
                self.budget.respec(now, limit, spec.clone()).expect(CHECKED);
                limit
            }
            None => self.budget.add(spec.clone(), of).expect(CHECKED),
        }
    }

    /// Finds out which ways a lane has, when it is first used.
    #[inline]
    pub(super) fn know_lane(&mut self, lane: Lane) {
        let index = usize::from(lane.0);
        if self.lanes.get(index).is_some_and(|lane| lane.known) {
            return;
        }
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, Default::default);
        }
        self.lanes[index].ways = self.ways(lane);
        self.lanes[index].known = true;
    }

    fn ways(&mut self, lane: Lane) -> Vec<Way> {
        let mut ways = Vec::new();
        for (upstream, state) in self.upstreams.iter().enumerate() {
            if state.serves(lane) {
                let limits = state.limits.iter().copied();
                let limits = limits.filter(|&limit| self.budget.spec(limit).counts(lane));
                let limits = limits.collect();
                let route = self.budget.route(limits);
                ways.push(Way { upstream, route });
            }
        }
        ways
    }

    /// Whether any upstream that is of use can ever take a request of this cost.
    #[inline]
    pub(super) fn fits(&self, cost: &Cost) -> Result<(), Outcome> {
        let mut closest: Option<Never> = None;
        for way in &self.lanes[usize::from(cost.lane.0)].ways {
            let upstream = &self.upstreams[way.upstream];
            if !upstream.is_usable() {
                continue;
            }
            let Some(never) = self.budget.never(way.route, &upstream.charge(cost)) else {
                return Ok(());
            };
            if closest.as_ref().is_none_or(|known| never.most > known.most) {
                closest = Some(never);
            }
        }
        Err(closest.map_or(Outcome::NoUpstream, Outcome::NeverFits))
    }

    /// Whether a lane has an upstream that is of use.
    pub(super) fn is_served(&self, lane: Lane) -> bool {
        let ways = &self.lanes[usize::from(lane.0)].ways;
        ways.iter()
            .any(|way| self.upstreams[way.upstream].is_usable())
    }

    /// Ends what waits in lanes that have no upstream any more.
    pub(super) fn abandon_what_nobody_serves(&mut self) {
        let served: Vec<bool> = (0..self.lanes.len())
            .map(|lane| u16::try_from(lane).is_ok_and(|lane| self.is_served(Lane(lane))))
            .collect();
        let unserved = |lane: Lane| !served.get(usize::from(lane.0)).copied().unwrap_or(true);
        for request in self.queue.drain(unserved) {
            self.finish(request, Outcome::NoUpstream);
        }
    }
}

/// There are few upstreams, even after a long life.
pub(super) fn upstream_id(index: usize) -> UpstreamId {
    UpstreamId(u16::try_from(index).unwrap_or(u16::MAX))
}
