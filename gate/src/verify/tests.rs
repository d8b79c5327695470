use bigquery::Row as Columns;
use contract::{
    Chain, Content, Envelope, Epoch, MacKey, Proof,
    checkpoint::{Claims, EpochClaim, Link, SigningKeys, VerifyingKeys, row_link},
    record_hash,
};
use prost::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    audit::{Audit, Place, Window},
    epoch::Open,
    parts, record,
    report::{Class, Report},
    table::Hour,
};
use crate::access::{exact_time, moment};

const MINUTE: i64 = 60_000_000;
/// The day that is verified begins here.
const FROM: i64 = 1_800_000_000_000_000;
const TO: i64 = FROM + 60 * MINUTE;
const KEYS: &str = "c1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEYS: &str = "c1:HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A row of the table: column → value as the query gives it.
type Cells = Vec<(String, Option<String>)>;

/// A worker.
struct Worker {
    chain: Chain,
    name: String,
}

/// A record on its way to a sink.
#[derive(Clone)]
struct Sent(Vec<u8>);

impl Worker {
    fn new(number: u8) -> Self {
        let epoch = Epoch([number; 16]);
        Self {
            chain: Chain::new(epoch),
            name: epoch.to_string(),
        }
    }

    fn record(&mut self, envelope: Envelope) -> Sent {
        let content = Content {
            request_content: Some("{\"prompt\":\"hello\"}".into()),
            response_content: None,
        };
        Sent(self.chain.seal(envelope, &content, &seal()).bytes)
    }

    fn close(&mut self) -> Sent {
        self.record(Envelope {
            kind: Some("close".into()),
            person: Some("ana".into()),
            status: Some(200),
            findings: Some("[{\"detector\":\"aws\",\"offset\":7}]".into()),
            reason: Some(String::new()),
            ..Envelope::default()
        })
    }

    fn closes(&mut self, number: usize) -> Vec<Sent> {
        (0..number).map(|_| self.close()).collect()
    }

    fn of_kind(&mut self, kind: &str, reason: &str) -> Sent {
        self.record(Envelope {
            kind: Some(kind.into()),
            reason: Some(reason.into()),
            unacknowledged: (kind == "heartbeat").then_some(2),
            ..Envelope::default()
        })
    }

    fn open(&mut self) -> Sent {
        self.record(Envelope {
            kind: Some("open".into()),
            decision_id: Some("gd_1".into()),
            person: Some("ana".into()),
            event_at: Some(FROM),
            ..Envelope::default()
        })
    }

    fn close_of(&mut self, open_seq: i64) -> Sent {
        self.record(Envelope {
            kind: Some("close".into()),
            open_seq: Some(open_seq),
            ..Envelope::default()
        })
    }
}

fn seal() -> MacKey {
    MacKey::new("k1", &[7; 32])
}

/// A sink and its rows in the table.
struct Table {
    sink_id: String,
    keys: SigningKeys,
    rows: Vec<Cells>,
    link: Option<Link>,
    next: u64,
    now: i64,
    since: u64,
    tokens: Vec<(u64, i64, String)>,
    epochs: Vec<EpochClaim>,
}

impl Table {
    fn new(number: u8) -> Self {
        Self {
            sink_id: data_encoding::HEXLOWER.encode(&[number; 16]),
            keys: SigningKeys::read(KEYS).unwrap(),
            rows: Vec::new(),
            link: None,
            next: 0,
            now: FROM + MINUTE,
            since: 0,
            tokens: Vec::new(),
            epochs: Vec::new(),
        }
    }

    fn take(&mut self, records: &[Sent]) {
        for Sent(bytes) in records {
            let envelope = Envelope::decode(bytes.as_slice()).unwrap();
            let hash = Proof::decode(bytes.as_slice()).unwrap().hash().to_vec();
            self.store(bytes);
            if envelope.epoch.is_none() {
                continue;
            }
            let (name, seq) = (envelope.epoch(), envelope.seq());
            let place = self.epochs.iter().position(|claim| claim.epoch == name);
            let place = place.unwrap_or_else(|| {
                self.epochs.push(EpochClaim {
                    epoch: name.to_owned(),
                    ..EpochClaim::default()
                });
                self.epochs.len() - 1
            });
            let claim = &mut self.epochs[place];
            if seq == claim.next {
                claim.next += 1;
                claim.hash = Some(data_encoding::HEXLOWER.encode(&hash));
            }
        }
    }

