//! Several upstreams from the driver's side: their names, their figures, and others from now on.

use std::sync::Arc;

use brimful_core::{EngineConfig, Event, Input, UpstreamId};
use serde_json::json;

use super::{Driver, keep};
use crate::limits::LimitNote;
use crate::progress::Notice;
use crate::state::unix_ms;
use crate::upstreams::{Retune, UpstreamProgress};

impl Driver<'_> {
    /// Goes on with other limits and upstreams. What the engine refuses changes nothing.
    pub(super) fn retune(&mut self, retune: Retune) {
        let Retune {
            mut engine,
            limits,
            upstreams,
        } = retune;
        if let Err(error) = engine.check() {
            let text = format!("the run goes on as it was: {error}");
            return self.notice(Notice::warning(text));
        }
        let now = self.options.clock.now();
        keep::place_edges(&mut engine, &limits, now, unix_ms());
        let mut known: Vec<String> = self.engine.upstreams(now).into_iter().map(name).collect();
        for (config, way) in engine.upstreams.iter().zip(upstreams) {
            // As the engine does: by name, and a new one at the end.
            let shared = Arc::new(way.into());
            match known.iter().position(|name| *name == config.name) {
                Some(index) => self.shared[index] = shared,
                None => {
                    known.push(config.name.clone());
                    self.shared.push(shared);
                    self.upstreams.push(UpstreamProgress::default());
                }
            }
        }
        self.input_at(now, Input::Reconfigure(Box::new(engine.clone())));
        self.options.limits = self.in_order(&engine, limits.clone());
        self.declared = limits;
        self.options.engine = engine;
        self.name_limits();
        self.outputs.event(&json!({
            "event": "retuned", "at_ms": self.options.clock.unix_ms(now),
        }));
        let text = "limits and upstreams are those of the configuration as it is now";
        self.notice(Notice::info(text.to_owned()));
    }

    /// Notes of limits in the order in which the engine has them now.
    fn in_order(&self, config: &EngineConfig, notes: Vec<LimitNote>) -> Vec<LimitNote> {
        let upstreams = self.engine.upstreams(self.options.clock.now());
        let number = |name: &str| {
            let found = upstreams.iter().find(|upstream| upstream.name == name);
            found.map(|upstream| upstream.id)
        };
        let shared = config.shared.iter().map(|spec| (None, spec));
        let own = config.upstreams.iter().flat_map(|upstream| {
            let number: Option<UpstreamId> = number(&upstream.name);
            upstream.limits.iter().map(move |spec| (number, spec))
        });
        let declared: Vec<_> = shared.chain(own).zip(notes).collect();
        let limits = self.engine.limits().into_iter().enumerate();
        let note = |(index, status): (usize, brimful_core::LimitStatus)| {
            let spec = &status.spec;
            let found = declared.iter().find(|((upstream, other), _)| {
                *upstream == status.upstream && other.name == spec.name && other.kind == spec.kind
            });
            let found = found.map(|(_, note)| note.clone());
            found.unwrap_or_else(|| keep::note_of(&self.options.limits, index, spec))
        };
        limits.map(note).collect()
    }

    /// Names limits and upstreams as people are told of them.
    pub(super) fn name_limits(&mut self) {
        let upstreams = self.engine.upstreams(self.options.clock.now());
        self.upstream_names = match upstreams.len() {
            1 => Vec::new(),
            _ => upstreams.into_iter().map(name).collect(),
        };
        let limits = self.engine.limits().into_iter();
        let limit_names = limits.map(|limit| {
            let upstream = limit.upstream.map(UpstreamId::index);
            let upstream = upstream.and_then(|index| self.upstream_names.get(index));
            match upstream {
                Some(upstream) => format!("{upstream} {}", limit.spec.name),
                None => limit.spec.name,
            }
        });
        self.limit_names = limit_names.collect();
    }

    /// What went to each upstream; nothing while there is only one.
    pub(super) fn upstream_progress(&self) -> Vec<UpstreamProgress> {
        if self.upstream_names.is_empty() {
            return Vec::new();
        }
        let states = self.engine.upstreams(self.options.clock.now());
        let figures = self.upstreams.iter().zip(states);
        figures
            .map(|(figures, status)| figures.with(status))
            .collect()
    }

    /// Tells people what has become of an upstream.
    pub(super) fn upstream_event(&mut self, event: &Event) {
        let (Event::UpstreamOut { upstream, .. }
        | Event::UpstreamParked { upstream, .. }
        | Event::UpstreamIll { upstream, .. }
        | Event::UpstreamWell { upstream }) = event
        else {
            return;
        };
        let now = self.options.clock.now();
        // Who has only one hears of it in other ways.
        let Some(name) = self.upstream_names.get(upstream.index()).cloned() else {
            return;
        };
        let (what, notice) = match event {
            Event::UpstreamOut { class, .. } => {
                let said = &self.last_upstream_message;
                let text = format!("upstream {name} is out ({class}): {said}");
                (format!("out: {class}"), Some(Notice::warning(text)))
            }
            Event::UpstreamParked { until, .. } => {
                let wait = until.since(now).as_secs();
                let text = format!("upstream {name} has used up a quota and rests for {wait} s");
                ("parked".to_owned(), Some(Notice::warning(text)))
            }
            Event::UpstreamIll { .. } => ("ill".to_owned(), None),
            _ => ("well".to_owned(), None),
        };
        self.outputs.event(&json!({
            "event": "upstream", "upstream": name, "state": what,
            "at_ms": self.options.clock.unix_ms(now),
        }));
        if let Some(notice) = notice {
            self.notice(notice);
        }
    }
}

fn name(status: brimful_core::UpstreamStatus) -> String {
    status.name
}
