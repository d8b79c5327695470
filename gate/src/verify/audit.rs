//! Whether rows are all that were written (pure): checkpoints and rows in, report out.
//!
//! Checkpoints come first, then the rows of each sink in the order of their `sink_seq`. Held in memory
//! are ranges of numbers and a few bytes for each record, never rows.

use std::collections::{BTreeMap, HashMap};

use contract::checkpoint::{Checkpoint, Link, VerifyingKeys, inspect, row_link};

use super::{
    epoch::{Epoch, Open, Placed, Record, link},
    record::Row,
    report::{Class, Finding, Report},
};
use crate::{
    access::exact_time,
    orders::{Orders, Taken},
};

/// Times in microseconds since 1970, or of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// First moment that is verified.
    pub(crate) from: i64,
    /// One past the last.
    pub(crate) to: i64,
    /// One past the last that is looked at: what belongs to the window may arrive after it.
    pub(crate) horizon: i64,
    /// How long rows may wait for a checkpoint, and for BigQuery.
    pub(crate) settle: i64,
    /// How long a worker that lives may be silent.
    pub(crate) silence: i64,
}

impl Window {
    /// What arrived before has to be loaded and signed by now.
    fn due(&self) -> i64 {
        self.to.min(self.horizon.saturating_sub(self.settle))
    }
}

/// Where a checkpoint stands.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Line of the file.
    File(usize),
    /// Row of the table.
    Table {
        sink_id: String,
        sink_seq: u64,
        received_at: i64,
    },
}

/// Where the rows of a sink are to be read from, besides those of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeadIn {
    pub(crate) sink_id: String,
    /// First row.
    pub(crate) sink_seq: u64,
    /// Not later than when it arrived.
    pub(crate) received_at: i64,
}

/// The verification.
pub(crate) struct Audit {
    window: Window,
    keys: Option<VerifyingKeys>,
    sinks: BTreeMap<String, Sink>,
    epochs: HashMap<String, Epoch>,
    orders: Orders,
    /// Orders outside the time that is read, and of how many rows they took the content.
    orders_elsewhere: BTreeMap<(i64, String), u64>,
    report: Report,
    unproven: u64,
    unchained: u64,
    unknown_seals: u64,
}

/// One sink's rows.
#[derive(Default)]
struct Sink {
    /// A small number for it.
    number: u16,
    /// By the number of rows that they cover.
    checkpoints: BTreeMap<u64, Checkpoint>,
    /// The number that the next row should have, if that is known.
    next: Option<u64>,
    /// The link after the row before `next`.
    link: Known,
    /// First row since the link was last found right.
    segment: u64,
    /// Whether something is known to be wrong since then.
    explained: bool,
    last: Option<(u64, i64, Option<Link>)>,
    /// First and last row that no checkpoint covers though it is old.
    unsigned: Option<(u64, u64)>,
    /// What checkpoints of the window cover.
    covered: u64,
}

/// What is known of a sink's last link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    /// This is it.
    Link(Link),
    /// There is none: the chain begins with the next row.
    Start,
    #[default]
    Unknown,
}

impl Known {
    fn of(link: Option<Link>) -> Self {
        link.map_or(Self::Unknown, Self::Link)
    }
}

impl Audit {
    /// Prepares one; without keys checkpoints are read, and no row counts as signed.
    pub(crate) fn new(window: Window, keys: Option<VerifyingKeys>) -> Self {
        Self {
            window,
            keys,
            sinks: BTreeMap::new(),
            epochs: HashMap::new(),
            orders: Orders::default(),
            orders_elsewhere: BTreeMap::new(),
            report: Report::default(),
            unproven: 0,
            unchained: 0,
            unknown_seals: 0,
        }
    }

    /// Says what was ordered; without, nothing was.
    pub(crate) fn orders(&mut self, orders: Orders) {
        self.orders = orders;
    }