    /// What the sink writes itself.
    fn own(&mut self, envelope: &Envelope) {
        let mut bytes = envelope.encode_to_vec();
        let proof = Proof {
            hash: Some(record_hash(&[], &bytes)),
            envelope: Some(bytes.clone()),
            ..Proof::default()
        };
        bytes.extend(proof.encode_to_vec());
        self.store(&bytes);
    }

    fn store(&mut self, bytes: &[u8]) {
        let cells = cells(bytes, &self.sink_id, self.next, self.now);
        let hash = Proof::decode(bytes).unwrap().hash().to_vec();
        let link = row_link(self.link.as_ref(), self.next, self.now, &hash);
        self.link = Some(link);
        self.rows.push(cells);
        self.next += 1;
    }

    fn checkpoint(&mut self) {
        let claims = Claims {
            sink_id: self.sink_id.clone(),
            rows: self.next,
            since: self.since,
            link: self
                .link
                .map_or(String::new(), |link| data_encoding::HEXLOWER.encode(&link)),
            received_at: self.now,
            tombstones: 0,
            epochs: self.epochs.clone(),
        };
        let seconds = u64::try_from(self.now / 1_000_000).unwrap();
        let token = self.keys.sign(claims, Some("acme"), seconds).unwrap();
        self.tokens.push((self.next, self.now, token.clone()));
        self.own(&Envelope {
            kind: Some("checkpoint".into()),
            checkpoint: Some(token),
            ..Envelope::default()
        });
    }

    /// Time goes on.
    fn later(&mut self, micros: i64) {
        self.now += micros;
    }

    fn set(&mut self, row: usize, column: &str, value: Option<&str>) {
        let cells = &mut self.rows[row];
        let cell = cells.iter_mut().find(|(name, _)| name == column).unwrap();
        cell.1 = value.map(str::to_owned);
    }

    fn get(&self, row: usize, column: &str) -> Option<String> {
        let cells = &self.rows[row];
        cells
            .iter()
            .find(|(name, _)| name == column)
            .unwrap()
            .1
            .clone()
    }
}

/// A row's columns, as they are asked for.
fn cells(bytes: &[u8], sink_id: &str, sink_seq: u64, received_at: i64) -> Cells {
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let proof = Proof::decode(bytes).unwrap();
    let content = Content::decode(bytes).unwrap();
    let envelope = Envelope::decode(bytes).unwrap();
    let digest = |text: &Option<String>| text.as_ref().map(|text| base64(&Sha256::digest(text)));
    let value = |name: &str| match name {
        "received_at" => Some(received_at.to_string()),
        "sink_id" => Some(sink_id.to_owned()),
        "sink_seq" => Some(sink_seq.to_string()),
        "envelope" => proof.envelope.as_deref().map(base64),
        "prev_hash" => proof.prev_hash.as_deref().map(base64),
        "hash" => proof.hash.as_deref().map(base64),
        "mac" => proof.mac.as_deref().map(base64),
        "mac_key_id" => proof.mac_key_id.clone(),
        "request_content" => digest(&content.request_content),
        "response_content" => digest(&content.response_content),
        "version" => envelope.version.map(|number| number.to_string()),
        "kind" => envelope.kind.clone(),
        "epoch" => envelope.epoch.clone(),
        "seq" => envelope.seq.map(|number| number.to_string()),
        "event_at" => envelope.event_at.map(|number| number.to_string()),
        "decision_id" => envelope.decision_id.clone(),
        "person" => envelope.person.clone(),
        "reason" => envelope.reason.clone(),
        "decision" => envelope.decision.clone(),
        "directive" => envelope.directive.clone(),
        "status" => envelope.status.map(|number| number.to_string()),
        // BigQuery writes JSON in its own way.
        "findings" => envelope.findings.as_ref().map(|text| {
            let value: Value = serde_json::from_str(text).unwrap();
            serde_json::to_string_pretty(&value).unwrap()
        }),
        "open_seq" => envelope.open_seq.map(|number| number.to_string()),
        "unacknowledged" => envelope.unacknowledged.map(|number| number.to_string()),
        "checkpoint" => envelope.checkpoint.clone(),
        "request_content_sha256" => envelope.request_content_sha256.as_deref().map(base64),
        _ => None,
    };
    let columns = contract::columns().into_iter();
    columns
        .map(|column| (column.name.clone(), value(&column.name)))
        .collect()
}

