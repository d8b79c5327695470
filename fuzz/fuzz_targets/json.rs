//! The JSON reader: takes what others take, reports it rightly in place, and edits hold.
//!
//! Input: two bytes that choose what is edited and cut, then JSON.

#![no_main]

use std::collections::HashSet;
use std::fmt;

use filter_core::json::{
    Container, Edits, Event, JsonError, MAX_DEPTH, Path, Span, Step, Value, push_string, walk,
};
use fuzz::{head, pieces};
use libfuzzer_sys::fuzz_target;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Tree};

fuzz_target!(|data: &[u8]| {
    let Some((seed, source)) = head::<2>(data) else {
        return;
    };
    let seed = u16::from_le_bytes(seed);
    let read = read(source);
    let others_take_it = serde_json::from_slice::<IgnoredAny>(source).is_ok();
    match &read {
        Ok(_) => assert!(others_take_it, "taken, though it is not JSON"),
        Err(JsonError::Encoding) => assert!(std::str::from_utf8(source).is_err()),
        Err(JsonError::Malformed { at }) => assert!(!others_take_it && *at <= source.len()),
        Err(JsonError::Trailing) => assert!(!others_take_it),
        Err(JsonError::TooDeep) => {
            let opening = source.iter().filter(|byte| matches!(byte, b'[' | b'{'));
            assert!(opening.count() > MAX_DEPTH);
        }
        Err(JsonError::DuplicateKey) if has_lone_surrogate(source) => {}
        Err(JsonError::DuplicateKey) => {
            let mut reader = serde_json::Deserializer::from_slice(source);
            assert!(
                NoKeyTwice.deserialize(&mut reader).is_err(),
                "no key stands twice"
            );
        }
    }
    if let Ok(read) = read {
        if let Ok(tree) = serde_json::from_slice::<Tree>(source) {
            assert_eq!(read.tree, tree);
            let mut reader = serde_json::Deserializer::from_slice(source);
            assert!(
                NoKeyTwice.deserialize(&mut reader).is_ok(),
                "a key stands twice"
            );
        }
        edit(source, &read, seed);
    }
    decode_in_pieces(source, seed);
});

/// What the reader reported.
#[derive(Default)]
struct Read {
    tree: Tree,
    /// Place of each value and container in the source, and its pointer, in order of their ends.
    places: Vec<(Span, String)>,
}

/// Builds the tree from what is reported; checks places and paths on the way.
fn read(source: &[u8]) -> Result<Read, JsonError> {
    let mut read = Read::default();
    let mut open: Vec<Tree> = Vec::new();
    let mut last = 0;
    walk(source, &mut |path: &Path<'_>, event| {
        let (span, value) = match event {
            Event::Open(container) => {
                assert_eq!(path.depth(), open.len());
                open.push(match container {
                    Container::Array => Tree::Array(Vec::new()),
                    Container::Object => Tree::Object(Map::new()),
                });
                return Ok(());
            }
            Event::Key(span, key) => {
                assert_eq!(path.depth() + 1, open.len());
                assert!(last <= span.start && source[span.start] == b'"');
                assert_eq!(key.is_empty(), span.length() == 2);
                last = span.end;
                return Ok(());
            }
            Event::Value(span, value) => {
                assert!(last <= span.start);
                (span, tree_of(&value))
            }
            Event::Close(container, span) => {
                let brackets = (source[span.start], source[span.end - 1]);
                match container {
                    Container::Array => assert_eq!(brackets, (b'[', b']')),
                    Container::Object => assert_eq!(brackets, (b'{', b'}')),
                }
                (span, open.pop().unwrap())
            }
        };
        assert_eq!(path.depth(), open.len());
        assert!(last <= span.end && span.start < span.end && span.end <= source.len());
        last = span.end;
        read.places.push((span, pointer(path)));
        match (open.last_mut(), path.iter().last()) {
            (None, None) => read.tree = value,
            (Some(Tree::Array(list)), Some(Step::Index(index))) => {
                assert_eq!(list.len(), index);
                list.push(value);
            }
            (Some(Tree::Object(map)), Some(Step::Key(key))) => {
                map.insert(key.to_owned(), value);
            }
            _ => panic!("a value out of place"),
        }
        Ok::<_, JsonError>(())
    })?;
    Ok(read)
}

