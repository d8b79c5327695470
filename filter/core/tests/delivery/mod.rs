//! P9 and P10 in the core: records are kept until a sink has them, whatever gets lost on the way.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Content, Proof};
use filter_core::exchange::Callout;
use prost::{DecodeError, Message};
use sha2::{Digest as _, Sha256};

use super::*;

const BODY: &str = r#"{"model":"gpt-4.1","messages":[{"role":"user","content":"what is asked"}]}"#;

/// A sink that keeps what it is sent, and answers as the real one does.
#[derive(Default)]
struct Sink {
    records: BTreeMap<i64, (Envelope, Proof, Content)>,
}

impl Sink {
    fn take(&mut self, record: &[u8]) {
        let key = MacKey::new("k1", b"0123456789abcdef");
        let (envelope, proof) = contract::open(record, &[key]).unwrap();
        let content = Content::decode(record).unwrap();
        self.records
            .insert(envelope.seq(), (envelope, proof, content));
    }

    /// Does what a call asks for; gives the answer.
    fn call(&mut self, call: &Callout) -> (u16, Vec<u8>) {
        assert_eq!(call.cluster, "sink");
        if call.method == "GET" {
            assert_eq!(call.path, format!("/v1/epochs/{}", "01".repeat(16)));
            if self.records.is_empty() {
                return (404, Vec::new());
            }
            return (200, self.places().to_string().into_bytes());
        }
        assert_eq!((call.method, call.path.as_str()), ("POST", "/v1/records"));
        for record in records(&call.body).unwrap() {
            self.take(&record);
        }
        let answer = json!({ "epochs": [self.places()] });
        (200, answer.to_string().into_bytes())
    }

    fn places(&self) -> Value {
        let has: BTreeSet<i64> = self.records.keys().copied().collect();
        let highest = has.last().copied().unwrap_or(-1);
        let missing: Vec<i64> = (0..highest).filter(|seq| !has.contains(seq)).collect();
        let through = missing.first().map_or(highest, |first| first - 1);
        let missing: Vec<_> = missing.iter().map(|seq| [seq, seq]).collect();
        json!({ "epoch": "01".repeat(16), "durable_through": through, "highest": highest,
                "missing": missing })
    }

    fn kinds(&self) -> Vec<&str> {
        let records = self.records.values();
        records.map(|(envelope, ..)| envelope.kind()).collect()
    }
}

/// The records of a call.
fn records(mut body: &[u8]) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let length = prost::decode_length_delimiter(&mut body)?;
        let (record, rest) = body.split_at(length);
        records.push(record.to_vec());
        body = rest;
    }
    Ok(records)
}

fn bench(audit: Value) -> Bench {
    Bench::with(|config| config["audit"] = audit)
}

fn strict() -> Bench {
    bench(json!({ "cluster": "sink", "strict": true }))
}

fn at(millis: u64) -> UnixTime {
    UnixTime(NOW.0 + millis * 1_000)
}

#[test]
fn p10_a_request_waits_until_its_record_is_durable() {
    let mut open = Bench::new();
    let (_, expected) = open.chat(BODY);
    let mut bench = strict();
    let (mut exchange, step) = bench.chat(BODY);
    let Step::Call(call) = step else {
        panic!("{step:?}");
    };
    let mut sink = Sink::default();
    let answer = sink.call(&call);
    let answer = Some((answer.0, answer.1.as_slice()));
    let step = exchange.callout_reply(&mut bench.worker, answer, NOW);
    assert_eq!(step, expected, "it goes on as it would have gone without");
    let (envelope, _, content) = &sink.records[&1];
    assert_eq!((envelope.kind(), envelope.person()), ("open", "ana"));
    assert!(content.request_content().contains("what is asked"));

    bench.answered(&mut exchange, "200", "application/json");
    let end = End {
        status: 200,
        caller_left: false,
    };
    let closed = exchange.finish(&mut bench.worker, end, NOW).unwrap();
    sink.take(&closed.record);
    let (envelope, _, content) = &sink.records[&2];
    assert_eq!((envelope.kind(), envelope.open_seq), ("close", Some(1)));
    assert_eq!(content.request_content, None, "it is recorded once");
}