struct Case {
    window: Window,
    keys: Option<&'static str>,
    seals: Vec<MacKey>,
    /// Tokens of the second copy.
    file: Vec<String>,
    /// What is known of the time before.
    before: Option<u64>,
    epochs_before: Vec<(String, i64)>,
    open_before: Vec<(String, i64)>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            window: Window {
                from: FROM,
                to: TO,
                horizon: TO + 5 * MINUTE,
                settle: 5 * MINUTE,
                silence: MINUTE,
            },
            keys: Some(KEYS),
            seals: Vec::new(),
            file: Vec::new(),
            before: None,
            epochs_before: Vec::new(),
            open_before: Vec::new(),
        }
    }
}

impl Case {
    fn verify(&self, tables: &[&Table]) -> Report {
        let keys = self.keys.map(|keys| {
            let keys = SigningKeys::read(keys).unwrap();
            VerifyingKeys::read(&keys.published().join("\n")).unwrap()
        });
        let mut audit = Audit::new(self.window, keys);
        for table in tables {
            for cells in &table.rows {
                let of = |name: &str| cells.iter().find(|cell| cell.0 == name).unwrap().1.clone();
                if of("kind").as_deref() == Some("checkpoint") {
                    let place = Place::Table {
                        sink_id: of("sink_id").unwrap(),
                        sink_seq: of("sink_seq").unwrap().parse().unwrap(),
                        received_at: of("received_at").unwrap().parse().unwrap(),
                    };
                    audit.checkpoint(&of("checkpoint").unwrap_or_default(), &place);
                }
            }
        }
        for (line, token) in (1..).zip(&self.file) {
            audit.checkpoint(token, &Place::File(line));
        }
        let columns = contract::columns();
        let rows = tables.iter().flat_map(|table| &table.rows);
        let orders = rows.filter_map(|cells| {
            let row: Columns = cells.iter().cloned().collect();
            record::order(&record::read(&row, &columns, &self.seals)?)
        });
        audit.orders(orders.collect());
        let _lead_ins = audit.start();
        for table in tables {
            if audit.unanchored(&table.sink_id) {
                audit.before(&table.sink_id, self.before);
            }
        }
        for (name, seq) in &self.open_before {
            audit.open_before(name, *seq, Open::default());
        }
        let mut rows: Vec<Columns> = tables
            .iter()
            .flat_map(|table| &table.rows)
            .map(|cells| cells.iter().cloned().collect())
            .collect();
        rows.sort_by_key(|row| {
            let seq = row.int64("sink_seq");
            (row.text("sink_id").map(str::to_owned), seq)
        });
        for row in &rows {
            audit.row(record::read(row, &columns, &self.seals).as_ref());
        }
        for name in audit.unanchored_epochs() {
            if let Some((_, last)) = self.epochs_before.iter().find(|known| known.0 == name) {
                audit.epoch_before(&name, *last);
            }
        }
        audit.finish()
    }
}

/// Class of a finding, and its places in sink and epoch.
type Found = (Class, Option<(u64, u64)>, Option<(i64, i64)>);

fn found(report: &Report) -> Vec<Found> {
    let findings = report.findings.iter();
    findings
        .map(|finding| (finding.class, finding.sink_seq, finding.seq))
        .collect()
}

fn classes(report: &Report) -> Vec<Class> {
    report
        .findings
        .iter()
        .map(|finding| finding.class)
        .collect()
}

/// One sink, one worker of an earlier version, 6 records, signed.
fn plain() -> (Table, Worker) {
    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    table.take(&worker.closes(3));
    table.checkpoint();
    table.later(MINUTE);
    table.take(&worker.closes(3));
    table.checkpoint();
    (table, worker)
}

/// The same with a worker that says that it lives.
fn lively() -> (Table, Worker) {
    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    table.take(&[
        worker.of_kind("epoch", "start"),
        worker.open(),
        worker.close_of(1),
    ]);
    table.checkpoint();
    (table, worker)
}

#[test]
fn a_whole_table_is_complete() {
    let (table, _) = plain();
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
    assert_eq!(
        (
            report.counts.rows,
            report.counts.checkpoints,
            report.counts.epochs
        ),
        (8, 2, 1)
    );
    let sealed = Case {
        seals: vec![seal()],
        ..Case::default()
    };
    let report = sealed.verify(&[&table]);
    assert!(report.complete() && report.notes.is_empty(), "{report:?}");
    let text = report.text("p.d");
    assert!(text.contains("Complete:"), "{text}");
    assert_eq!(report.document(&Value::Null)["verdict"], "complete");
}

