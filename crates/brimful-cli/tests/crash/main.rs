//! Crash proof: the real binary, killed, stopped, starved of disk and fed damaged files.
//!
//! # Method
//!
//! Every test starts two processes of the real program: `brimful mock` on a free port, and
//! `brimful run` against it. The run is treated as a crash would treat it, then the same command
//! runs again until it is done. Two accounts are compared, and neither is the run's own:
//!
//! - the files, read here line by line with nothing but a JSON parser;
//! - the mock's `GET /stats`: what it admitted, answered whole, answered twice, and which clients
//!   left before their answer. The mock survives all kills, so its account spans them.
//!
//! What a kill can cost follows from the two. After a kill the mock is asked until nothing is in
//! flight there; then `answered − lines in the journal` is the number of answers that were paid and
//! lost, and the rise of it is what this kill cost. It may be at most what was in flight, which the
//! concurrency bounds. At the end, `duplicate_answers` must be exactly the sum of these costs: one
//! more, and a journaled answer was paid again. Journals must also only ever grow: whole lines that
//! a kill leaves are the beginning of every later version of the file.
//!
//! An answer is tied to its prompt by the tag that the mock puts in front of it, a checksum of the
//! prompt ([`brimful_sim::answer_tag`]); so a run that mixes answers up is found out too.
//!
//! Kills are aimed at random moments: a random number of new lines in the journal, then a random
//! wait of up to some milliseconds; some before the first answer, some while the final file is
//! made. The seed is printed and `BRIMFUL_CRASH_SEED` sets it; scheduling is the machine's, so a
//! seed repeats the aim, not the hit.
//!
//! SIGKILL leaves the page cache alone: what was written and not yet fsynced survives it. A power
//! loss does not, and no test can cut the power; so runs with `--durability process`, which fsync
//! nothing before they close, show that kills in that state need no fsync, and [`damage`] feeds in
//! files as a power loss leaves them: torn, zeroed, overwritten.
//!
//! A full disk is a real one, of 64 MB: see [`small_disk`] for what it needs.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic")]
#![expect(clippy::print_stdout, reason = "the counts are the evidence")]

mod damage;
mod edited;
mod files;
mod full_disk;
mod input;
mod kill_once;
mod mock;
mod random;
mod refused;
mod run;
mod sigkill;
mod signals;
mod small_disk;
mod standard_input;
mod wait;
