use std::{fs, io::Read, os::unix::fs::FileExt};

use contract::Envelope;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const ROOMY: Limits = Limits {
    max_bytes: 1 << 40,
    min_free_bytes: 0,
};

fn row(text: &str) -> Vec<u8> {
    Envelope {
        path: Some(text.into()),
        ..Envelope::default()
    }
    .encode_to_vec()
}

fn entry(text: &str) -> Entry {
    Entry {
        row: row(text).into(),
        ..Entry::default()
    }
}

fn placed(epoch: u8, seq: i64) -> Entry {
    Entry {
        place: Some((Epoch([epoch; 16]), seq)),
        hash: hash(seq),
        ..entry(&format!("{epoch}/{seq}"))
    }
}

/// A hash that tells which record it is of.
fn hash(seq: i64) -> Link {
    [u8::try_from(seq + 1).unwrap(); 32]
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// The link after these hashes, the first of which is of row `since`; all arrived at `at`.
fn link_of(since: u64, at: i64, hashes: &[Link]) -> String {
    let rows = (since..).zip(hashes);
    let link = rows.fold(None, |link, (seq, hash)| {
        Some(row_link(link.as_ref(), seq, at, hash))
    });
    hex(&link.unwrap())
}

fn path_of(row: &Bytes) -> String {
    Envelope::decode(row.clone()).unwrap().path().to_owned()
}

fn all(spool: &Spool) -> Vec<(u64, Bytes)> {
    spool
        .read(spool.status().first_unacked, usize::MAX, usize::MAX)
        .unwrap()
}

fn letters(spool: &Spool) -> Vec<DeadLetter> {
    spool.dead_letters().map(Result::unwrap).collect()
}

/// What a crash leaves: a copy of the files while the spool is open. Without the lock file's lock.
fn crash_image(of: &Path) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    copy(of, image.path());
    image
}

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let place = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            fs::create_dir(&place).unwrap();
            copy(&file.path(), &place);
        } else {
            fs::copy(file.path(), place).unwrap();
        }
    }
}

#[test]
fn rows_carry_a_dense_stamp() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.append(&[entry("a"), entry("b")], 1_000).unwrap();
    spool.append(&[entry("c")], 500).unwrap();
    let stamps: Vec<Stamp> = all(&spool)
        .iter()
        .map(|(_, row)| Stamp::decode(row.clone()).unwrap())
        .collect();
    let at: Vec<i64> = stamps.iter().map(Stamp::received_at).collect();
    assert_eq!(
        at,
        [1_000, 1_000, 1_000],
        "time does not go back with the clock"
    );
    assert!(stamps.iter().map(Stamp::sink_seq).eq(0..3));
    assert!(
        stamps
            .iter()
            .all(|stamp| stamp.sink_id() == spool.sink_id())
    );
    let paths: Vec<String> = all(&spool).iter().map(|(_, row)| path_of(row)).collect();
    assert_eq!(
        paths,
        ["a", "b", "c"],
        "the record's own bytes are untouched"
    );
}

#[test]
fn reading_is_bounded_but_always_gives_a_row() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool
        .append(&[entry("a"), entry("b"), entry("c")], 1)
        .unwrap();
    let seqs = |rows: usize, bytes: usize| -> Vec<u64> {
        spool
            .read(0, rows, bytes)
            .unwrap()
            .into_iter()
            .map(|(seq, _)| seq)
            .collect()
    };
    let one = all(&spool)[0].1.len();
    assert_eq!(seqs(9, usize::MAX), [0, 1, 2]);
    assert_eq!(seqs(2, usize::MAX), [0, 1]);
    assert_eq!(seqs(9, 2 * one), [0, 1]);
    assert_eq!(seqs(9, 0), [0]);
    assert!(spool.read(3, 9, 9).unwrap().is_empty());
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Spool::open(folder.path(), ROOMY).unwrap();
    assert!(matches!(
        Spool::open(folder.path(), ROOMY),
        Err(SpoolError::InUse)
    ));
}