#[test]
fn restarts_of_every_part_and_late_records_are_no_finding() {
    let (mut table, mut second) = (Table::new(1), Table::new(2));
    let (mut one, mut two) = (Worker::new(1), Worker::new(2));
    let mut records = vec![one.of_kind("epoch", "start"), one.open()];
    records.extend(one.closes(4));
    records.push(one.close_of(1));
    records.push(one.of_kind("epoch", "end"));
    // Resent: out of order, and some to another sink, or to both.
    let order = [0, 3, 2, 6, 4];
    table.take(&order.map(|place| records[place].clone()));
    table.checkpoint();
    table.later(MINUTE);
    second.take(&[records[1].clone(), records[4].clone()]);
    second.checkpoint();
    table.take(&[records[5].clone(), records[7].clone()]);
    table.own(&Envelope {
        kind: Some("bare".into()),
        status: Some(503),
        ..Envelope::default()
    });
    table.checkpoint();
    table.later(20 * MINUTE);
    table.take(&[
        two.of_kind("epoch", "start"),
        two.close(),
        two.of_kind("epoch", "end"),
    ]);
    table.checkpoint();
    let report = Case::default().verify(&[&table, &second]);
    assert!(report.complete(), "{:?}", report.findings);
    assert_eq!(report.counts.repeats, 1);
}

#[test]
fn a_row_that_is_gone_is_a_gap_in_sink_and_epoch() {
    let (mut table, _) = plain();
    table.rows.remove(1);
    let report = Case::default().verify(&[&table]);
    let expected = [
        (Class::Gap, Some((1, 1)), None),
        (Class::Gap, None, Some((1, 1))),
    ];
    assert_eq!(found(&report), expected);
}

#[test]
fn a_record_that_no_sink_took_is_a_gap_in_its_epoch() {
    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    let mut records = worker.closes(5);
    records.remove(2);
    table.take(&records);
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Gap, None, Some((2, 2)))]);
}

#[test]
fn the_first_records_of_a_sink_and_an_epoch_may_be_missing_too() {
    let (mut table, _) = plain();
    table.rows.drain(..2);
    let report = Case::default().verify(&[&table]);
    let expected = [
        (Class::Gap, Some((0, 1)), None),
        (Class::Gap, None, Some((0, 1))),
    ];
    assert_eq!(found(&report), expected);
}

#[test]
fn a_changed_value_anywhere_is_found() {
    let changes: [(usize, &str, Option<&str>); 14] = [
        (0, "person", Some("bo")),
        (0, "person", None),
        (0, "decision_id", Some("gd_2")),
        (0, "status", Some("403")),
        (0, "event_at", Some("7")),
        (0, "findings", Some("[]")),
        (0, "findings", None),
        (0, "kind", Some("open")),
        (0, "epoch", Some("02")),
        (0, "request_content", Some("AAAA")),
        (0, "response_content", Some("AAAA")),
        (0, "envelope", Some("AAAA")),
        (0, "hash", Some("AAAA")),
        (1, "prev_hash", Some("AAAA")),
    ];
    for (row, column, value) in changes {
        let (mut table, _) = plain();
        table.set(row, column, value);
        let report = Case::default().verify(&[&table]);
        assert!(
            classes(&report).contains(&Class::Altered),
            "{column}: {report:?}"
        );
        let first = report.findings.first().unwrap();
        let place = row as u64;
        assert_eq!(first.sink_seq, Some((place, place)), "{column}");
    }
}

#[test]
fn values_in_bigquerys_own_form_are_the_same() {
    let (mut table, _) = plain();
    table.set(
        0,
        "findings",
        Some("[{\"offset\": 7.0, \"detector\": \"aws\"}]"),
    );
    table.set(0, "prev_hash", None); // an empty one
    table.set(0, "reason", None);
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
}

fn order(kind: &str, id: &str) -> Envelope {
    let more = match kind {
        "release" => json!({}),
        _ => json!({ "person": "ana", "from": FROM }),
    };
    let mut order = json!({ "kind": kind, "order": id, "reason": "asked" });
    let object = order.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    Envelope {
        kind: Some("order".into()),
        decision: Some(kind.into()),
        person: Some("dpo".into()),
        directive: Some(order.to_string()),
        ..Envelope::default()
    }
}

/// Three records of ana, then these orders, a second after each other, and their checkpoint.
fn ordered(orders: &[Envelope]) -> Table {
    let mut table = Table::new(1);
    table.take(&Worker::new(1).closes(3));
    for order in orders {
        table.later(1_000_000);
        table.own(order);
    }
    table.later(1_000_000);
    table.checkpoint();
    table
}

#[test]
fn content_erased_by_order_is_no_finding_and_told() {
    let mut table = ordered(&[order("erase", "DPO-1")]);
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
    table.set(0, "request_content", None);
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
    assert_eq!(report.counts.erased, 1);
    let notes = &report.notes;
    assert!(notes.len() == 1 && notes[0].contains("erased"), "{notes:?}");
}

