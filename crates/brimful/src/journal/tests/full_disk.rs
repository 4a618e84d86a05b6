//! Disks that are full, slow to take a line, or broken.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::*;

/// A disk with little room.
#[derive(Debug)]
struct Disk {
    file: Arc<File>,
    spare: PathBuf,
    /// Room besides that of the spare file.
    room: Mutex<u64>,
    spare_bytes: u64,
    /// Most bytes that one write takes.
    most: usize,
    cannot_cut: AtomicBool,
    writes: AtomicU64,
}

impl Storage for Disk {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let freed = if self.spare.exists() {
            0
        } else {
            self.spare_bytes
        };
        let left = (*self.room.lock().unwrap() + freed).saturating_sub(self.file.metadata()?.len());
        let count = bytes
            .len()
            .min(self.most)
            .min(usize::try_from(left).unwrap());
        match count {
            0 => Err(rustix::io::Errno::NOSPC.into()),
            _ => Storage::write(&*self.file, &bytes[..count]),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        match self.cannot_cut.load(Ordering::Relaxed) {
            true => Err(rustix::io::Errno::IO.into()),
            false => self.file.truncate(length),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Place {
    /// A journal on a disk with room for so many bytes, and for so many more in the spare file.
    fn open_on_disk(&self, room: usize, spare_bytes: usize, most: usize) -> (Journal, Arc<Disk>) {
        let mut options = self.options();
        options.spare_bytes = spare_bytes as u64;
        let spare = self.sidecar(".spare");
        let mut disk = None;
        let (journal, _) = Journal::open_on(options, |file| {
            let made = Arc::new(Disk {
                file,
                spare,
                room: Mutex::new(room as u64),
                spare_bytes: spare_bytes as u64,
                most,
                cannot_cut: AtomicBool::new(false),
                writes: AtomicU64::new(0),
            });
            disk = Some(Arc::<Disk>::clone(&made));
            made
        })
        .unwrap();
        (journal, disk.unwrap())
    }
}

fn is_full(outcome: &Result<Appended, AppendError>, n: u8) -> bool {
    matches!(outcome, Err(AppendError::DiskFull { custom_id, .. }) if *custom_id == format!("row-{n}"))
}

#[test]
fn an_answer_is_one_write() {
    let place = Place::new();
    let (mut journal, disk) = place.open_on_disk(10_000, 0, usize::MAX);
    for n in 0..5 {
        let _ = append(&mut journal, n).unwrap();
    }
    assert_eq!(disk.writes.load(Ordering::Relaxed), 5);
}

#[test]
fn a_full_disk_gives_up_the_spare_room_and_says_so_from_then_on() {
    let place = Place::new();
    let length = line_of(1).len();
    let (mut journal, _disk) = place.open_on_disk(length * 2 + 10, length * 2, usize::MAX);
    assert_eq!(append(&mut journal, 1).unwrap(), Appended::Fine);
    assert_eq!(append(&mut journal, 2).unwrap(), Appended::Fine);
    assert!(place.sidecar(".spare").exists());
    assert_eq!(append(&mut journal, 3).unwrap(), Appended::OnSpare);
    assert!(!place.sidecar(".spare").exists());
    assert_eq!(append(&mut journal, 4).unwrap(), Appended::OnSpare);
    assert!(is_full(&append(&mut journal, 5), 5));
    assert_eq!(journal.written(), 4);
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[1, 2, 3, 4]));
    assert_eq!(place.files(), ["out.jsonl"]);
}

#[test]
fn without_spare_room_the_answer_is_named_and_the_file_stays_whole() {
    let place = Place::new();
    let length = line_of(1).len();
    let (mut journal, disk) = place.open_on_disk(length + length / 2, 0, usize::MAX);
    let _ = append(&mut journal, 1).unwrap();
    for n in 2..4 {
        let failed = append(&mut journal, n);
        assert!(is_full(&failed, n));
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .contains(&format!("`row-{n}`"))
        );
        assert_eq!(place.content(), line_of(1));
    }
    *disk.room.lock().unwrap() = 10_000;
    assert_eq!(append(&mut journal, 4).unwrap(), Appended::Fine);
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[1, 4]));
}

#[test]
fn a_disk_that_takes_a_few_bytes_at_a_time_gets_whole_lines() {
    let place = Place::new();
    let (mut journal, _disk) = place.open_on_disk(10_000, 0, 7);
    for n in 1..4 {
        let _ = append(&mut journal, n).unwrap();
    }
    assert_eq!(place.content(), file_of(&[1, 2, 3]));
}