#[test]
fn p10_a_request_whose_record_is_not_durable_is_refused() {
    let told = json!({ "epochs": [{ "epoch": "02".repeat(16), "durable_through": 9, "highest": 9,
                                    "missing": [] }] });
    let answers = [
        None,
        Some((503, Vec::new())),
        Some((200, b"{}".to_vec())),
        Some((200, b"yes".to_vec())),
        Some((200, br#"{"epochs":[]}"#.to_vec())),
        Some((200, told.to_string().into_bytes())),
    ];
    for answer in answers {
        let mut bench = strict();
        let (mut exchange, step) = bench.chat(BODY);
        assert!(matches!(step, Step::Call(_)), "{step:?}");
        let answer = answer.as_ref().map(|(status, body)| (*status, &**body));
        let step = exchange.callout_reply(&mut bench.worker, answer, NOW);
        let Step::Reply(reply) = step else {
            panic!("{step:?}");
        };
        assert_eq!(reply.status, 400);
        let envelope = bench.finish(exchange, 400);
        assert_eq!(
            (envelope.decision(), envelope.reason(), envelope.open_seq),
            ("unavailable", "audit", Some(1))
        );
        assert_eq!(bench.worker.delivery_state().0, 3, "all are still kept");
    }
}

#[test]
fn p9_records_are_brought_to_the_sink_and_forgotten_when_durable() {
    let mut bench = bench(json!({ "cluster": "sink" }));
    let mut sink = Sink::default();
    let (exchange, step) = bench.chat(BODY);
    assert!(matches!(step, Step::Forward(_)), "nobody waits: {step:?}");
    let call = bench.worker.delivery_due(at(200)).unwrap();
    let answer = sink.call(&call);
    let good = bench
        .worker
        .delivery_reply(Some((answer.0, &answer.1)), at(201));
    assert!(good);
    assert_eq!(sink.kinds(), ["epoch", "open"]);
    assert_eq!(bench.worker.delivery_state().0, 0);
    let envelope = bench.finish(exchange, 200);
    assert_eq!(envelope.open_seq, Some(1));
    assert_eq!(bench.worker.delivery_state().0, 1, "the log may lose it");
    let mut now = 400;
    while sink.kinds().last() != Some(&"heartbeat") {
        if let Some(call) = bench.worker.delivery_due(at(now)) {
            let answer = sink.call(&call);
            bench
                .worker
                .delivery_reply(Some((answer.0, &answer.1)), at(now));
        }
        now += 200;
        assert!(now < 8_000, "{:?}", sink.kinds());
    }
    assert_eq!(sink.kinds(), ["epoch", "open", "close", "heartbeat"]);
    let (start, ..) = &sink.records[&0];
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(start.policy()));
    assert_eq!((start.reason(), start.policy_digest()), ("start", &*digest));
    let policy: Value = serde_json::from_str(start.policy()).unwrap();
    assert_eq!(policy["audit"]["cluster"], "sink");
    let (beat, ..) = &sink.records[&3];
    assert_eq!((beat.reason(), beat.unacknowledged), ("idle", Some(0)));
    let calls = bench.worker.end(at(now));
    let [call] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert!(!bench.worker.has_ended());
    let answer = sink.call(call);
    bench
        .worker
        .delivery_reply(Some((answer.0, &answer.1)), at(now));
    assert!(bench.worker.has_ended());
    assert_eq!(sink.records[&4].0.reason(), "end");
    assert_eq!(bench.worker.delivery_due(at(now + 60_000)), None);
}

#[test]
fn without_a_sink_nothing_is_kept() {
    let mut bench = Bench::new();
    let (exchange, _) = bench.chat(BODY);
    let envelope = bench.finish(exchange, 200);
    assert_eq!((envelope.seq, envelope.open_seq), (Some(0), None));
    assert_eq!(bench.worker.delivery_due(at(60_000)), None);
    assert_eq!(bench.worker.delivery_state().0, 0);
    assert!(bench.worker.has_ended());
}

/// What happens to an exchange and to the next call.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// The access log delivers the close record.
    logged: bool,
    /// The call gets to the sink.
    called: bool,
    /// Its answer gets back.
    answered: bool,
    /// Milliseconds until the next exchange.
    pause: u64,
}

fn fates() -> impl proptest::strategy::Strategy<Value = Vec<Fate>> {
    use proptest::prelude::Strategy;
    let fate = (any::<bool>(), any::<bool>(), any::<bool>(), 1..3_000_u64);
    let fate = fate.prop_map(|(logged, called, answered, pause)| Fate {
        logged,
        called,
        answered,
        pause,
    });
    proptest::collection::vec(fate, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p9_whatever_gets_lost_on_the_way_the_chain_is_whole_in_the_end(fates in fates()) {
        let mut bench = bench(json!({ "cluster": "sink" }));
        let mut sink = Sink::default();
            let mut now = 0;
        let quiet = Fate { logged: true, called: true, answered: true, pause: 200 };
        let rest = std::iter::repeat_n(quiet, 200);
        for (number, fate) in fates.iter().copied().chain(rest).enumerate() {
            if number < fates.len() {
                let (exchange, _) = bench.chat(BODY);
                let end = End { status: 200, caller_left: false };
                let closed = exchange.finish(&mut bench.worker, end, at(now)).unwrap();
                if fate.logged {
                    sink.take(&closed.record);
                }
            }
            if let Some(call) = bench.worker.delivery_due(at(now)) {
                let answer = fate.called.then(|| sink.call(&call));
                let answer = answer.filter(|_| fate.answered);
                let answer = answer.as_ref().map(|(status, body)| (*status, &**body));
                bench.worker.delivery_reply(answer, at(now));
            }
            now += fate.pause;
        }
        let mut last = Vec::new();
        for (place, (seq, (_, proof, _))) in (0..).zip(&sink.records) {
            assert_eq!(*seq, place, "none is missing");
            assert_eq!(proof.prev_hash(), last);
            last = proof.hash().to_vec();
        }
        let opens = sink.kinds().iter().filter(|kind| **kind == "open").count();
        let closes = sink.kinds().iter().filter(|kind| **kind == "close").count();
        assert_eq!((opens, closes), (fates.len(), fates.len()));
        assert!(bench.worker.delivery_state().0 <= 1, "the last heartbeat at most");
    }
}

#[test]
fn p9_an_epoch_begins_before_its_first_record_whatever_that_is() {
    let mut bench = bench(json!({ "cluster": "sink" }));
    let headers = bench.headers("GET", "/models", &[("upgrade", "websocket")]);
    let (exchange, _) = bench.begin(headers, true);
    assert_eq!(bench.finish(exchange, 403).seq, Some(1));
    let mut sink = Sink::default();
    let call = bench.worker.delivery_due(at(200)).unwrap();
    sink.call(&call);
    assert_eq!(sink.kinds(), ["epoch"]);
}