#[test]
fn content_taken_away_without_a_right_to_it_is_altered() {
    let other = Envelope {
        directive: Some(
            "{\"kind\":\"erase\",\"order\":\"E\",\"person\":\"bo\",\"reason\":\"r\"}".into(),
        ),
        ..order("erase", "E")
    };
    let of_filter = Envelope {
        epoch: Some("00".repeat(16)),
        ..order("erase", "E")
    };
    let refused = Envelope {
        decision: Some("deny".into()),
        ..order("erase", "E")
    };
    let (hold, erase, release) = (
        order("hold", "H"),
        order("erase", "E"),
        order("release", "H"),
    );
    let without = "without an order";
    let cases = [
        ("no order", vec![], without),
        ("of somebody else", vec![other], without),
        ("not of a sink", vec![of_filter], without),
        ("not taken", vec![refused], without),
        (
            "held",
            vec![hold.clone(), erase.clone()],
            "hold H was in force when order E",
        ),
        (
            "released later",
            vec![hold, erase, release],
            "hold H was in force",
        ),
    ];
    for (name, orders, word) in cases {
        let mut table = ordered(&orders);
        table.set(1, "request_content", None);
        let report = Case::default().verify(&[&table]);
        let found: Vec<_> = report
            .findings
            .iter()
            .filter(|it| it.sink_seq == Some((1, 1)))
            .collect();
        assert_eq!(found.len(), 1, "{name}: {:?}", report.findings);
        assert_eq!(found[0].class, Class::Altered, "{name}");
        assert!(found[0].sentence.contains(word), "{name}: {:?}", found[0]);
        assert_eq!(report.counts.erased, 0, "{name}");
    }
}

#[test]
fn an_order_that_was_changed_gives_no_right() {
    let mut table = ordered(&[order("erase", "E")]);
    table.set(1, "request_content", None);
    table.set(3, "directive", Some("{\"kind\":\"erase\"}"));
    let report = Case::default().verify(&[&table]);
    assert_eq!(report.findings.len(), 2, "{:?}", report.findings);
    assert!(report.findings.iter().all(|it| it.class == Class::Altered));
}

#[test]
fn an_order_of_another_time_is_told() {
    let mut table = ordered(&[]);
    table.later(24 * 60 * MINUTE);
    table.own(&order("erase", "DPO-1"));
    table.later(1_000_000);
    table.checkpoint();
    table.set(0, "request_content", None);
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
    let told = |note: &String| note.contains("Order DPO-1, by which 1 of these");
    assert!(report.notes.iter().any(told), "{:?}", report.notes);
}

#[test]
fn a_record_of_the_forgers_own_making_does_not_fit_its_neighbours() {
    let (mut table, _) = plain();
    let mut forger = Worker::new(1);
    forger.close();
    let forged = forger.record(Envelope {
        kind: Some("close".into()),
        person: Some("bo".into()),
        ..Envelope::default()
    });
    table.rows[1] = cells(
        &forged.0,
        &table.sink_id,
        1,
        table.get(1, "received_at").unwrap().parse().unwrap(),
    );
    let report = Case::default().verify(&[&table]);
    let expected = [
        (Class::Reordered, Some((0, 2)), None),
        (Class::Reordered, None, Some((2, 2))),
    ];
    let mut there = found(&report);
    there.sort_by_key(|finding| finding.1.is_none());
    assert_eq!(there, expected);
    let foreign = Case {
        seals: vec![MacKey::new("k1", &[8; 32])],
        ..Case::default()
    };
    let classes = classes(&foreign.verify(&[&table]));
    assert!(
        classes.contains(&Class::Altered),
        "the seal is checked with its key"
    );
}

#[test]
fn the_last_record_before_a_checkpoint_cannot_be_exchanged() {
    let (mut table, _) = plain();
    let mut forger = Worker::new(1);
    let mut forged = forger.closes(5);
    forged.push(forger.record(Envelope {
        kind: Some("close".into()),
        person: Some("bo".into()),
        ..Envelope::default()
    }));
    let at = table.get(6, "received_at").unwrap().parse().unwrap();
    table.rows[6] = cells(&forged[5].0, &table.sink_id, 6, at);
    let report = Case::default().verify(&[&table]);
    assert_eq!(classes(&report), [Class::Reordered, Class::Altered]);
}

