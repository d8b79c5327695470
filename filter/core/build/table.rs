//! The table of `mask::turns`: where anything of the catalogue may begin.

use std::collections::{BTreeMap, BTreeSet};

use regex_automata::{Anchored, dfa::Automaton as _, util::start};

use super::{
    Automaton, bytes, names,
    turns::{BUCKETS, LANES, turn},
};

/// A set of bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Bytes([u64; 4]);

/// How something begins.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Beginning([Bytes; LANES]);

impl Bytes {
    const ALL: Self = Self([u64::MAX; 4]);

    fn of(fits: impl Fn(u8) -> bool) -> Self {
        let mut bytes = Self::default();
        for byte in (0..=u8::MAX).filter(|byte| fits(*byte)) {
            bytes.add(byte);
        }
        bytes
    }

    fn add(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }

    fn has(self, byte: u8) -> bool {
        let word = self.0.get(usize::from(byte >> 6));
        word.is_some_and(|word| word >> (byte & 63) & 1 != 0)
    }

    fn and(self, other: Self) -> Self {
        let mut both = self;
        for (word, other) in both.0.iter_mut().zip(other.0) {
            *word |= other;
        }
        both
    }
}

impl Beginning {
    /// Bytes of a text in any case, behind any byte.
    fn of_word(word: &str) -> Self {
        let mut lanes = [Bytes::ALL; LANES];
        for (lane, letter) in lanes.iter_mut().skip(1).zip(word.bytes()) {
            *lane = Bytes::of(|byte| byte.eq_ignore_ascii_case(&letter));
        }
        Self(lanes)
    }

    fn and(self, other: Self) -> Self {
        let mut both = self;
        for (lane, other) in both.0.iter_mut().zip(other.0) {
            *lane = lane.and(other);
        }
        both
    }
}

/// Each byte's misfits, sixteen bytes each, the least one first.
pub(super) fn of(words: &[&Automaton], openings: &Automaton, encoded: &Automaton) -> Vec<u8> {
    let before_word = Bytes::of(|byte| !bytes::is_word(byte));
    let mut tokens = Vec::new();
    for (first, words) in (0..=u8::MAX).flat_map(|first| words.iter().map(move |it| (first, it))) {
        tokens.extend(beginnings(words, first).map(|rest| behind(&[before_word], &rest)));
    }
    // a placeholder of ours counts as a token
    let placeholder = b"MASKED_".map(|letter| Bytes::of(|byte| byte == letter));
    tokens.push(behind(&[before_word], &placeholder));
    let anchors = names::ANCHORS.iter().flat_map(|(_, anchors)| *anchors);
    let anchors = anchors
        .map(|anchor| Beginning::of_word(anchor))
        .collect::<Vec<_>>();
    let opening = Bytes::of(bytes::is_opening);
    let behind_opening = (0..=u8::MAX).flat_map(|first| {
        beginnings(openings, first).map(move |rest| behind(&[Bytes::ALL, opening], &rest))
    });
    let before_run = Bytes::of(|byte| !bytes::is_in_base64(byte));
    let encodings = (0..=u8::MAX)
        .flat_map(|first| beginnings(encoded, first).map(move |rest| behind(&[before_run], &rest)));
    let mut buckets = merge(&united(tokens), turn::TOKEN);
    buckets.extend(merge(&united(encodings.collect()), turn::ENCODED));
    buckets.extend(merge(&anchors, turn::ANCHOR));
    buckets.extend(merge(&united(behind_opening.collect()), turn::OPENING));
    buckets.extend(merge(&others(), turn::OTHER));
    misfits(&buckets)
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect()
}

/// What `TextMask::stops` reads itself.
fn others() -> Vec<Beginning> {
    let pair = |before: fn(&u8) -> bool, first: fn(&u8) -> bool, second: fn(&u8) -> bool| {
        behind(
            &[before, first, second].map(|fits| Bytes::of(|b| fits(&b))),
            &[],
        )
    };
    let option = pair(
        |_| true,
        |b| *b == b'-',
        |b| matches!(b, b'a' | b'p' | b'P' | b'u' | b'w'),
    );
    let port = pair(u8::is_ascii_digit, u8::is_ascii_digit, |b| *b == b':');
    let scheme = pair(|b| *b == b':', |b| *b == b'/', |b| *b == b'/');
    let escape = pair(
        |_| true,
        |b| *b == b'\\',
        |b| matches!(b, b'n' | b'r' | b't'),
    );
    let mut percent = pair(|_| true, |b| *b == b'%', u8::is_ascii_hexdigit);
    percent.0[3] = percent.0[2];
    vec![option, port, scheme, escape, percent]
}

/// What stands behind some bytes; behind its end stands anything.
fn behind(before: &[Bytes], rest: &[Bytes]) -> Beginning {
    let mut lanes = [Bytes::ALL; LANES];
    for (lane, bytes) in lanes.iter_mut().zip(before.iter().chain(rest)) {
        *lane = *bytes;
    }
    Beginning(lanes)
}