#[test]
fn repeats_are_dropped_and_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    let first = [placed(1, 0), placed(1, 2), placed(1, 2), placed(2, 0)];
    assert_eq!(
        spool.append(&first, 1).unwrap(),
        Appended {
            stored: 3,
            repeats: 1
        }
    );
    spool.acknowledge(2).unwrap();
    drop(spool);
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    let second = [
        placed(1, 0),
        placed(1, 1),
        placed(1, 2),
        placed(1, 3),
        placed(2, 0),
    ];
    assert_eq!(
        spool.append(&second, 2).unwrap(),
        Appended {
            stored: 2,
            repeats: 3
        }
    );
    assert!(all(&spool).iter().map(|(seq, _)| *seq).eq(3..5));
}

#[test]
fn a_full_spool_waits_until_rows_are_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        max_bytes: 1,
        ..ROOMY
    };
    let spool = Spool::open(folder.path(), limits).unwrap();
    spool.append(&[entry("first")], 1).unwrap(); // an empty spool takes any group
    let waiting = std::thread::spawn({
        let spool = spool.clone();
        move || spool.append(&[entry("second")], 2)
    });
    while !spool.status().full {
        std::thread::yield_now();
    }
    assert_eq!(spool.status().next_seq, 1);
    spool.acknowledge(0).unwrap();
    waiting.join().unwrap().unwrap();
    assert!(!spool.status().full);
    let rest = all(&spool);
    assert_eq!((rest.len(), path_of(&rest[0].1).as_str()), (1, "second"));
}

#[test]
fn a_disk_without_room_lets_appends_wait() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        min_free_bytes: u64::MAX,
        ..ROOMY
    };
    let spool = Spool::open(folder.path(), limits).unwrap();
    let _waiting = std::thread::spawn({
        let spool = spool.clone();
        move || spool.append(&[entry("a")], 1)
    });
    while !spool.status().full {
        std::thread::yield_now();
    }
    assert_eq!(spool.status().next_seq, 0);
}

#[test]
fn a_rejected_row_becomes_a_dead_letter_and_can_be_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.append(&[entry("good"), entry("bad")], 7).unwrap();
    let before = all(&spool);
    assert!(
        spool
            .quarantine(1, &row("tombstone"), REJECTED, "why")
            .unwrap()
    );
    assert!(
        !spool.quarantine(1, &row("again"), REJECTED, "why").unwrap(),
        "it is a tombstone already"
    );
    let now = all(&spool);
    assert_eq!(path_of(&now[1].1), "tombstone");
    let stamp = |row: &Bytes| Stamp::decode(row.clone()).unwrap();
    assert_eq!(
        stamp(&now[1].1),
        stamp(&before[1].1),
        "number and time stay"
    );
    let letter = DeadLetter {
        sink_seq: 1,
        received_at: 7,
        reason: REJECTED.to_owned(),
        detail: "why".to_owned(),
        bytes: before[1].1.to_vec(),
    };
    assert_eq!(letters(&spool), [letter]);
    drop(spool);
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(spool.status().dead, 1);
    assert!(spool.restore(1).unwrap());
    assert!(!spool.restore(1).unwrap());
    assert_eq!(all(&spool), before);
    assert!(letters(&spool).is_empty());
    assert_eq!(spool.status().dead, 0);
}

#[test]
fn what_never_was_a_row_stays_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    let dead = Entry {
        dead: Some(("bad_seal", vec![1, 2, 3].into())),
        ..entry("tombstone")
    };
    spool.append(&[dead], 7).unwrap();
    assert!(!spool.quarantine(0, &row("other"), REJECTED, "why").unwrap());
    assert!(!spool.restore(0).unwrap());
    spool.acknowledge(0).unwrap();
    let letters = letters(&spool);
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].reason.as_str(), letters[0].bytes.as_slice()),
        ("bad_seal", &[1, 2, 3][..])
    );
}