#[test]
fn rows_that_changed_places_are_reordered() {
    let (mut table, _) = plain();
    table.set(0, "sink_seq", Some("1"));
    table.set(1, "sink_seq", Some("0"));
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Reordered, Some((0, 2)), None)]);

    let (mut table, _) = plain();
    let moved = (FROM + 1).to_string();
    table.set(1, "received_at", Some(&moved));
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Reordered, Some((0, 1)), None)]);

    let (mut table, _) = plain();
    let moved = (FROM + MINUTE - 1).to_string();
    table.set(0, "received_at", Some(&moved));
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Reordered, Some((0, 2)), None)]);
}

#[test]
fn rows_cut_off_at_the_end_show_against_a_checkpoint() {
    let (mut table, _) = plain();
    let tokens: Vec<String> = table.tokens.iter().map(|token| token.2.clone()).collect();
    // All from row 5 on, with the checkpoint that covers it.
    table.rows.truncate(5);
    let alone = Case::default().verify(&[&table]);
    assert_eq!(
        found(&alone),
        [(Class::Unsigned, Some((4, 4)), None)],
        "the table alone"
    );
    let with_file = Case {
        file: tokens,
        ..Case::default()
    };
    let report = with_file.verify(&[&table]);
    let expected = [
        (Class::Truncated, Some((5, 6)), None),
        (Class::Truncated, None, Some((4, 5))),
    ];
    assert_eq!(found(&report), expected);
    table.rows.clear();
    let report = with_file.verify(&[&table]);
    assert_eq!(report.findings[0].sink_seq, Some((0, 6)), "the whole sink");
}

#[test]
fn without_a_valid_checkpoint_rows_are_unsigned() {
    let (mut table, mut worker) = plain();
    table.take(&worker.closes(2));
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Unsigned, Some((8, 9)), None)]);

    let (mut table, mut worker) = plain();
    table.now = TO - MINUTE;
    table.checkpoint();
    table.take(&worker.closes(2));
    let young = Case {
        window: Window {
            horizon: TO,
            ..Case::default().window
        },
        ..Case::default()
    };
    let report = young.verify(&[&table]);
    assert!(
        report.complete(),
        "young rows may wait: {:?}",
        report.findings
    );

    let (table, _) = plain();
    for (keys, word) in [
        (OTHER_KEYS, "does not verify"),
        (
            "c2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "unknown key c1",
        ),
    ] {
        let other = Case {
            keys: Some(keys),
            ..Case::default()
        };
        let report = other.verify(&[&table]);
        assert!(
            classes(&report)
                .iter()
                .all(|class| *class == Class::Unsigned)
        );
        assert!(
            report.findings[0].sentence.contains(word),
            "{:?}",
            report.findings
        );
        assert_eq!(report.findings.last().unwrap().sink_seq, Some((0, 7)));
    }
    let none = Case {
        keys: None,
        ..Case::default()
    };
    assert_eq!(classes(&none.verify(&[&table])), [Class::Unsigned]);
}

#[test]
fn a_number_that_stands_twice_is_an_alarm_unless_two_sinks_took_the_record() {
    let (mut table, _) = plain();
    let copy = table.rows[1].clone();
    table.rows.push(copy);
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Doubled, Some((1, 1)), None)]);

    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    let records = worker.closes(2);
    table.take(&[records[0].clone(), records[1].clone(), records[1].clone()]);
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert_eq!(
        found(&report),
        [(Class::Doubled, Some((2, 2)), Some((1, 1)))]
    );

    let mut other = Worker::new(1);
    other.close();
    let different = other.record(Envelope::default());
    let (mut one, mut two) = (Table::new(1), Table::new(2));
    one.take(&records);
    one.checkpoint();
    two.take(&[different]);
    two.checkpoint();
    let report = Case::default().verify(&[&one, &two]);
    assert_eq!(
        found(&report),
        [(Class::Doubled, Some((0, 0)), Some((1, 1)))]
    );
}

#[test]
fn an_exchange_whose_worker_is_gone_has_no_close() {
    let (mut table, mut worker) = lively();
    let open = worker.open();
    table.take(&[open, worker.of_kind("epoch", "end")]);
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert_eq!(
        found(&report),
        [(Class::OpenWithoutClose, None, Some((3, 3)))]
    );
    let finding = &report.document(&Value::Null)["findings"][0];
    assert_eq!(
        (&finding["person"], &finding["decision_id"]),
        (&Value::from("ana"), &Value::from("gd_1"))
    );

    // Of a worker that lives at the end of the window nothing can be said yet.
    let (mut table, mut worker) = lively();
    table.take(&[worker.open()]);
    table.now = TO + 4 * MINUTE + 30_000_000;
    table.take(&[worker.of_kind("heartbeat", "")]);
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
}

