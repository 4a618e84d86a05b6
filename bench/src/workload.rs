//! Batch files, the same on every machine.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Result;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Sizes {
    /// Prompts of 160 characters, 16 output tokens.
    Short,
    /// The same prompts with room for answers of any length that the mock gives.
    LongAnswer,
    /// Input tokens log-normal (median 300, σ 0.8), `max_tokens` 256.
    LogNormal,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) requests: usize,
    pub(crate) sizes: Sizes,
}

impl Workload {
    /// Writes the file unless it is there.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let (kind, output) = match self.sizes {
            Sizes::Short => ("short", 16),
            Sizes::LongAnswer => ("long-answer", 4096),
            Sizes::LogNormal => ("log-normal", 256),
        };
        let path = folder.join(format!("{kind}-{}.jsonl", self.requests));
        if path.exists() {
            return Ok(path);
        }
        // Scenarios run side by side, and more than one may miss the same file.
        let unfinished = path.with_extension(format!("unfinished-{:?}", thread::current().id()));
        let mut file = BufWriter::new(File::create(&unfinished)?);
        let mut random = Random(1);
        for index in 0..self.requests {
            let characters = match self.sizes {
                Sizes::Short | Sizes::LongAnswer => 160,
                Sizes::LogNormal => (1200.0 * (0.8 * random.normal()).exp()) as usize,
            };
            let prompt = format!("prompt {index} {}", "x".repeat(characters.max(16) - 14));
            writeln!(
                file,
                r#"{{"custom_id":"r{index}","method":"POST","url":"/v1/chat/completions","body":{{"model":"m","messages":[{{"role":"user","content":"{prompt}"}}],"max_tokens":{output}}}}}"#
            )?;
        }
        file.flush()?;
        fs::rename(unfinished, &path)?;
        Ok(path)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers everywhere, without a dependency.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller's normal deviate.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