#[test]
fn a_spool_that_failed_once_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.append(&[entry("a")], 1).unwrap();
    spool.0.dead.insert(key(0), [0xff]).unwrap();
    assert!(matches!(spool.restore(0), Err(SpoolError::Corrupt(_))));
    assert!(spool.failed());
    assert!(matches!(
        spool.append(&[entry("b")], 2),
        Err(SpoolError::Failed)
    ));
    assert!(matches!(spool.acknowledge(0), Err(SpoolError::Failed)));
    assert_eq!(all(&spool).len(), 1, "what is there can still be read");
}

#[test]
fn the_cursor_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(spool.cursor().unwrap(), None);
    let cursor = Cursor {
        stream: "s".into(),
        base_seq: 3,
    };
    spool.set_cursor(&cursor).unwrap();
    let image = crash_image(folder.path());
    let after = Spool::open(image.path(), ROOMY).unwrap();
    assert_eq!(after.cursor().unwrap(), Some(cursor));
    assert_eq!(after.sink_id(), spool.sink_id());
}

#[test]
fn what_bigquery_said_is_kept_up_to_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.append(&[entry("bad")], 7).unwrap();
    let long = "ü".repeat(MAX_DETAIL_BYTES);
    assert!(
        spool
            .quarantine(0, &row("tombstone"), REJECTED, &long)
            .unwrap()
    );
    assert_eq!(letters(&spool)[0].detail.len(), MAX_DETAIL_BYTES);
}

#[test]
fn what_is_durable_of_an_epoch_can_be_told() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    let epoch = Epoch([1; 16]);
    assert_eq!(spool.places(epoch).unwrap(), None);
    let steps: [(&[i64], _); 4] = [
        (&[3], (-1, 3, vec![(0, 2)])),
        (&[0, 1], (1, 3, vec![(2, 2)])),
        (&[7, 5], (1, 7, vec![(2, 2), (4, 4), (6, 6)])),
        (&[6, 4, 2], (7, 7, vec![])),
    ];
    for (seqs, (durable_through, highest, missing)) in steps {
        let entries: Vec<Entry> = seqs.iter().map(|seq| placed(1, *seq)).collect();
        spool.append(&entries, 1).unwrap();
        let expected = Places {
            durable_through,
            highest,
            missing,
        };
        assert_eq!(spool.places(epoch).unwrap(), Some(expected), "{seqs:?}");
    }
    spool.fail(SpoolError::Failed);
    assert!(
        spool.places(epoch).is_err(),
        "nobody knows what reached the disk"
    );
}

#[test]
fn the_chain_goes_on_after_a_crash_and_checkpoints_are_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(
        spool.claims().unwrap(),
        None,
        "nothing to be said of nothing"
    );
    spool.append(&[placed(1, 0), placed(1, 1)], 7).unwrap();
    let image = crash_image(folder.path());
    drop(spool);
    let spool = Spool::open(image.path(), ROOMY).unwrap();
    let claims = spool.claims().unwrap().unwrap();
    assert_eq!((claims.rows, claims.since, claims.received_at), (2, 0, 7));
    assert_eq!(claims.link, link_of(0, 7, &[hash(0), hash(1)]));
    let checkpoint = Entry {
        hash: [99; 32],
        covers: Some(2),
        ..entry("checkpoint")
    };
    spool.append(&[checkpoint], 7).unwrap();
    assert!(!spool.status().uncovered);
    assert_eq!(spool.claims().unwrap(), None, "a checkpoint needs no other");
    drop(spool);
    let spool = Spool::open(image.path(), ROOMY).unwrap();
    assert_eq!(spool.claims().unwrap(), None);
    spool.append(&[placed(1, 1), placed(2, 3)], 7).unwrap();
    let claims = spool.claims().unwrap().unwrap();
    let hashes = [hash(0), hash(1), [99; 32], hash(3)];
    assert_eq!(claims.link, link_of(0, 7, &hashes));
    let epochs: Vec<&str> = claims
        .epochs
        .iter()
        .map(|claim| claim.epoch.as_str())
        .collect();
    assert_eq!(epochs, ["02".repeat(16)], "a repeat is not new");
}