#[test]
fn an_exchange_from_before_the_window_is_told_when_its_worker_dies_in_it() {
    let (mut table, mut worker) = lively();
    table.take(&[worker.of_kind("epoch", "end")]);
    table.checkpoint();
    let case = Case {
        open_before: vec![(worker.name.clone(), 1_000)],
        ..Case::default()
    };
    assert_eq!(classes(&case.verify(&[&table])), [Class::OpenWithoutClose]);
}

#[test]
fn a_worker_that_fell_silent_may_have_held_records() {
    let (mut table, mut worker) = lively();
    table.take(&[worker.of_kind("heartbeat", "")]);
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert_eq!(
        found(&report),
        [(Class::EndedWithoutEnd, None, Some((3, 3)))]
    );
    let sentence = &report.findings[0].sentence;
    assert!(
        sentence.contains("2 records were not durable"),
        "{sentence}"
    );
    assert_eq!(worker.name, report.findings[0].epoch.clone().unwrap());
}

#[test]
fn a_worker_that_fell_silent_when_it_had_nothing_to_do_lost_nothing() {
    let (mut table, mut worker) = lively();
    table.take(&[worker.of_kind("heartbeat", "idle")]);
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert_eq!(classes(&report), []);
    assert!(
        report.notes[0].contains("with nothing open"),
        "{:?}",
        report.notes
    );

    let (mut table, mut worker) = lively();
    table.take(&[worker.of_kind("heartbeat", "idle"), worker.open()]);
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert_eq!(
        classes(&report),
        [Class::EndedWithoutEnd, Class::OpenWithoutClose]
    );
}

#[test]
fn what_could_not_be_stored_is_told_and_the_chain_holds() {
    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    let records = worker.closes(3);
    table.take(&records);
    table.checkpoint();
    let (was, _) = contract::open(&records[1].0, &[seal()]).unwrap();
    let envelope = Envelope {
        kind: Some("tombstone".into()),
        reason: Some("rejected".into()),
        epoch: was.epoch,
        seq: was.seq,
        ..Envelope::default()
    };
    let mut bytes = envelope.encode_to_vec();
    let proof = Proof {
        hash: Proof::decode(records[1].0.as_slice()).unwrap().hash,
        envelope: Some(bytes.clone()),
        ..Proof::default()
    };
    bytes.extend(proof.encode_to_vec());
    table.rows[1] = cells(&bytes, &table.sink_id, 1, table.now);
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Tombstone, Some((1, 1)), None)]);
    assert_eq!(
        report.document(&Value::Null)["findings"][0]["reason"],
        "rejected"
    );
}

#[test]
fn a_proof_that_is_gone_does_not_pass_for_one_of_an_earlier_version() {
    let (mut table, _) = plain();
    table.own(&Envelope {
        kind: Some("bare".into()),
        ..Envelope::default()
    });
    table.checkpoint();
    for column in ["envelope", "hash"] {
        table.set(8, column, None);
    }
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Altered, Some((8, 8)), None)]);
}

#[test]
fn rows_from_before_the_chain_are_no_finding() {
    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    table.take(&worker.closes(2));
    table.own(&Envelope {
        kind: Some("bare".into()),
        ..Envelope::default()
    });
    for column in ["envelope", "hash"] {
        table.set(2, column, None);
    }
    (table.link, table.since) = (None, 3);
    table.take(&worker.closes(2));
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);

    table.set(3, "sink_seq", Some("4"));
    table.set(4, "sink_seq", Some("3"));
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Reordered, Some((3, 4)), None)]);
}

/// A day whose sink and worker began on the day before.
fn second_day() -> (Table, Worker) {
    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    table.now = FROM - 2 * MINUTE;
    table.take(&worker.closes(3));
    table.checkpoint();
    table.now = FROM - 1;
    table.take(&worker.closes(2)); // after the checkpoint and before the window
    table.now = FROM + MINUTE;
    table.take(&worker.closes(2));
    table.checkpoint();
    (table, worker)
}

#[test]
fn a_window_is_anchored_at_the_checkpoint_before_it() {
    let (table, _) = second_day();
    let report = Case::default().verify(&[&table]);
    assert!(report.complete() && report.notes.is_empty(), "{report:?}");
    assert_eq!(report.counts.rows, 3);

    // What is missing between the two is found, with the first rows of the window.
    let (mut table, _) = second_day();
    table.rows.drain(4..7);
    let report = Case::default().verify(&[&table]);
    let expected = [
        (Class::Gap, Some((4, 6)), None),
        (Class::Gap, None, Some((3, 5))),
    ];
    assert_eq!(found(&report), expected);

    let (mut table, _) = second_day();
    table.rows.truncate(4);
    let file = Case {
        file: table.tokens.iter().map(|token| token.2.clone()).collect(),
        ..Case::default()
    };
    let report = file.verify(&[&table]);
    assert_eq!(classes(&report), [Class::Truncated, Class::Truncated]);
}

