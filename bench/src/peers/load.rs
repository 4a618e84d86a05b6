//! What the clients are given to do: W1 to W5.

use super::Speed;
use crate::workload::{Sizes, Workload};

/// One kind of work against one kind of server.
pub(super) struct Load {
    pub(super) name: &'static str,
    /// The program's; the others take the first of the same requests.
    pub(super) workload: Workload,
    pub(super) mock: &'static [&'static str],
    pub(super) in_flight: u32,
    pub(super) rpm: Option<u32>,
    pub(super) tpm: Option<u32>,
    /// Requests of hand-made, fast and slow clients.
    others: [u64; 3],
    /// Answers a second that latency and requests in flight allow.
    pub(super) ideal_per_s: Option<f64>,
    pub(super) of_ideal_goal: Option<f64>,
    /// Least share of the limit in per cent, by default and with the shape declared.
    pub(super) used_goal: Option<f64>,
    pub(super) shape_goal: Option<f64>,
    /// Least rate ÷ that of the best of the others.
    pub(super) best_goal: Option<f64>,
}

impl Load {
    pub(super) fn requests(&self, speed: Speed) -> u64 {
        let [hand_made, fast, slow] = self.others;
        match speed {
            Speed::Program => self.workload.requests as u64,
            Speed::HandMade => hand_made,
            Speed::Fast => fast,
            Speed::Slow => slow,
        }
    }
}

const NOTHING: Load = Load {
    name: "",
    workload: Workload {
        requests: 0,
        sizes: Sizes::Short,
    },
    mock: &[],
    in_flight: 64,
    rpm: None,
    tpm: None,
    others: [3_000; 3],
    ideal_per_s: None,
    of_ideal_goal: None,
    used_goal: None,
    shape_goal: None,
    best_goal: None,
};

const fn short(requests: usize) -> Workload {
    Workload {
        requests,
        sizes: Sizes::Short,
    }
}

pub(super) const LOADS: &[Load] = &[
    Load {
        name: "W1: no limit, no latency, 64 in flight",
        workload: short(300_000),
        mock: &["--no-detail"],
        others: [60_000, 15_000, 3_000],
        best_goal: Some(10.0),
        ..NOTHING
    },
    Load {
        name: "W2: 200 ms latency, 500 in flight",
        workload: short(20_000),
        mock: &["--latency", "200ms"],
        in_flight: 500,
        // The same for all: the last of few requests in flight weigh more than those of many.
        others: [20_000; 3],
        ideal_per_s: Some(2_500.0),
        of_ideal_goal: Some(98.0),
        ..NOTHING
    },
    Load {
        name: "W3: 6,000 RPM as a bucket of 1 s, 3,000 requests",
        workload: short(3_000),
        mock: &[
            "--rpm",
            "6000",
            "--latency",
            "40ms",
            "--latency-sigma",
            "0.5",
        ],
        rpm: Some(6_000),
        used_goal: Some(98.5),
        shape_goal: Some(99.5),
        ..NOTHING
    },
    Load {
        name: "W4: 100,000 RPM as a bucket of 1 s, 100 ms latency",
        workload: short(20_000),
        mock: &["--rpm", "100000", "--latency", "100ms"],
        in_flight: 500,
        rpm: Some(100_000),
        others: [20_000, 20_000, 5_000],
        used_goal: Some(98.5),
        shape_goal: Some(99.5),
        ..NOTHING
    },
    Load {
        name: "W5: 3,000,000 TPM as a bucket of 2 s, log-normal sizes, 3,000 requests",
        workload: Workload {
            requests: 3_000,
            sizes: Sizes::LogNormal,
        },
        mock: &["--tpm", "3M", "--burst", "2s", "--latency", "100ms"],
        tpm: Some(3_000_000),
        used_goal: Some(98.0),
        shape_goal: Some(98.0),
        ..NOTHING
    },
];
