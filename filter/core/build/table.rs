//! The table of `mask::turns`: where anything of the catalogue may begin.

use regex_automata::{
    Anchored,
    dfa::{Automaton as _, dense},
    util::start,
};

use super::{
    bytes, names,
    turns::{BUCKETS, LANES, turn},
};

/// A set of bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
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

/// Each byte's misfits, eight bytes each, the least one first.
pub(super) fn of(words: &[&dense::DFA<Vec<u32>>], openings: &dense::DFA<Vec<u32>>) -> Vec<u8> {
    let before_word = Bytes::of(|byte| !bytes::is_word(byte));
    let mut tokens = Vec::new();
    for (first, words) in (0..=u8::MAX).flat_map(|first| words.iter().map(move |it| (first, it))) {
        tokens.extend(beginnings(words, first).map(|[second, third, fourth]| {
            let first = Bytes::of(|byte| byte == first);
            Beginning([before_word, first, second, third, fourth])
        }));
    }
    // a placeholder of ours counts as a token
    let [first, second, third, fourth] = b"MASK".map(|letter| Bytes::of(|byte| byte == letter));
    tokens.push(Beginning([before_word, first, second, third, fourth]));
    let anchors = names::ANCHORS.iter().flat_map(|(_, anchors)| *anchors);
    let anchors = anchors.map(|anchor| Beginning::of_word(anchor)).collect();
    let opening = Bytes::of(bytes::is_opening);
    let behind_opening = (0..=u8::MAX).flat_map(|first| {
        let first_of_all = Bytes::of(move |byte| byte == first);
        beginnings(openings, first).map(move |[second, third, _]| {
            Beginning([Bytes::ALL, opening, first_of_all, second, third])
        })
    });
    let mut buckets = merge(tokens, turn::TOKEN);
    buckets.extend(merge(anchors, turn::ANCHOR));
    buckets.extend(merge(behind_opening.collect(), turn::OPENING));
    buckets.extend(merge(others(), turn::OTHER));
    let misfits = misfits(&buckets);
    misfits
        .iter()
        .flat_map(|entry| entry.to_le_bytes())
        .collect()
}

/// What `TextMask::stops` reads itself.
fn others() -> Vec<Beginning> {
    let pair = |before: fn(&u8) -> bool, first: fn(&u8) -> bool, second: fn(&u8) -> bool| {
        let [before, first, second] = [before, first, second].map(|fits| Bytes::of(|b| fits(&b)));
        Beginning([before, first, second, Bytes::ALL, Bytes::ALL])
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

/// What may follow a first byte, for each second one: the second, the third and the fourth bytes.
/// Those with the same third and fourth ones are put together.
fn beginnings(dfa: &dense::DFA<Vec<u32>>, first: u8) -> impl Iterator<Item = [Bytes; 3]> {
    let start = start::Config::new().anchored(Anchored::Yes);
    let start = dfa.start_state(&start).expect("made for anchored searches");
    let after =
        |state, byte| Some(dfa.next_state(state, byte)).filter(|next| !dfa.is_dead_state(*next));
    let mut found: Vec<[Bytes; 3]> = Vec::new();
    let first = after(start, first);
    for byte in 0..=u8::MAX {
        let Some(second) = first.and_then(|state| after(state, byte)) else {
            continue;
        };
        let (mut thirds, mut fourths) = (Bytes::default(), Bytes::default());
        for byte in 0..=u8::MAX {
            if let Some(third) = after(second, byte) {
                thirds.add(byte);
                for byte in 0..=u8::MAX {
                    if dfa.is_match_state(third) || after(third, byte).is_some() {
                        fourths.add(byte);
                    }
                }
            }
        }
        let known = found
            .iter_mut()
            .find(|known| known[1] == thirds && known[2] == fourths);
        match known {
            Some([seconds, ..]) => seconds.add(byte),
            None => found.push([Bytes::of(|other| other == byte), thirds, fourths]),
        }
    }
    found.into_iter()
}

/// Puts beginnings together, those that widen each other least, until there are as many as buckets.
fn merge(beginnings: Vec<Beginning>, buckets: u16) -> Vec<Beginning> {
    let spare = beginnings
        .len()
        .saturating_sub(buckets.count_ones() as usize);
    let mut all: Vec<Option<Beginning>> = Vec::new();
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    let mut new = beginnings.into_iter();
    for merged in 0..=spare {
        // first all of them, then what the last two became
        for beginning in new.by_ref() {
            let apart = weight(beginning);
            let grown = |known: &Beginning| {
                weight(known.and(beginning)).saturating_sub(weight(*known) + apart)
            };
            let known = all.iter().enumerate();
            let known = known.filter_map(|(at, known)| Some((at, known.as_ref()?)));
            pairs.extend(known.map(|(at, known)| (grown(known), at, all.len())));
            all.push(Some(beginning));
        }
        if merged == spare {
            break;
        }
        let (_, one, other) = *pairs.iter().min().expect("more than one is left");
        pairs.retain(|(_, a, b)| ![*a, *b].iter().any(|at| [one, other].contains(at)));
        let mut take = |at: usize| all.get_mut(at).and_then(Option::take);
        let both = take(one).zip(take(other));
        let (one, other) = both.expect("only what is left has pairs");
        new = vec![one.and(other)].into_iter();
    }
    all.into_iter().flatten().collect()
}

/// For each byte the buckets in which it does not fit, lane by lane; the first lane is the highest.
fn misfits(buckets: &[Beginning]) -> [u64; 256] {
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
            let bits = bits.fold(0_u64, |bits, bucket| bits | 1 << bucket);
            *entry = *entry << BUCKETS | bits;
        }
    }
    misfits
}

/// How often this is found, in prose and code alike.
fn weight(beginning: Beginning) -> u64 {
    let weight_of = |lane: Bytes| {
        let bytes = (0..=u8::MAX).filter(|byte| lane.has(*byte));
        bytes.map(frequency).sum::<u64>()
    };
    beginning.0.map(weight_of).iter().product()
}

/// How often a byte stands in a thousand, about.
fn frequency(byte: u8) -> u64 {
    match byte {
        b' ' => 120,
        b'a' | b'e' | b'i' | b'n' | b'o' | b'r' | b's' | b't' => 48,
        b'a'..=b'z' => 15,
        b'A'..=b'Z' | b'0'..=b'9' => 3,
        b'\n' | 0x21..=0x7e => 10,
        _ => 1,
    }
}