#[test]
fn a_checkpoint_tells_how_far_epochs_are_in_whatever_order_records_came() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    let steps = [
        (vec![3, 4], 0, None, vec![(3, 5)]),
        (vec![0], 1, Some(0), vec![(3, 5)]),
        (vec![1, 7, 2], 5, Some(4), vec![(7, 8)]),
        (vec![6, 5], 8, Some(7), vec![]),
    ];
    for (seqs, next, last, ahead) in steps {
        let entries: Vec<Entry> = seqs.iter().map(|seq| placed(1, *seq)).collect();
        spool.append(&entries, 1).unwrap();
        let expected = EpochClaim {
            epoch: "01".repeat(16),
            next,
            hash: last.map(|last| hex(&hash(last))),
            ahead,
            partial: false,
        };
        assert_eq!(
            spool.claims().unwrap().unwrap().epochs,
            [expected],
            "{seqs:?}"
        );
    }
}

#[test]
fn the_chain_of_an_older_spool_begins_with_its_next_row() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.append(&[placed(1, 0), placed(1, 1)], 7).unwrap();
    // As the version without a chain wrote it.
    let head = Head {
        next_seq: 2,
        bytes: spool.status().bytes,
        received_at: 7,
        ..Head::default()
    };
    let seen = SeenRow {
        next: 2,
        ahead: vec![5, 6],
        ..SeenRow::default()
    };
    spool.0.meta.insert(HEAD, head.encode_to_vec()).unwrap();
    spool
        .0
        .epochs
        .insert([1; 16], seen.encode_to_vec())
        .unwrap();
    drop(spool);
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(spool.claims().unwrap(), None);
    spool.append(&[placed(1, 3)], 7).unwrap();
    let claims = spool.claims().unwrap().unwrap();
    assert_eq!((claims.since, claims.rows), (2, 3));
    assert_eq!(claims.link, link_of(2, 7, &[hash(3)]));
    let claim = &claims.epochs[0];
    assert_eq!((claim.next, &claim.hash), (2, &None), "nobody kept it");
    assert_eq!(claim.ahead, [(3, 4), (5, 6)]);
    drop(spool);
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    assert_eq!(spool.claims().unwrap(), Some(claims));
}

#[test]
fn a_row_that_is_refused_later_leaves_the_chain_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), ROOMY).unwrap();
    spool.append(&[placed(1, 0), placed(1, 1)], 7).unwrap();
    let before = spool.claims().unwrap().unwrap();
    spool
        .quarantine(1, &row("tombstone"), REJECTED, "why")
        .unwrap();
    let after = spool.claims().unwrap().unwrap();
    assert_eq!((&before.link, before.tombstones), (&after.link, 0));
    assert_eq!(after.tombstones, 1);
    spool.restore(1).unwrap();
    assert_eq!(spool.claims().unwrap(), Some(before));
}

