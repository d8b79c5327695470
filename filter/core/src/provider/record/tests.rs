use serde_json::{Value as Json, json};

use crate::provider::tests::{SECRET, masker, repeats};
use crate::provider::{Api, Limits, MaskedRequest, Watch, mask_request};
use crate::repeats::{Repeats, Written};
use crate::time::UnixTime;

/// What the turns of a conversation leave in records, each an hour's minute.
struct Recorder {
    repeats: Repeats,
    /// By number.
    contents: Vec<String>,
}

impl Recorder {
    fn new() -> Self {
        Self {
            repeats: repeats(),
            contents: Vec::new(),
        }
    }

    fn read(&mut self, person: &str, now: UnixTime, body: &str) -> MaskedRequest {
        let texts = (self.repeats.of(person), now);
        let (limits, watch) = (Limits::default(), Watch::default());
        mask_request(
            Api::Chat,
            &masker().keeping(),
            body.as_bytes(),
            &limits,
            &watch,
            texts,
        )
        .unwrap()
    }

    /// Sends and records a request; gives what goes upstream and what is recorded.
    fn turn(&mut self, person: &str, minute: u64, body: &str) -> (String, String) {
        let now = UnixTime::from_seconds(1_800_000_000 + 60 * minute);
        let request = self.read(person, now, body);
        let seq = i64::try_from(self.contents.len()).unwrap();
        let recorded = String::from_utf8(request.recorded).unwrap();
        for written in Written::find(&recorded, &request.texts) {
            self.repeats.recorded(written, seq, now);
        }
        let sent = request.body.unwrap_or_else(|| body.into());
        self.contents.push(recorded.clone());
        (String::from_utf8(sent).unwrap(), recorded)
    }

    /// Content with what its references stand for.
    fn whole(&self, content: &str) -> String {
        let mark = format!("seen:{}:", "ab".repeat(16));
        let mut parts = content.split(&mark);
        let mut whole = parts.next().unwrap().to_owned();
        for part in parts {
            let (place, rest) = part.split_once('"').unwrap();
            let numbers: Vec<usize> = place
                .split([':', '+'])
                .map(|n| n.parse().unwrap())
                .collect();
            let [seq, start, length] = numbers[..] else {
                panic!("{place}")
            };
            whole.extend(self.contents[seq].chars().skip(start).take(length));
            whole.push('"');
            whole += rest;
        }
        whole
    }
}

/// A conversation of so many turns; each text is long, some have secrets, escapes and other forms.
fn conversation(turns: usize) -> String {
    let text = |turn: usize| {
        format!(
            "{turn}: \"é\"\n\t{}{} end",
            "some words of it, ".repeat(20),
            SECRET.repeat(turn % 2)
        )
    };
    let messages: Vec<Json> = (0..turns)
        .flat_map(|turn| {
            [
                json!({"role": "user", "content": [{"type": "text", "text": text(turn)}, {"type": "text", "text": "short"}]}),
                json!({"role": "assistant", "content": text(turn + 100)}),
                json!({"role": "tool", "content": "QUJD".repeat(100), "tool_call_id": "c1"}),
            ]
        })
        .collect();
    json!({"model": "m", "messages": messages}).to_string()
}

#[test]
fn a_conversation_is_recorded_once_and_each_record_stands_for_all_that_was_sent() {
    let mut recorder = Recorder::new();
    let mut lengths = Vec::new();
    for turns in 1..8 {
        let (sent, recorded) = recorder.turn("ana", turns as u64, &conversation(turns));
        assert_eq!(recorder.whole(&recorded), sent);
        assert!(!recorded.contains(SECRET) && !sent.contains(SECRET));
        lengths.push((recorded.len(), sent.len()));
    }
    let (recorded, sent) = lengths[6];
    assert!(recorded * 2 < sent, "{lengths:?}");
    // others, and the same an hour later, are recorded whole
    let whole = recorder.turn("bo", 8, &conversation(3)).1;
    assert!(!whole.contains("seen:"));
    let (sent, later) = recorder.turn("ana", 62, &conversation(2));
    assert_eq!(recorder.whole(&later), sent);
    assert!(
        !later.contains(&format!("{}:1:", "ab".repeat(16))),
        "{later}"
    );
}

#[test]
fn what_is_found_is_the_same_each_time() {
    let mut recorder = Recorder::new();
    let body = conversation(4);
    for person in ["ana", "bo"] {
        let mut turn = |time| {
            let request = recorder.read(person, UnixTime(time), &body);
            (request.body, request.findings, request.scanned_bytes)
        };
        let counts = [0, 1, 2].map(&mut turn);
        assert!(counts[0].1.len() > 2);
        assert!(counts[0] == counts[1] && counts[1] == counts[2]);
    }
    let sent: Json = serde_json::from_str(&body).unwrap();
    let mut known = |message: &Json| {
        let text = message["content"].to_string();
        let mut ana = recorder.repeats.of("ana");
        let digest = ana.digest(text.trim_matches('"')).unwrap();
        (ana.clean(digest).is_some(), ana.found(digest).is_some())
    };
    let known = [1, 2, 4].map(|at| known(&sent["messages"][at]));
    assert_eq!(
        known,
        [(true, false), (true, false), (false, true)],
        "a text with a secret is not clean"
    );
}