fn tree_of(value: &Value<'_>) -> Tree {
    match value {
        Value::Null => Tree::Null,
        Value::Bool(flag) => Tree::Bool(*flag),
        Value::Number(number) => serde_json::from_str(number).unwrap_or(Tree::Null),
        Value::Text(text) => Tree::String(text.decode().into_owned()),
    }
}

fn pointer(path: &Path<'_>) -> String {
    let mut pointer = String::new();
    for step in path.iter() {
        pointer.push('/');
        match step {
            Step::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => pointer.push_str(&index.to_string()),
        }
    }
    pointer
}

/// Replaces some values: the result is JSON and differs nowhere else.
fn edit(source: &[u8], read: &Read, seed: u16) {
    let mut edits = Edits::default();
    let mut expected = read.tree.clone();
    // What ends later contains what ended before, and counts.
    for (at, (span, pointer)) in read.places.iter().enumerate() {
        if seed.rotate_left(at as u32) & 3 != 0 {
            continue;
        }
        let text = "a\u{0}\"\\\u{7f}\né🦀";
        let with = if seed & 4 == 0 {
            Tree::Null
        } else {
            Tree::from(text)
        };
        match &with {
            Tree::Null => edits.replace(*span, b"null"),
            _ => edits.replace_text(*span, text),
        }
        *expected
            .pointer_mut(pointer)
            .expect("the pointer leads to a value") = with;
    }
    let unchanged = edits.is_empty();
    let edited = edits.apply(source);
    assert!(!unchanged || edited == source);
    let again = self::read(&edited).expect("an edited source is JSON");
    assert_eq!(again.tree, expected);
}

/// Reads the bytes as a text, written in escapes and in several strings: it stays whole.
fn decode_in_pieces(bytes: &[u8], seed: u16) {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| match pair {
            [high @ 0xd8..=0xdf, low] | [low, high] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        })
        .collect();
    let expected = String::from_utf16_lossy(&units);
    let positions: Vec<u8> = vec![0; units.len()];
    let (mut rest, mut carry, mut decoded) = (units.as_slice(), None, String::new());
    let mut push = |piece: &[u16], keep: bool| {
        let escapes = piece.iter().map(|unit| match *unit {
            plain @ (0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e) => String::from(plain as u8 as char),
            unit => format!("\\u{unit:04x}"),
        });
        let source = format!("\"{}\"", escapes.collect::<String>());
        walk(source.as_bytes(), &mut |_, event| {
            if let Event::Value(_, Value::Text(text)) = event {
                decoded.push_str(&text.decode_piece(&mut carry, keep));
            }
            Ok::<_, JsonError>(())
        })
        .expect("escapes are JSON");
    };
    for piece in pieces(&positions, seed) {
        let (piece, after) = rest.split_at(piece.len());
        push(piece, true);
        rest = after;
    }
    push(&[], false);
    assert_eq!(decoded, expected);

    let mut string = Vec::new();
    push_string(&mut string, &expected);
    assert_eq!(serde_json::from_slice::<String>(&string).unwrap(), expected);
}

fn has_lone_surrogate(source: &[u8]) -> bool {
    serde_json::from_slice::<Tree>(source).is_err()
}

/// Fails at an object with two equal keys.
#[derive(Clone, Copy)]
struct NoKeyTwice;

impl<'de> DeserializeSeed<'de> for NoKeyTwice {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NoKeyTwice {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !keys.insert(key) {
                return Err(Error::custom("a key twice"));
            }
            map.next_value_seed(self)?;
        }
        Ok(())
    }
}