/// The spool as it should behave, in memory.
#[derive(Default)]
struct Model {
    rows: Vec<String>,
    first_unacked: usize,
    seen: std::collections::HashSet<(u8, i64)>,
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(u8, i64)>),
    Acknowledge(usize),
    Crash,
    TornWrite,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec((0..3_u8, 0..12_i64), 1..6).prop_map(Step::Append),
        3 => (0..8_usize).prop_map(Step::Acknowledge),
        1 => Just(Step::Crash),
        1 => Just(Step::TornWrite),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn spool_does_what_the_model_does(steps in steps()) {
        let mut folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), ROOMY).unwrap();
        let id = spool.sink_id().to_owned();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append(places) => {
                    let entries: Vec<Entry> = places.iter().map(|(e, s)| placed(*e, *s)).collect();
                    let appended = spool.append(&entries, 1).unwrap();
                    let before = model.rows.len();
                    for (epoch, seq) in &places {
                        if model.seen.insert((*epoch, *seq)) {
                            model.rows.push(format!("{epoch}/{seq}"));
                        }
                    }
                    let stored = model.rows.len() - before;
                    prop_assert_eq!(appended.stored, stored as u64);
                    prop_assert_eq!(appended.repeats, (places.len() - stored) as u64);
                }
                Step::Acknowledge(more) => {
                    let end = (model.first_unacked + more).min(model.rows.len());
                    if end > model.first_unacked {
                        spool.acknowledge(end as u64 - 1).unwrap();
                        model.first_unacked = end;
                    }
                }
                Step::Crash => {
                    let image = crash_image(folder.path());
                    drop(spool);
                    spool = Spool::open(image.path(), ROOMY).unwrap();
                    folder = image;
                }
                Step::TornWrite => {
                    // Part of a group that was being written: nobody was told that it is durable.
                    let image = crash_image(folder.path());
                    let before = journal(image.path());
                    spool.append(&[entry("torn")], 1).unwrap();
                    let after = journal(folder.path()).1;
                    drop(spool);
                    let differs = |place: &usize| before.1[*place] != after[*place];
                    let first = (0..after.len()).find(differs).unwrap();
                    let last = (0..after.len()).rfind(differs).unwrap();
                    let torn = &after[first..first.midpoint(last)];
                    let file = fs::OpenOptions::new().write(true).open(&before.0).unwrap();
                    file.write_all_at(torn, first as u64).unwrap();
                    spool = Spool::open(image.path(), ROOMY).unwrap();
                    folder = image;
                }
                Step::Reopen => {
                    drop(spool);
                    spool = Spool::open(folder.path(), ROOMY).unwrap();
                }
            }
            let rows = all(&spool);
            let waiting = &model.rows[model.first_unacked..];
            prop_assert!(rows.iter().map(|(_, row)| path_of(row)).eq(waiting.iter().cloned()));
            let seqs = model.first_unacked as u64..model.rows.len() as u64;
            prop_assert!(rows.iter().map(|(seq, _)| *seq).eq(seqs.clone()));
            let bytes: usize = rows.iter().map(|(_, row)| row.len()).sum();
            let status = spool.status();
            prop_assert_eq!((status.first_unacked, status.next_seq), (seqs.start, seqs.end));
            prop_assert_eq!(status.bytes, bytes as u64);
            prop_assert_eq!(spool.sink_id(), &id);
        }
    }

    #[test]
    fn seen_places_are_a_set(seqs in prop::collection::vec(0..40_i64, 0..80)) {
        let mut seen = Seen::default();
        let mut model = std::collections::BTreeSet::new();
        for seq in seqs {
            prop_assert_eq!(seen.insert(seq, hash(seq)), model.insert(seq));
            prop_assert_eq!(&Seen::from(SeenRow::from(&seen)), &seen);
            let ahead = seen.ahead.iter().flat_map(|(from, range)| *from..range.end);
            let listed = (0..seen.next).chain(ahead);
            prop_assert!(listed.eq(model.iter().copied()));
            prop_assert!(!seen.ahead.contains_key(&seen.next), "the first range is joined");
            let last = (seen.next > 0).then(|| hash(seen.next - 1));
            prop_assert_eq!(seen.hash, last, "in whatever order they came");
        }
    }
}

/// The one journal of a small spool: its place and its bytes, which are all within the first 128 KiB.
fn journal(of: &Path) -> (PathBuf, Vec<u8>) {
    let mut found: Vec<PathBuf> = fs::read_dir(of)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jnl"))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let path = found.remove(0);
    let mut bytes = Vec::new();
    let file = fs::File::open(&path).unwrap();
    file.take(1 << 17).read_to_end(&mut bytes).unwrap();
    bytes.resize(1 << 17, 0);
    (path, bytes)
}
