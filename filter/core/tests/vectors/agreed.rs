//! The vectors of the contract: digests of items, sets and arguments, and a chain of records.

use contract::approval::{CauseSet, Digest, Item, canonical_arguments};
use contract::{Chain, Content, Envelope, Epoch, MacKey, open, record_hash};
use data_encoding::HEXLOWER;
use serde_json::Value;

const APPROVAL: &str = include_str!("../../../../contract/vectors/approval.json");
const RECORD: &str = include_str!("../../../../contract/vectors/record.json");

/// Runs all vectors; gives their number.
pub(super) fn run() -> usize {
    let all: Value = serde_json::from_str(APPROVAL).unwrap();
    let (items, causes) = (list(&all, "items"), list(&all, "causes"));
    for vector in items {
        let repeat = vector["repeat"].as_u64().unwrap_or(1);
        let long = text(vector, "text").repeat(usize::try_from(repeat).unwrap());
        let item = Item {
            role: text(vector, "role"),
            kind: text(vector, "kind"),
            name: text(vector, "tool"),
            text: &long,
        };
        assert_eq!(item.digest().to_string(), text(vector, "digest"));
    }
    for vector in causes {
        let items = list(vector, "items").iter();
        let set: CauseSet = items
            .map(|item| item.as_str().unwrap().parse::<Digest>().unwrap())
            .collect();
        assert_eq!(set.digest().to_string(), text(vector, "digest"));
    }
    let arguments = list(&all, "arguments");
    for vector in arguments {
        let canonical = canonical_arguments(text(vector, "text"));
        assert_eq!(canonical, text(vector, "canonical"));
    }
    items.len() + causes.len() + arguments.len() + records()
}

/// A chain of records, sealed and opened.
fn records() -> usize {
    let all: Value = serde_json::from_str(RECORD).unwrap();
    let key = MacKey::new(text(&all, "key_id"), text(&all, "key").as_bytes());
    let mut chain = Chain::new(Epoch([7; 16]));
    let mut last = Vec::new();
    for vector in list(&all, "records") {
        let envelope = Envelope {
            kind: Some(text(vector, "kind").to_owned()),
            person: Some(text(vector, "person").to_owned()),
            event_at: vector["event_at"].as_i64(),
            ..Envelope::default()
        };
        let repeat = usize::try_from(vector["repeat"].as_u64().unwrap_or(1)).unwrap();
        let content = Content {
            request_content: vector["request_content"]
                .as_str()
                .map(|text| text.repeat(repeat)),
            response_content: vector["response_content"].as_str().map(str::to_owned),
        };
        let sealed = chain.seal(envelope, &content, &key);
        let (envelope, proof) = open(&sealed.bytes, std::slice::from_ref(&key)).unwrap();
        assert_eq!(envelope.event_at, vector["event_at"].as_i64());
        assert_eq!(HEXLOWER.encode(proof.envelope()), text(vector, "envelope"));
        assert_eq!(HEXLOWER.encode(proof.hash()), text(vector, "hash"));
        assert_eq!(HEXLOWER.encode(proof.mac()), text(vector, "mac"));
        assert_eq!(record_hash(&last, proof.envelope()), proof.hash());
        last = proof.hash().to_vec();
    }
    list(&all, "records").len()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}