#[test]
fn half_a_line_that_cannot_be_cut_off_is_never_followed_by_another() {
    let place = Place::new();
    let length = line_of(1).len();
    let (mut journal, disk) = place.open_on_disk(length + 20, 0, usize::MAX);
    let _ = append(&mut journal, 1).unwrap();
    disk.cannot_cut.store(true, Ordering::Relaxed);
    assert!(is_full(&append(&mut journal, 2), 2));
    *disk.room.lock().unwrap() = 10_000;
    assert!(matches!(
        append(&mut journal, 3),
        Err(AppendError::Write { .. })
    ));
    assert_eq!(place.content().len(), length + 20);
    disk.cannot_cut.store(false, Ordering::Relaxed);
    let _ = append(&mut journal, 4).unwrap();
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[1, 4]));
}

#[test]
fn answers_that_come_together_are_one_write() {
    let place = Place::new();
    let (mut journal, disk) = place.open_on_disk(10_000, 0, usize::MAX);
    let outcomes = append_all(&mut journal, &[1, 2, 3, 4]);
    assert!(outcomes.iter().all(|o| matches!(o, Ok(Appended::Fine))));
    assert_eq!(outcomes.len(), 4);
    assert_eq!(disk.writes.load(Ordering::Relaxed), 1);
    assert_eq!(journal.written(), 4);
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[1, 2, 3, 4]));
}

#[test]
fn of_answers_that_come_together_on_a_full_disk_those_that_fit_are_kept_and_the_others_named() {
    let place = Place::new();
    let length = line_of(1).len();
    let (mut journal, _disk) = place.open_on_disk(length * 2 + 10, 0, usize::MAX);
    let outcomes = append_all(&mut journal, &[1, 2, 3, 4]);
    assert!(
        outcomes[..2]
            .iter()
            .all(|o| matches!(o, Ok(Appended::Fine)))
    );
    assert!(is_full(&outcomes[2], 3) && is_full(&outcomes[3], 4));
    assert_eq!((outcomes.len(), journal.written()), (4, 2));
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[1, 2]));
}

#[test]
fn answers_that_come_together_on_a_full_disk_go_on_in_the_spare_room() {
    let place = Place::new();
    let length = line_of(1).len();
    let (mut journal, _disk) = place.open_on_disk(length * 2 + 10, length * 2, usize::MAX);
    let outcomes = append_all(&mut journal, &[1, 2, 3, 4, 5]);
    let kept: Vec<_> = outcomes.iter().map(|o| o.as_ref().ok().copied()).collect();
    let (fine, spare) = (Some(Appended::Fine), Some(Appended::OnSpare));
    assert_eq!(kept, [fine, fine, spare, spare, None]);
    assert!(is_full(&outcomes[4], 5));
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[1, 2, 3, 4]));
}

#[test]
fn answers_that_come_together_reach_a_disk_that_takes_a_few_bytes_at_a_time_whole() {
    let place = Place::new();
    let (mut journal, _disk) = place.open_on_disk(10_000, 0, 7);
    assert!(
        append_all(&mut journal, &[1, 2, 3])
            .iter()
            .all(Result::is_ok)
    );
    assert_eq!(place.content(), file_of(&[1, 2, 3]));
}

#[test]
fn half_a_group_that_cannot_be_cut_off_is_never_followed_by_another_line() {
    let place = Place::new();
    let length = line_of(1).len();
    let (mut journal, disk) = place.open_on_disk(length + 20, 0, usize::MAX);
    disk.cannot_cut.store(true, Ordering::Relaxed);
    let outcomes = append_all(&mut journal, &[1, 2]);
    assert!(
        outcomes
            .iter()
            .all(|o| matches!(o, Err(AppendError::Write { .. })))
    );
    disk.cannot_cut.store(false, Ordering::Relaxed);
    *disk.room.lock().unwrap() = 10_000;
    assert!(append_all(&mut journal, &[3, 4]).iter().all(Result::is_ok));
    journal.close().unwrap();
    assert_eq!(place.content(), file_of(&[3, 4]));
}

#[test]
fn large_answers_that_come_together_are_written_one_by_one() {
    let place = Place::new();
    let (mut journal, disk) = place.open_on_disk(10 << 20, 0, usize::MAX);
    let body = format!("\"{}\"", "x".repeat(TOGETHER_MAX_BYTES / 2));
    let answer = Answer {
        fingerprint: fp(1),
        custom_id: "row",
        status_code: 200,
        request_id: None,
        body: body.as_bytes(),
    };
    assert!(journal.append_all(&[answer; 3]).iter().all(Result::is_ok));
    assert_eq!(disk.writes.load(Ordering::Relaxed), 3);
    journal.close().unwrap();
    assert_eq!(place.recover().answers, 3);
}