    /// Takes a checkpoint, of the window or before it.
    pub(crate) fn checkpoint(&mut self, token: &str, place: &Place) {
        let read = match &self.keys {
            Some(keys) => keys.verify(token),
            None => inspect(token).map(|(_, checkpoint)| checkpoint),
        };
        let checkpoint = match read {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                let finding = match place {
                    Place::File(line) => Finding::new(
                        Class::Unsigned,
                        format!("Line {line} of the file of checkpoints does not count: {error}."),
                    ),
                    Place::Table { received_at, .. } if !self.within(*received_at) => return,
                    Place::Table {
                        sink_id, sink_seq, ..
                    } => Finding::new(
                        Class::Unsigned,
                        format!(
                            "The checkpoint in row {sink_seq} of sink {sink_id} does not count: \
                             {error}."
                        ),
                    )
                    .in_sink(sink_id, *sink_seq, *sink_seq),
                };
                self.report.add(finding);
                return;
            }
        };
        let claims = &checkpoint.claims;
        if let Place::Table {
            sink_id, sink_seq, ..
        } = place
            && (*sink_id != claims.sink_id || *sink_seq < claims.rows)
        {
            let sentence = format!(
                "Row {sink_seq} of sink {sink_id} holds a checkpoint that belongs elsewhere: of sink \
                 {}, behind row {}.",
                claims.sink_id, claims.rows
            );
            let finding = Finding::new(Class::Reordered, sentence);
            self.report
                .add(finding.in_sink(sink_id, *sink_seq, *sink_seq));
        }
        let sink_id = claims.sink_id.clone();
        let sink = self.sinks.entry(sink_id.clone()).or_default();
        if let Some(other) = sink.checkpoints.get(&claims.rows) {
            if other.claims.link != claims.link {
                let sentence = format!(
                    "Sink {sink_id} signed two different histories of its first {} rows: its spool \
                     was copied, or its key is in other hands.",
                    claims.rows
                );
                let last = claims.rows.saturating_sub(1);
                let finding = Finding::new(Class::Doubled, sentence).in_sink(&sink_id, 0, last);
                self.report.add(finding);
            }
            return; // in the table and in the file
        }
        sink.checkpoints.insert(claims.rows, checkpoint);
    }

    /// To be called after the last checkpoint: says where the rows of known sinks begin.
    pub(crate) fn start(&mut self) -> Vec<LeadIn> {
        let from = self.window.from;
        let due = self.window.due();
        let mut lead_ins = Vec::new();
        for (number, (sink_id, sink)) in (0..).zip(&mut self.sinks) {
            sink.number = number;
            let anchor = sink
                .checkpoints
                .values()
                .rev()
                .find(|checkpoint| checkpoint.claims.received_at < from);
            let anchor = anchor.map(|checkpoint| checkpoint.claims.clone());
            let rows = anchor.as_ref().map_or(0, |claims| claims.rows);
            if let Some(claims) = anchor {
                sink.next = Some(rows);
                sink.segment = rows;
                sink.link = Known::of(link(&claims.link));
                lead_ins.push(LeadIn {
                    sink_id: sink_id.clone(),
                    sink_seq: rows,
                    received_at: claims.received_at,
                });
            }
            // What was said last of an epoch before the window still holds at its beginning.
            let mut before = HashMap::new();
            for checkpoint in sink.checkpoints.values() {
                let claims = &checkpoint.claims;
                let covers = claims.received_at < due && claims.received_at >= from;
                if covers {
                    sink.covered = sink.covered.max(claims.rows);
                }
                for claim in &claims.epochs {
                    if claims.rows <= rows {
                        before.insert(claim.epoch.clone(), claim);
                    } else {
                        let epoch = self.epochs.entry(claim.epoch.clone()).or_default();
                        epoch.claim(claim, covers);
                    }
                }
            }
            for (name, claim) in before {
                let epoch = self.epochs.entry(name).or_default();
                epoch.anchor(claim);
                epoch.claim(claim, false);
            }
        }
        self.report.counts.checkpoints = self
            .sinks
            .values()
            .flat_map(|sink| sink.checkpoints.values())
            .filter(|checkpoint| self.within(checkpoint.claims.received_at))
            .count() as u64;
        lead_ins
    }

    /// Whether a sink's rows hang in the air unless [`Audit::before`] says more.
    pub(crate) fn unanchored(&self, sink_id: &str) -> bool {
        self.sinks
            .get(sink_id)
            .is_none_or(|sink| sink.next.is_none())
    }

    /// Says the last row before the window of a sink without a checkpoint there, if it has one.
    pub(crate) fn before(&mut self, sink_id: &str, last: Option<u64>) {
        let number = u16::try_from(self.sinks.len()).unwrap_or(u16::MAX);
        let sink = self.sinks.entry(sink_id.to_owned()).or_insert(Sink {
            number,
            ..Sink::default()
        });
        let next = last.map_or(0, |last| last + 1);
        sink.next = Some(next);
        sink.segment = next;
        sink.link = if next == 0 {
            Known::Start
        } else {
            Known::Unknown
        };
        if next > 0 {
            self.report.notes.push(format!(
                "Sink {sink_id} has no valid checkpoint shortly before the window: order and \
                 completeness of its rows are proven from the first checkpoint in the window on."
            ));
        }
    }

    /// Takes an exchange that began before the rows that are read, and was not closed there.
    pub(crate) fn open_before(&mut self, epoch: &str, seq: i64, open: Open) {
        self.epochs
            .entry(epoch.to_owned())
            .or_default()
            .opens
            .insert(seq, open);
    }

    /// Takes a row. Of one without a place of its own nothing is known but that it is there.
    pub(crate) fn row(&mut self, row: Option<&Row>) {
        let Some(row) = row else {
            let sentence = "A row has no sink_id, sink_seq or received_at.";
            self.report.add(Finding::new(Class::Altered, sentence));
            return;
        };
        if !self.chain(row) {
            return;
        }
        if self.within(row.received_at) {
            self.report.counts.rows += 1;
            if row.erased > 0 {
                self.erased(row);
            }
        }
        let (sink, seq) = (row.sink_id.as_str(), row.sink_seq);
        if !row.faults.is_empty() {
            let faults = row.faults.join("; ");
            let sentence = format!("Row {seq} of sink {sink} was altered: {faults}.");
            let finding = Finding::new(Class::Altered, sentence).in_sink(sink, seq, seq);
            self.report.add(finding.with("faults", row.faults.clone()));
        }
        self.unproven += u64::from(row.unproven);
        self.unknown_seals += u64::from(row.unknown_seal);
        if row.envelope.kind() == "tombstone" && row.received_at < self.window.to {
            let reason = row.envelope.reason();
            let sentence =
                format!("Row {seq} of sink {sink} stands for what could not be stored: {reason}.");
            let finding = Finding::new(Class::Tombstone, sentence).in_sink(sink, seq, seq);
            self.report.add(finding.with("reason", reason));
        }
        self.record(row);
    }

    /// Says by what right a row is without its content.
    fn erased(&mut self, row: &Row) {
        let (sink, seq) = (row.sink_id.as_str(), row.sink_seq);
        let envelope = &row.envelope;
        let taken = self
            .orders
            .taken(envelope.person(), envelope.issuer(), row.received_at);
        let sentence = match taken {
            Taken::ByOrder(order) => {
                self.report.counts.erased += 1;
                if !(self.window.from..self.window.horizon).contains(&order.received_at) {
                    let place = (order.received_at, order.order.order.clone());
                    *self.orders_elsewhere.entry(place).or_default() += 1;
                }
                return;
            }
            Taken::AgainstHold { order, hold } => format!(
                "Content of row {seq} of sink {sink} was taken away, though hold {} was in force when \
                 order {} was given.",
                hold.order.order, order.order.order
            ),
            Taken::WithoutOrder => {
                format!("Content of row {seq} of sink {sink} was taken away without an order.")
            }
        };
        let finding = Finding::new(Class::Altered, sentence).in_sink(sink, seq, seq);
        let finding = finding.with("person", envelope.person());
        self.report
            .add(finding.with("decision_id", envelope.decision_id()));
    }

    /// Puts a row into its sink's order; `false` if it is of no interest, or stands twice.
    fn chain(&mut self, row: &Row) -> bool {
        let (id, seq) = (row.sink_id.as_str(), row.sink_seq);
        if self.unanchored(id) {
            if row.received_at < self.window.from {
                return false;
            }
            self.before(id, seq.checked_sub(1)); // nobody said what was before
        }
        let Some(sink) = self.sinks.get_mut(id) else {
            return false;
        };
        let next = sink.next.unwrap_or(0);
        if sink.last.is_none() && seq < next {
            if row.received_at >= self.window.from {
                let sentence = format!(
                    "Row {seq} of sink {id} says that it arrived when the sink was at row {next} already."
                );
                let finding = Finding::new(Class::Reordered, sentence);
                self.report.add(finding.in_sink(id, seq, seq));
            }
            return false;
        }
        if let Some((last, _, hash)) = sink.last
            && seq <= last
        {
            let finding = if seq == last {
                let how = if hash == row.hash {
                    "the same"
                } else {
                    "another"
                };
                let sentence =
                    format!("Row {seq} of sink {id} stands twice; the second is {how} record.");
                Finding::new(Class::Doubled, sentence)
            } else {
                let sentence = format!("Row {seq} of sink {id} stands behind row {last}.");
                Finding::new(Class::Reordered, sentence)
            };
            sink.explained = true;
            self.report.add(finding.in_sink(id, seq, seq));
            return false;
        }
        let before = sink.last.map_or(i64::MIN, |(_, at, _)| at);
        if seq > next {
            if before < self.window.to {
                let (first, last) = (next, seq - 1);
                let sentence = format!("{} of sink {id}: missing.", rows(first, last));
                let finding = Finding::new(Class::Gap, sentence);
                self.report.add(finding.in_sink(id, first, last));
            }
            sink.link = Known::Unknown;
            sink.explained = true;
        }
        if row.received_at < before {
            let sentence = format!(
                "Row {seq} of sink {id} says that it arrived before the row in front of it: \
                 received_at was changed, or rows changed places."
            );
            let finding = Finding::new(Class::Reordered, sentence);
            self.report
                .add(finding.in_sink(id, seq.saturating_sub(1), seq));
            sink.explained = true;
        }
        if !row.faults.is_empty() {
            sink.explained = true;
        }
        let of_kind = |kind: &str| row.envelope.kind() == kind;
        sink.next = Some(seq + 1);
        sink.last = Some((seq, row.received_at, row.hash));

        let signed = sink.checkpoints.range(seq + 1..).next();
        let signed = signed.map(|(_, checkpoint)| checkpoint.claims.since);
        // A checkpoint speaks for itself.
        let speaks = of_kind("checkpoint") && sink.checkpoints.contains_key(&seq);
        let waits = row.received_at >= self.window.due();
        match signed {
            Some(since) if since > seq => self.unchained += 1,
            Some(_) if row.unproven => {
                let sentence = format!("Row {seq} of sink {id} was altered: its proof is gone.");
                let finding = Finding::new(Class::Altered, sentence);
                self.report.add(finding.in_sink(id, seq, seq));
                sink.explained = true;
            }
            None if !waits && !speaks => {
                let first = sink.unsigned.map_or(seq, |(first, _)| first);
                sink.unsigned = Some((first, seq));
            }
            Some(_) | None => {}
        }
        if signed == Some(seq) {
            sink.link = Known::Start;
            sink.segment = seq;
        }
        let after = |before: Option<&Link>, hash| row_link(before, seq, row.received_at, hash);
        sink.link = match (sink.link, &row.hash) {
            (Known::Link(before), Some(hash)) => Known::Link(after(Some(&before), hash)),
            (Known::Start, Some(hash)) => Known::Link(after(None, hash)),
            (Known::Unknown, _) | (_, None) => Known::Unknown,
        };
        if let Some(checkpoint) = sink.checkpoints.get(&(seq + 1)) {
            let expected = Known::of(link(&checkpoint.claims.link));
            if sink.link != Known::Unknown && sink.link != expected && !sink.explained {
                let first = sink.segment;
                let sentence = format!(
                    "{} of sink {id}: they do not give what the sink has signed: rows changed places, or one \
                     was exchanged whole.",
                    rows(first, seq)
                );
                let finding = Finding::new(Class::Reordered, sentence);
                self.report.add(finding.in_sink(id, first, seq));
            }
            sink.link = expected;
            sink.segment = seq + 1;
            sink.explained = false;
        }
        true
    }

    /// Puts a record into its epoch.
    fn record(&mut self, row: &Row) {
        let envelope = &row.envelope;
        let (Some(name), Some(seq)) = (&envelope.epoch, envelope.seq) else {
            return;
        };
        if !(0..i64::MAX).contains(&seq) {
            return;
        }
        let number = self.sinks.get(&row.sink_id).map_or(0, |sink| sink.number);
        let epoch = self.epochs.entry(name.clone()).or_default();
        let record = Record {
            seq,
            hash: row.hash,
            prev_hash: row.prev_hash.clone(),
            received_at: row.received_at,
            sink: number,
        };
        let stands_for = envelope.kind() == "tombstone";
        let place = |finding: Finding| finding.in_epoch(name, seq, seq);
        match epoch.insert(&record) {
            Placed::Again { harmless: true } => {
                self.report.counts.repeats += 1;
                return;
            }
            Placed::Again { harmless: false } => {
                let sentence = format!(
                    "Record {seq} of epoch {name} stands twice, and not because two sinks took it (row {} \
                     of sink {}).",
                    row.sink_seq, row.sink_id
                );
                let finding = Finding::new(Class::Doubled, sentence);
                let finding = finding.in_sink(&row.sink_id, row.sink_seq, row.sink_seq);
                self.report.add(place(finding));
                return;
            }
            Placed::New {
                misfits,
                contradicted,
            } => {
                // What stands for a refused row has its hash, and not the hash before it.
                for misfit in misfits
                    .into_iter()
                    .filter(|misfit| *misfit != seq || !stands_for)
                {
                    let sentence = format!(
                        "Record {misfit} of epoch {name} does not follow the record before it: one of \
                         the two was exchanged whole."
                    );
                    let finding = Finding::new(Class::Reordered, sentence);
                    self.report.add(finding.in_epoch(name, misfit, misfit));
                }
                if contradicted {
                    let sentence = format!(
                        "Record {seq} of epoch {name} is another one than the sink has signed."
                    );
                    let finding = Finding::new(Class::Altered, sentence);
                    let finding = finding.in_sink(&row.sink_id, row.sink_seq, row.sink_seq);
                    self.report.add(place(finding));
                }
            }
        }
        match envelope.kind() {
            "epoch" => {
                epoch.live = true;
                epoch.ended |= envelope.reason() == "end";
            }
            "heartbeat" => {
                epoch.live = true;
                epoch.unacknowledged = envelope.unacknowledged;
                if envelope.reason() == "idle" {
                    epoch.idle = epoch.idle.max(Some(seq));
                }
            }
            "open" if row.received_at < self.window.to => {
                let open = Open {
                    decision_id: envelope.decision_id().to_owned(),
                    person: envelope.person().to_owned(),
                    event_at: envelope.event_at(),
                };
                epoch.open(seq, open);
            }
            "close" => {
                if let Some(open_seq) = envelope.open_seq {
                    epoch.close(open_seq);
                }
            }
            _ => {}
        }
    }

    /// Epochs of which nobody said what came before the window.
    pub(crate) fn unanchored_epochs(&self) -> Vec<String> {
        let epochs = self.epochs.iter();
        let mut names: Vec<String> = epochs
            .filter(|(_, epoch)| !epoch.anchored && epoch.first() > 0)
            .map(|(name, _)| name.clone())
            .collect();
        names.sort();
        names
    }

    /// Says the last record before the window of such an epoch.
    pub(crate) fn epoch_before(&mut self, name: &str, last: i64) {
        if let Some(epoch) = self.epochs.get_mut(name) {
            epoch.before(last);
            self.report.notes.push(format!(
                "Epoch {name} began before the window, and no checkpoint says how far it was: its \
                 records up to {last} were not looked at."
            ));
        }
    }

    /// To be called after the last row.
    pub(crate) fn finish(mut self) -> Report {
        self.finish_sinks();
        self.finish_epochs();
        if self.keys.is_none() && !self.report.nothing() {
            let sentence =
                "No public key was given (--keys, --key): no checkpoint counts as signed.";
            self.report.add(Finding::new(Class::Unsigned, sentence));
        }
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                self.report.notes.push(format!("{count} {what}"));
            }
        };
        note(
            self.report.counts.erased,
            "rows whose content was erased by order: their records are whole.",
        );
        for ((at, id), count) in &self.orders_elsewhere {
            self.report.notes.push(format!(
                "Order {id}, by which {count} of these were erased, is of {}: verify that time too.",
                exact_time(*at)
            ));
        }
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                self.report.notes.push(format!("{count} {what}"));
            }
        };
        note(
            self.report.counts.repeats,
            "records were taken by two sinks, or again after the window began; each counts once.",
        );
        note(
            self.unproven,
            "rows of a sink of an earlier version, which wrote no proof for what is not a record.",
        );
        note(
            self.unchained,
            "rows from before their sink had a chain: their order is not signed.",
        );
        note(
            self.unknown_seals,
            "records are sealed by keys that GATE_SINK_KEYS does not have: these seals were not checked.",
        );
        self.report
    }

    fn finish_sinks(&mut self) {
        for (id, sink) in &self.sinks {
            self.report.counts.sinks += u64::from(sink.last.is_some());
            if sink.last.is_none() && sink.covered <= sink.next.unwrap_or(0) {
                self.report.notes.push(format!(
                    "Sink {id} had rows before the window, and none in it."
                ));
            }
            let next = sink.next.unwrap_or(0);
            if sink.covered > next {
                let last = sink.covered - 1;
                let sentence = format!(
                    "{} of sink {id}: missing, though the sink has signed that it had {} rows.",
                    rows(next, last),
                    sink.covered
                );
                let finding = Finding::new(Class::Truncated, sentence);
                self.report.add(finding.in_sink(id, next, last));
            }
            if let Some((first, last)) = sink.unsigned {
                let rows = rows(first, last);
                let sentence = format!(
                    "{rows} of sink {id}: covered by no valid checkpoint: what came after may have been \
                     taken away."
                );
                let finding = Finding::new(Class::Unsigned, sentence);
                self.report.add(finding.in_sink(id, first, last));
            }
        }
    }

    fn finish_epochs(&mut self) {
        let Window {
            from,
            to,
            horizon,
            silence,
            ..
        } = self.window;
        let mut names: Vec<&String> = self.epochs.keys().collect();
        names.sort();
        for name in names {
            let Some(epoch) = self.epochs.get(name) else {
                continue;
            };
            self.report.counts.epochs += u64::from(epoch.last_at > 0);
            for hole in epoch.holes() {
                let (first, last) = (hole.first, hole.last);
                let records = records(first, last);
                match hole.noticed_at {
                    Some(at) if at >= to => {}
                    Some(at) if at < from => {} // of the window before
                    Some(at) if at >= horizon - silence => self.report.notes.push(format!(
                        "{records} of epoch {name}: not there yet; what came after it is just arriving."
                    )),
                    Some(_) => {
                        let sentence = format!("{records} of epoch {name}: missing.");
                        let finding = Finding::new(Class::Gap, sentence);
                        self.report.add(finding.in_epoch(name, first, last));
                    }
                    None => self.report.notes.push(format!(
                        "{records} of epoch {name}: missing since before the window: verify that time."
                    )),
                }
            }
            if epoch.claimed > epoch.end() {
                let (first, last) = (epoch.end(), epoch.claimed - 1);
                let records = records(first, last);
                let sentence = format!(
                    "{records} of epoch {name}: missing, though a sink has signed that it had them."
                );
                let finding = Finding::new(Class::Truncated, sentence);
                self.report.add(finding.in_epoch(name, first, last));
            }
            if epoch.last_at < from {
                continue; // of the window before
            }
            let silent = horizon.saturating_sub(epoch.last_at) > silence;
            let fell_silent = epoch.live && !epoch.ended && silent && epoch.last_at < to;
            if fell_silent && epoch.rests() {
                self.report.notes.push(format!(
                    "Epoch {name} fell silent at {} with nothing open and all of it durable: at most an \
                     exchange that began in its last moment is not known, and none in strict mode.",
                    exact_time(epoch.last_at)
                ));
            } else if fell_silent {
                let last = epoch.end() - 1;
                let at = exact_time(epoch.last_at);
                let held = epoch.unacknowledged.map_or(String::new(), |held| {
                    format!(" Its last heartbeat said that {held} records were not durable then.")
                });
                let sentence = format!(
                    "Epoch {name} did not say that it ends, and was last heard of at {at}, with record \
                     {last}: what its worker held since its last heartbeat may be lost.{held}"
                );
                let finding = Finding::new(Class::EndedWithoutEnd, sentence);
                let finding = finding.in_epoch(name, last, last);
                self.report.add(finding.with("last_at", at));
            }
            if epoch.ended || silent {
                for (seq, open) in &epoch.opens {
                    let (person, decision) = (&open.person, &open.decision_id);
                    let at = exact_time(open.event_at);
                    let sentence = format!(
                        "Exchange {decision} of {person} began at {at} (record {seq} of epoch {name}), and \
                         its worker is gone without a record of its end."
                    );
                    let finding = Finding::new(Class::OpenWithoutClose, sentence);
                    let finding = finding.in_epoch(name, *seq, *seq);
                    let finding = finding.with("decision_id", decision.as_str());
                    self.report
                        .add(finding.with("person", person.as_str()).with("event_at", at));
                }
            }
        }
    }

    fn within(&self, at: i64) -> bool {
        (self.window.from..self.window.to).contains(&at)
    }
}

fn rows(first: u64, last: u64) -> String {
    if first == last {
        format!("Row {first}")
    } else {
        format!("Rows {first} to {last}")
    }
}

fn records(first: i64, last: i64) -> String {
    if first == last {
        format!("Record {first}")
    } else {
        format!("Records {first} to {last}")
    }
}