#[test]
fn without_a_checkpoint_before_the_window_the_table_says_where_it_begins() {
    let (mut table, worker) = second_day();
    table.rows.drain(..6);
    let case = Case {
        before: Some(5),
        epochs_before: vec![(worker.name.clone(), 4)],
        ..Case::default()
    };
    let report = case.verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
    table.rows.remove(0);
    let report = case.verify(&[&table]);
    assert_eq!(found(&report)[0], (Class::Gap, Some((6, 6)), None));
}

#[test]
fn holes_are_closed_by_what_comes_right_after_the_window() {
    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    let records = worker.closes(3);
    table.now = TO - 1;
    table.take(&[records[0].clone(), records[2].clone()]);
    table.now = TO + MINUTE;
    table.take(&[records[1].clone()]);
    table.checkpoint();
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
}

#[test]
fn a_row_from_elsewhere_in_the_window_is_found() {
    let (mut table, _) = second_day();
    let mut copy = table.rows[0].clone();
    for (name, value) in &mut copy {
        if name == "received_at" {
            *value = Some((FROM + 1).to_string());
        }
    }
    table.rows[0] = copy;
    let report = Case::default().verify(&[&table]);
    assert_eq!(found(&report), [(Class::Reordered, Some((0, 0)), None)]);
}

#[test]
fn what_belongs_to_the_window_before_is_not_told_again() {
    let (mut table, mut worker) = (Table::new(1), Worker::new(1));
    table.now = FROM - 2 * MINUTE;
    table.take(&[worker.of_kind("epoch", "start")]);
    table.checkpoint();
    table.now = FROM - 1;
    let records = [worker.open(), worker.close(), worker.close()];
    table.take(&[records[0].clone(), records[2].clone()]);
    table.checkpoint();
    let day_before = Case {
        window: Window {
            from: FROM - 60 * MINUTE,
            to: FROM,
            horizon: FROM + 5 * MINUTE,
            ..Case::default().window
        },
        ..Case::default()
    };
    let there = classes(&day_before.verify(&[&table]));
    let expected = [Class::Gap, Class::EndedWithoutEnd, Class::OpenWithoutClose];
    assert_eq!(there, expected);
    let report = Case::default().verify(&[&table]);
    assert!(report.complete(), "{:?}", report.findings);
}

#[test]
fn two_histories_of_one_sink_are_an_alarm() {
    let (table, _) = plain();
    let mut twin = Table::new(1);
    twin.take(&Worker::new(9).closes(3));
    twin.checkpoint();
    let case = Case {
        file: vec![twin.tokens[0].2.clone()],
        ..Case::default()
    };
    assert_eq!(classes(&case.verify(&[&table])), [Class::Doubled]);
}

#[test]
fn times_are_dates_or_moments() {
    let day = moment("2027-01-15").unwrap();
    assert_eq!(moment("2027-01-15T00:00:00.000001Z"), Ok(day + 1));
    assert_eq!(exact_time(day + 1), "2027-01-15T00:00:00.000001Z");
    for bad in ["", "yesterday", "2027-13-01"] {
        assert!(moment(bad).is_err(), "{bad}");
    }
}

#[test]
fn many_rows_are_asked_for_in_parts_of_whole_hours() {
    let hour = |start: i64, rows: u64| Hour {
        sink_id: "s".into(),
        start,
        rows,
    };
    // The first hour began before the window; two sinks have rows in the second.
    let hours = [
        hour(0, 300_000),
        hour(60, 150_000),
        hour(60, 150_000),
        hour(120, 7),
    ];
    assert_eq!(parts(&hours, 10, 150), [(10, 60), (60, 150)]);
    assert_eq!(parts(&[], 10, 150), [(10, 150)]);
    let large = [hour(0, 900_000), hour(60, 900_000)];
    assert_eq!(parts(&large, 10, 150), [(10, 60), (60, 150)]);
}

#[test]
fn nothing_at_all_is_undecided() {
    let report = Case::default().verify(&[]);
    assert!(report.nothing());
    assert_eq!(report.document(&Value::Null)["verdict"], "undecided");
}
