use std::collections::HashMap;

use contract::{Chain, Content};

use super::*;
use crate::envoy::{Address, Request, Response, SocketAddress};

const NOW: i64 = 1_800_000_000_000_000;

fn rows() -> Rows {
    Rows {
        keys: vec![key()],
        deployment: Some("acme".into()),
        max_row_bytes: 10_000,
    }
}

fn key() -> MacKey {
    MacKey::new("k1", &[7; 32])
}

fn sealed(envelope: Envelope, content: &Content) -> Vec<u8> {
    Chain::new(Epoch([9; 16]))
        .seal(envelope, content, &key())
        .bytes
}

fn carrying(record: &[u8]) -> HttpEntry {
    let any = Any {
        type_url: "type.googleapis.com/google.protobuf.BytesValue".into(),
        value: record.to_vec().encode_to_vec(),
    };
    with_state(any)
}

fn with_state(any: Any) -> HttpEntry {
    HttpEntry {
        common_properties: Some(Common {
            filter_state_objects: HashMap::from([(contract::FILTER_STATE.to_owned(), any)]),
            ..Common::default()
        }),
        ..HttpEntry::default()
    }
}

fn envelope(of: &Entry) -> Envelope {
    Envelope::decode(of.row.as_ref()).unwrap()
}

#[test]
fn a_sealed_record_is_stored_as_it_came() {
    let content = Content {
        request_content: Some("hello".into()),
        response_content: None,
    };
    let record = sealed(Envelope::default(), &content);
    let (origin, entry) = rows().of(carrying(&record), NOW);
    assert_eq!(origin, Origin::Record);
    assert_eq!(entry.row, record);
    assert_eq!(entry.place, Some((Epoch([9; 16]), 0)));
    assert!(entry.dead.is_none());
}

#[test]
fn what_cannot_be_trusted_or_loaded_becomes_a_tombstone() {
    let good = sealed(Envelope::default(), &Content::default());
    let mut tampered = good.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let mut flipped = good.clone();
    let hash = flipped
        .windows(2)
        .position(|pair| pair == [0xf2, 0x03])
        .unwrap(); // field 62
    flipped[hash + 5] ^= 1;
    let other_key = Chain::new(Epoch([9; 16]))
        .seal(
            Envelope::default(),
            &Content::default(),
            &MacKey::new("k9", &[1; 32]),
        )
        .bytes;
    let long = Content {
        request_content: Some("x".repeat(20_000)),
        response_content: None,
    };
    let with = |envelope| sealed(envelope, &Content::default());
    let cases = [
        ("garbage", carrying(&[0xff; 9]), "unparsable"),
        ("nothing", carrying(&[]), "malformed"),
        ("key id changed", carrying(&tampered), "unknown_key"),
        ("hash changed", carrying(&flipped), "bad_seal"),
        ("other key", carrying(&other_key), "unknown_key"),
        (
            "too long",
            carrying(&sealed(Envelope::default(), &long)),
            "too_long",
        ),
        (
            "bad JSON",
            carrying(&with(Envelope {
                findings: Some("[{".into()),
                ..Envelope::default()
            })),
            "not_loadable",
        ),
        (
            "time out of range",
            carrying(&with(Envelope {
                event_at: Some(i64::MAX),
                ..Envelope::default()
            })),
            "not_loadable",
        ),
        (
            "another type",
            with_state(Any {
                type_url: "type.googleapis.com/google.protobuf.StringValue".into(),
                value: good.encode_to_vec(),
            }),
            "not_bytes",
        ),
    ];
    for (name, entry, reason) in cases {
        let sent = entry
            .common_properties
            .as_ref()
            .unwrap()
            .filter_state_objects[contract::FILTER_STATE]
            .value
            .clone();
        let record = Vec::decode(sent.as_slice()).unwrap_or_default();
        let (origin, entry) = rows().of(entry, NOW);
        assert_eq!(origin, Origin::Tombstone, "{name}");
        let kept = if reason == "not_bytes" { sent } else { record };
        assert_eq!(entry.dead, Some((reason, kept.into())), "{name}");
        assert_eq!(entry.place, None, "{name}: its place is not to be trusted");
        let row = envelope(&entry);
        assert_eq!(
            (row.kind(), row.reason(), row.deployment()),
            ("tombstone", reason, "acme")
        );
        assert_eq!(row.event_at(), NOW, "{name}");
    }
}

