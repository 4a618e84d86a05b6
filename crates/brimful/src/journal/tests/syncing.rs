//! When answers reach the disk.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use super::*;

const NEVER: Duration = Duration::from_secs(3600);

/// Tells of every fsync, and may hold it up or fail it.
#[derive(Debug)]
struct Watched {
    file: Arc<File>,
    synced: Mutex<Sender<()>>,
    gate: Option<Mutex<Receiver<()>>>,
    broken: bool,
}

impl Storage for Watched {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Storage::write(&*self.file, bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.synced.lock().unwrap().send(()).unwrap();
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        match self.broken {
            true => Err(rustix::io::Errno::IO.into()),
            false => self.file.sync(),
        }
    }
}

impl Place {
    fn open_watched(
        &self,
        durability: Durability,
        group: (Duration, u32),
        broken: bool,
    ) -> (Journal, Receiver<()>) {
        let (sender, receiver) = channel();
        let mut options = self.options();
        options.durability = durability;
        (options.group_max_delay, options.group_max_answers) = group;
        let (journal, _) = Journal::open_on(options, |file| {
            Arc::new(Watched {
                file,
                synced: Mutex::new(sender),
                gate: None,
                broken,
            })
        })
        .unwrap();
        (journal, receiver)
    }
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn a_group_of_answers_is_synced_when_it_is_full() {
    let place = Place::new();
    let (mut journal, synced) = place.open_watched(Durability::Power, (NEVER, 3), false);
    for group in 1..4 {
        for n in 0..3 {
            assert_eq!(synced.try_recv(), Err(TryRecvError::Empty));
            let _ = append(&mut journal, n).unwrap();
        }
        synced.recv().unwrap();
        until(|| journal.synced() == group * 3);
    }
}

#[test]
fn answers_that_come_together_and_fill_a_group_are_synced_at_once() {
    let place = Place::new();
    let (mut journal, synced) = place.open_watched(Durability::Power, (NEVER, 3), false);
    assert!(append_all(&mut journal, &[1, 2]).iter().all(Result::is_ok));
    assert_eq!(synced.try_recv(), Err(TryRecvError::Empty));
    assert!(append_all(&mut journal, &[3, 4]).iter().all(Result::is_ok));
    synced.recv().unwrap();
    until(|| journal.synced() == 4);
}

#[test]
fn a_failed_sync_is_told_of_each_answer_that_comes_after_it() {
    let place = Place::new();
    let (mut journal, synced) = place.open_watched(Durability::Power, (Duration::ZERO, 1), true);
    while append(&mut journal, 1).is_ok() {}
    let outcomes = append_all(&mut journal, &[2, 3]);
    for (outcome, id) in outcomes.iter().zip(["row-2", "row-3"]) {
        assert!(
            matches!(outcome, Err(AppendError::NotDurable { custom_id, .. }) if custom_id == id)
        );
    }
    assert_eq!(outcomes.len(), 2);
    assert!(matches!(journal.close(), Err(CloseError::Sync { .. })));
    assert_eq!(synced.iter().count(), 1);
}

#[test]
fn a_single_answer_is_synced_after_the_delay() {
    let place = Place::new();
    let delay = Duration::from_millis(2);
    let (mut journal, synced) = place.open_watched(Durability::Power, (delay, u32::MAX), false);
    for n in 1..3 {
        let _ = append(&mut journal, n).unwrap();
        synced.recv().unwrap();
        until(|| journal.synced() == u64::from(n));
    }
}

#[test]
fn an_answer_that_is_written_during_an_fsync_waits_for_the_next_one() {
    let place = Place::new();
    let (sender, synced) = channel();
    let (open_gate, gate) = channel();
    let mut options = place.options();
    options.durability = Durability::Power;
    (options.group_max_delay, options.group_max_answers) = (NEVER, 1);
    let (mut journal, _) = Journal::open_on(options, |file| {
        let gate = Some(Mutex::new(gate));
        Arc::new(Watched {
            file,
            synced: Mutex::new(sender),
            gate,
            broken: false,
        })
    })
    .unwrap();
    let _ = append(&mut journal, 1).unwrap();
    synced.recv().unwrap();
    let _ = append(&mut journal, 2).unwrap();
    assert_eq!(journal.synced(), 0);
    open_gate.send(()).unwrap();
    synced.recv().unwrap();
    assert_eq!(journal.synced(), 1);
    open_gate.send(()).unwrap();
    until(|| journal.synced() == 2);
}

#[test]
fn closing_syncs_what_is_left_and_nothing_twice() {
    for durability in [Durability::Power, Durability::Process] {
        let place = Place::new();
        let (mut journal, synced) = place.open_watched(durability, (NEVER, 100), false);
        for n in 0..5 {
            let _ = append(&mut journal, n).unwrap();
        }
        assert_eq!(journal.synced(), 0);
        let counter = journal.synced_counter();
        journal.close().unwrap();
        assert_eq!(counter.load(Ordering::Acquire), 5);
        assert_eq!(synced.iter().count(), 1);
    }
}

#[test]
fn a_journal_without_answers_needs_no_sync() {
    let place = Place::new();
    let (journal, synced) = place.open_watched(Durability::Power, (Duration::ZERO, 1), true);
    journal.close().unwrap();
    assert_eq!(synced.iter().count(), 0);
}

#[test]
fn a_failed_sync_is_told_to_every_later_append_and_to_close_and_never_repeated() {
    let place = Place::new();
    let (mut journal, synced) = place.open_watched(Durability::Power, (Duration::ZERO, 1), true);
    let mut written = 0;
    let first = loop {
        written += 1;
        if let Err(error) = append(&mut journal, 1) {
            break error;
        }
    };
    assert!(matches!(&first, AppendError::NotDurable { custom_id, .. } if custom_id == "row-1"));
    let second = append(&mut journal, 2).unwrap_err();
    assert!(matches!(&second, AppendError::NotDurable { custom_id, .. } if custom_id == "row-2"));
    assert_eq!(journal.synced(), 0);
    assert_eq!(journal.written(), written + 1);
    assert!(matches!(journal.close(), Err(CloseError::Sync { .. })));
    assert_eq!(synced.iter().count(), 1);
    assert_eq!(place.files(), ["out.jsonl"]);
    // What was written is very likely there all the same, and counts if it is.
    assert_eq!(place.recover().answers, written + 1);
}

#[test]
fn a_sync_that_fails_when_closing_is_told() {
    for durability in [Durability::Power, Durability::Process] {
        let place = Place::new();
        let (mut journal, synced) = place.open_watched(durability, (NEVER, 100), true);
        let _ = append(&mut journal, 1).unwrap();
        assert!(matches!(journal.close(), Err(CloseError::Sync { .. })));
        assert_eq!(synced.iter().count(), 1);
    }
}