/// The bytes of what an automaton knows with this first byte, for each second one.
fn beginnings(dfa: &Automaton, first: u8) -> impl Iterator<Item = [Bytes; LANES - 1]> {
    let start = start::Config::new().anchored(Anchored::Yes);
    let start = dfa.start_state(&start).expect("made for anchored searches");
    let after =
        |state, byte| Some(dfa.next_state(state, byte)).filter(|next| !dfa.is_dead_state(*next));
    let mut found: Vec<[Bytes; LANES - 1]> = Vec::new();
    let first_state = after(start, first);
    for byte in 0..=u8::MAX {
        let Some(state) = first_state.and_then(|state| after(state, byte)) else {
            continue;
        };
        let mut lanes = [Bytes::ALL; LANES - 1];
        lanes[0] = Bytes::of(|other| other == first);
        lanes[1] = Bytes::of(|other| other == byte);
        let mut states = BTreeSet::from([state]);
        for lane in &mut lanes[2..] {
            if states.iter().any(|state| dfa.is_match_state(*state)) {
                break;
            }
            *lane = Bytes::default();
            let mut next = BTreeSet::new();
            for state in states {
                for byte in 0..=u8::MAX {
                    next.extend(after(state, byte).inspect(|_| lane.add(byte)));
                }
            }
            states = next;
        }
        found.push(lanes);
    }
    found.into_iter()
}

/// Puts beginnings together, those that widen each other least, until there are as many as buckets.
fn merge(beginnings: &[Beginning], buckets: u16) -> Vec<Beginning> {
    let count = buckets.count_ones() as usize;
    let orders = (0..ORDERS).map(|order| arranged(beginnings, order, count));
    let cost = |buckets: &Vec<Beginning>| buckets.iter().copied().map(weight).sum::<u128>();
    orders.min_by_key(cost).expect("some orders")
}

/// Makes one of those that differ in one lane alone, lane by lane: nothing is widened by that.
fn united(beginnings: Vec<Beginning>) -> Vec<Beginning> {
    (0..LANES).rev().fold(beginnings, |beginnings, lane| {
        let mut united: BTreeMap<[Bytes; LANES], Bytes> = BTreeMap::new();
        for Beginning(mut others) in beginnings {
            let own = std::mem::replace(&mut others[lane], Bytes::ALL);
            let known = united.entry(others).or_default();
            *known = known.and(own);
        }
        let whole = |(mut lanes, own): ([Bytes; LANES], Bytes)| {
            lanes[lane] = own;
            Beginning(lanes)
        };
        united.into_iter().map(whole).collect()
    })
}

/// Orders that are tried: which beginnings go together depends on which came first.
const ORDERS: usize = 24;

/// Puts beginnings into buckets in some order, and again until each is where it adds least.
fn arranged(beginnings: &[Beginning], order: usize, count: usize) -> Vec<Beginning> {
    let mut buckets: Vec<Vec<Beginning>> = vec![Vec::new(); count];
    for (at, beginning) in beginnings.iter().enumerate() {
        buckets[at.wrapping_mul(order * 2 + 1) / (order % 5 + 1) % count].push(*beginning);
    }
    for _ in 0..4 {
        for bucket in 0..count {
            for _ in 0..buckets[bucket].len() {
                let beginning = buckets[bucket].remove(0);
                place(&mut buckets, beginning);
            }
        }
    }
    buckets.iter().map(|bucket| all(bucket)).collect()
}

/// Puts a beginning where it adds least.
fn place(buckets: &mut [Vec<Beginning>], new: Beginning) {
    let added = |bucket: &[Beginning]| {
        let before = all(bucket);
        weight(before.and(new)) - weight(before)
    };
    let best = buckets.iter_mut().min_by_key(|bucket| added(bucket));
    best.expect("there are buckets").push(new);
}

/// What any of these begin with.
fn all(beginnings: &[Beginning]) -> Beginning {
    let none = Beginning([Bytes::default(); LANES]);
    beginnings.iter().fold(none, |all, one| all.and(*one))
}

/// For each byte the buckets in which it does not fit, lane by lane; the first lane is the highest.
fn misfits(buckets: &[Beginning]) -> [u128; 256] {
    let mut misfits = [0; 256];
    for (byte, entry) in (0..=u8::MAX).zip(&mut misfits) {
        for lane in 0..LANES {
            let fits = |bucket: u32| {
                let bucket = usize::try_from(bucket).ok().and_then(|at| buckets.get(at));
                bucket
                    .and_then(|bucket| bucket.0.get(lane))
                    .is_some_and(|bytes| bytes.has(byte))
            };
            let bits = (0..BUCKETS).filter(|bucket| !fits(*bucket));
            let bits = bits.fold(0_u128, |bits, bucket| bits | 1 << bucket);
            *entry = *entry << BUCKETS | bits;
        }
    }
    misfits
}

/// How often this is found, in prose and code alike.
fn weight(beginning: Beginning) -> u128 {
    let weight_of = |lane: Bytes| {
        let bytes = (0..=u8::MAX).filter(|byte| lane.has(*byte));
        bytes.map(frequency).sum::<u128>()
    };
    beginning.0.map(weight_of).iter().product()
}

/// How often a byte stands in a thousand, about.
fn frequency(byte: u8) -> u128 {
    match byte {
        b' ' => 120,
        b'a' | b'e' | b'i' | b'n' | b'o' | b'r' | b's' | b't' => 48,
        b'a'..=b'z' => 15,
        b'A'..=b'Z' | b'0'..=b'9' => 3,
        b'\n' | 0x21..=0x7e => 10,
        _ => 1,
    }
}