#[test]
fn an_entry_without_our_record_becomes_a_bare_one() {
    let entry = HttpEntry {
        common_properties: Some(Common {
            start_time: Some(Timestamp {
                seconds: 1_799_999_999,
                nanos: 5_000,
            }),
            duration: Some(Duration {
                seconds: 2,
                nanos: 345_678_901,
            }),
            response_flags: Some(ResponseFlags {
                no_healthy_upstream: true,
                upstream_connection_failure: true,
                ..ResponseFlags::default()
            }),
            downstream_remote_address: Some(Address {
                socket_address: Some(SocketAddress {
                    address: "10.0.0.1".into(),
                    port_value: 99,
                }),
            }),
            ..Common::default()
        }),
        request: Some(Request {
            request_method: Method::Post.into(),
            authority: "gw.example".into(),
            path: "/rewritten".into(),
            original_path: "/chat?token=hush#part".into(),
            request_id: "r-1".into(),
            request_body_bytes: 11,
        }),
        response: Some(Response {
            response_code: Some(503),
            response_body_bytes: 22,
            response_code_details: "no_healthy_upstream".into(),
        }),
    };
    let (origin, entry) = rows().of(entry, NOW);
    assert_eq!(origin, Origin::Bare);
    assert!(entry.place.is_none() && entry.dead.is_none());
    let expected = Envelope {
        version: Some(1),
        kind: Some("bare".into()),
        deployment: Some("acme".into()),
        event_at: Some(NOW),
        method: Some("POST".into()),
        path: Some("/chat".into()),
        host: Some("gw.example".into()),
        reason: Some(
            "no_healthy_upstream, no healthy upstream, upstream connection failure".into(),
        ),
        status: Some(503),
        started_at: Some(1_799_999_999_000_005),
        duration_ms: Some(2_345),
        request_bytes: Some(11),
        response_bytes: Some(22),
        request_id: Some("r-1".into()),
        client_address: Some("10.0.0.1:99".into()),
        ..Envelope::default()
    };
    assert_eq!(envelope(&entry), expected);
}

#[test]
fn text_from_callers_is_cut_and_cannot_spoil_a_row() {
    let entry = |path: Vec<u8>| HttpEntry {
        request: Some(Request {
            path,
            ..Request::default()
        }),
        ..HttpEntry::default()
    };
    let path = |sent: Vec<u8>| envelope(&rows().of(entry(sent), NOW).1).path;
    assert_eq!(path(vec![b'a'; 300]).unwrap().len(), 256);
    let cut = path("ä".repeat(200).into_bytes()).unwrap();
    assert_eq!(cut, "ä".repeat(128));
    let odd = path(format!("x{}", "ä".repeat(200)).into_bytes()).unwrap();
    assert_eq!(odd.len(), 255, "cut between characters");
    assert_eq!(path(b"/\xff\xfe".to_vec()).unwrap(), "/\u{fffd}\u{fffd}");
    assert_eq!(path(Vec::new()), None);
}

#[test]
fn nothing_known_still_gives_a_row() {
    let (origin, entry) = rows().of(HttpEntry::default(), NOW);
    assert_eq!(origin, Origin::Bare);
    assert_eq!(
        (envelope(&entry).kind(), envelope(&entry).status()),
        ("bare", 0)
    );
}

#[test]
fn the_tombstone_of_a_row_tells_only_which_it_was() {
    let record = Envelope {
        person: Some("ana".into()),
        path: Some("/chat".into()),
        decision_id: Some("gd_1".into()),
        ..Envelope::default()
    };
    let content = Content {
        request_content: Some("hello".into()),
        response_content: None,
    };
    let row = tombstone_of(&sealed(record, &content), "rejected");
    let expected = Envelope {
        version: Some(1),
        kind: Some("tombstone".into()),
        reason: Some("rejected".into()),
        epoch: Some("09".repeat(16)),
        seq: Some(0),
        decision_id: Some("gd_1".into()),
        ..Envelope::default()
    };
    assert_eq!(Envelope::decode(row.as_slice()).unwrap(), expected);
}

#[test]
fn every_row_has_a_proof_and_its_hash_goes_into_the_chain() {
    let sent = sealed(Envelope::default(), &Content::default());
    for entry in [carrying(&sent), carrying(&[0xff; 9]), HttpEntry::default()] {
        let (origin, entry) = rows().of(entry, NOW);
        let proof = Proof::decode(entry.row.as_ref()).unwrap();
        assert_eq!(proof.hash(), entry.hash, "{origin:?}");
        assert_eq!(
            record_hash(proof.prev_hash(), proof.envelope()),
            entry.hash,
            "{origin:?}"
        );
        assert!(entry.row.starts_with(proof.envelope()), "{origin:?}");
        assert_eq!(proof.mac.is_some(), origin == Origin::Record);
    }
}

#[test]
fn the_tombstone_of_a_row_has_its_hash() {
    let sent = sealed(Envelope::default(), &Content::default());
    let tombstone = tombstone_of(&sent, "rejected");
    let proof = Proof::decode(tombstone.as_slice()).unwrap();
    assert_eq!(proof.hash, Proof::decode(sent.as_slice()).unwrap().hash);
    assert!(
        tombstone.starts_with(proof.envelope()),
        "its envelope is its own"
    );
    assert_eq!(
        Envelope::decode(proof.envelope()).unwrap().kind(),
        "tombstone"
    );
    let older = tombstone_of(&Envelope::default().encode_to_vec(), "rejected");
    let proof = Proof::decode(older.as_slice()).unwrap();
    assert_eq!(proof.hash(), record_hash(&[], proof.envelope()));
}

#[test]
fn all_flags_have_words_of_their_own() {
    let all = ResponseFlags {
        failed_local_healthcheck: true,
        no_route_found: true,
        unauthorized_details: Some(crate::envoy::response_flags::Unauthorized {}),
        downstream_remote_reset: true,
        ..ResponseFlags::default()
    };
    let words: Vec<_> = flags(&all).collect();
    assert_eq!(
        words,
        [
            "failed local health check",
            "no route found",
            "unauthorized",
            "downstream reset"
        ]
    );
}
