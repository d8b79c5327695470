//! Sealed records: what was altered anywhere is refused, and bytes from outside do no harm.

#![no_main]

use arbitrary::Arbitrary;
use contract::{Chain, Content, Envelope, Epoch, MacKey, Sealed, open};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    person: Option<&'a str>,
    endpoint: Option<&'a str>,
    findings: Option<i64>,
    request: Option<&'a str>,
    response: Option<&'a str>,
    changes: Vec<Change<'a>>,
    raw: &'a [u8],
}

/// One change to a sealed record; places are taken modulo its length.
#[derive(Arbitrary, Debug)]
enum Change<'a> {
    Byte(u16, u8),
    Cut(u16),
    Remove(u16, u8),
    Insert(u16, &'a [u8]),
    /// A part of the next record of the chain in place of the one that is there.
    Splice(u16, u16),
    /// All again behind the record.
    Twice,
}

fuzz_target!(|input: Input<'_>| {
    let keys = [MacKey::new("k1", &[7; 32]), MacKey::new("k2", &[8; 32])];
    assert!(open(input.raw, &keys).is_err(), "a seal was invented");

    let envelope = Envelope {
        person: input.person.map(str::to_owned),
        endpoint: input.endpoint.map(str::to_owned),
        findings_count: input.findings,
        ..Envelope::default()
    };
    let content = Content {
        request_content: input.request.map(str::to_owned),
        response_content: input.response.map(str::to_owned),
    };
    let mut chain = Chain::new(Epoch([3; 16]));
    let first = chain.seal(envelope.clone(), &content, &keys[0]);
    let second = chain.seal(envelope.clone(), &content, &keys[1]);
    let (one, proof) = open(&first.bytes, &keys).expect("a sealed record opens");
    let (two, next) = open(&second.bytes, &keys).expect("a sealed record opens");
    assert_eq!(
        (one.seq(), two.seq(), next.prev_hash()),
        (0, 1, proof.hash())
    );
    assert_eq!(
        (one.person, one.endpoint),
        (envelope.person, envelope.endpoint)
    );

    let altered = alter(&first, &second, &input.changes);
    if altered != first.bytes && altered != second.bytes {
        assert!(open(&altered, &keys).is_err(), "an altered record opens");
    }
});

fn alter(first: &Sealed, second: &Sealed, changes: &[Change<'_>]) -> Vec<u8> {
    let mut bytes = first.bytes.clone();
    for change in changes {
        let place = |at: u16| usize::from(at) % (bytes.len() + 1);
        match change {
            Change::Byte(at, with) => {
                let at = place(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *with;
                }
            }
            Change::Cut(at) => bytes.truncate(place(*at)),
            Change::Remove(at, length) => {
                let from = place(*at);
                let to = bytes.len().min(from + usize::from(*length));
                bytes.drain(from..to);
            }
            Change::Insert(at, more) => {
                let at = place(*at);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Splice(at, length) => {
                let from = place(*at).min(second.bytes.len());
                let to = (from + usize::from(*length))
                    .min(bytes.len())
                    .min(second.bytes.len());
                if from < to {
                    bytes[from..to].copy_from_slice(&second.bytes[from..to]);
                }
            }
            Change::Twice => bytes.extend_from_within(..),
        }
        if bytes.len() > 1 << 16 {
            break;
        }
    }
    bytes
}
