//! What was sent before: clients send all of a conversation with each turn.
//!
//! Of each longer text of a person's requests a digest of 128 bits is kept under a key that nobody
//! outside has, so that no caller can make two texts with the same one. Behind it stand two facts:
//!
//! - what was found in the text, without the values: as long as the same values may pass, the same is
//!   found in the same text;
//! - where the text is recorded: a place in a record of the same hour, which takes its place in
//!   the records after it.
//!
//! Of the elements of a request's lists, such as messages, the same is kept where there is nothing in
//! one but texts: then it is not read again.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use contract::Epoch;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::json::Span;
use crate::mask;
use crate::time::UnixTime;

/// Texts kept in each of two generations, over all persons: less than 3 MB in all.
const GENERATION: usize = 16 * 1024;

/// The same of texts in which something was found: less than 3 MB in all.
const FOUND_GENERATION: usize = 1024;

/// The same of elements: less than 5 MB in all.
const ELEMENT_GENERATION: usize = 4096;

/// Most longer texts of an element that is kept.
const ELEMENT_TEXTS: usize = 16;

/// Shorter texts are as quickly looked at, and hardly longer than a reference, in bytes.
const WORTH: usize = 128;

/// How long a record is referred to: then the text is recorded again.
const REFERRED: Duration = Duration::from_hours(1);

/// What is kept of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u64; 2]);

/// The texts of all persons of a worker; those of the last turns stay.
#[derive(Debug)]
pub struct Repeats {
    key: SipHasher13,
    /// As references show it.
    epoch: String,
    known: Generations<Known>,
    found: Generations<Rc<mask::Known>>,
    elements: Generations<Rc<Element>>,
}

/// An element of a list in which nothing was found and nothing decides, once it is read.
#[derive(Debug)]
pub(crate) struct Element {
    /// Bytes of text that were looked at.
    pub(crate) scanned: u64,
    /// Its longer texts, and where they stand in it.
    pub(crate) texts: Vec<(Digest, Span)>,
    /// Names of tools that it offers.
    pub(crate) tools: Vec<String>,
}

/// What is kept of texts: of those that were used last.
#[derive(Debug)]
struct Generations<T> {
    young: HashMap<Digest, T>,
    old: HashMap<Digest, T>,
    /// Size of one.
    most: usize,
}

impl<T> Generations<T> {
    fn new(most: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            most,
        }
    }

    /// The entry of a text, which is young again.
    fn get(&mut self, text: Digest) -> Option<&T> {
        if let Some(aged) = self.old.remove(&text) {
            self.put(text, aged);
        }
        self.young.get(&text)
    }

    /// Sets the entry of a text.
    fn put(&mut self, text: Digest, entry: T) {
        if self.young.len() >= self.most && !self.young.contains_key(&text) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&text);
        self.young.insert(text, entry);
    }
}

/// What is known of a text.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Bytes of the text as it reads, if nothing was found in it.
    clean: Option<NonZeroU32>,
    recorded: Option<Recorded>,
}

/// Where a text is written, in numbers that need little room.
#[derive(Clone, Copy, Debug)]
struct Recorded {
    /// Since when, in seconds.
    since: u32,
    /// In which record of the epoch.
    seq: u32,
    start: u32,
    length: u32,
}

/// A text that is written out in the content of a record.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    text: Digest,
    /// Where it begins, behind its quote: characters from the start of the content, as SQL counts.
    start: u32,
    /// Its length as written there, in characters.
    length: u32,
}

impl Written {
    /// Finds the texts that stand, in quotes, at these spans of a content, in order.
    pub fn find(content: &str, texts: &[(Digest, Span)]) -> Vec<Self> {
        let (mut at, mut before) = (0, 0);
        let mut written = Vec::with_capacity(texts.len());
        for (text, span) in texts {
            let (start, end) = (span.start + 1, span.end.saturating_sub(1));
            let (Some(skipped), Some(inside)) = (content.get(at..start), content.get(start..end))
            else {
                break; // beyond what is kept of the content
            };
            let start = before + skipped.chars().count();
            let length = inside.chars().count();
            (at, before) = (end, start + length);
            if let (Ok(start), Ok(length)) = (u32::try_from(start), u32::try_from(length)) {
                let text = *text;
                written.push(Self {
                    text,
                    start,
                    length,
                });
            }
        }
        written
    }
}

impl Repeats {
    /// Knows no text; `key` is secret, and records are of this epoch.
    pub fn new(key: &[u8; 16], epoch: Epoch) -> Self {
        Self {
            key: SipHasher13::new_with_key(key),
            epoch: epoch.to_string(),
            known: Generations::new(GENERATION),
            found: Generations::new(FOUND_GENERATION),
            elements: Generations::new(ELEMENT_GENERATION),
        }
    }

    /// The texts of one person.
    pub fn of(&mut self, person: &str) -> Texts<'_> {
        let mut hasher = self.key;
        hasher.write_usize(person.len());
        hasher.write(person.as_bytes());
        Texts {
            repeats: self,
            hasher,
        }
    }

    /// Forgets all texts: what is found in them may be another from now on.
    pub fn forget(&mut self) {
        self.known = Generations::new(GENERATION);
        self.found = Generations::new(FOUND_GENERATION);
        self.elements = Generations::new(ELEMENT_GENERATION);
    }

    /// A text stands in the record of this number.
    pub fn recorded(&mut self, written: Written, seq: i64, now: UnixTime) {
        let Written {
            text,
            start,
            length,
        } = written;
        let (since, seq) = (u32::try_from(now.seconds()), u32::try_from(seq));
        if let (Ok(since), Ok(seq)) = (since, seq) {
            let recorded = Some(Recorded {
                since,
                seq,
                start,
                length,
            });
            self.change(text, |known| known.recorded = recorded);
        }
    }

    fn known(&mut self, text: Digest) -> Known {
        self.known.get(text).copied().unwrap_or_default()
    }

    fn change(&mut self, text: Digest, change: impl FnOnce(&mut Known)) {
        let mut known = self.known(text);
        change(&mut known);
        self.known.put(text, known);
    }
}

/// The texts of one person.
pub struct Texts<'r> {
    repeats: &'r mut Repeats,
    hasher: SipHasher13,
}

impl Texts<'_> {
    /// The digest of a text; `None` if it is not worth one.
    pub fn digest(&self, text: &str) -> Option<Digest> {
        (text.len() >= WORTH).then(|| {
            let mut hasher = self.hasher;
            hasher.write(text.as_bytes());
            digest(&hasher)
        })
    }

    /// How many bytes the text has, if nothing was found in it before.
    pub fn clean(&mut self, text: Digest) -> Option<u64> {
        let clean = self.repeats.known(text).clean;
        clean.map(|length| length.get().into())
    }

    /// Nothing was found in the text, which has so many bytes.
    pub fn add_clean(&mut self, text: Digest, length: usize) {
        let length = u32::try_from(length).ok();
        let clean = length.and_then(NonZeroU32::new);
        self.repeats.change(text, |known| known.clean = clean);
    }

    /// What was found in the text before.
    pub(crate) fn found(&mut self, text: Digest) -> Option<Rc<mask::Known>> {
        self.repeats.found.get(text).cloned()
    }

    /// This was found in the text, if it is little enough to keep.
    pub(crate) fn add_found(&mut self, text: Digest, found: Option<mask::Known>) {
        if let Some(found) = found {
            self.repeats.found.put(text, Rc::new(found));
        }
    }

    /// The digest of an element as it is written, of the list of this name in a request of this kind;
    /// `None` if it is not worth one.
    pub(crate) fn element_digest(&self, kind: u8, list: &str, element: &str) -> Option<Digest> {
        (element.len() >= WORTH).then(|| {
            let mut hasher = self.hasher;
            hasher.write_u8(kind);
            hasher.write_usize(list.len());
            hasher.write(list.as_bytes());
            hasher.write(element.as_bytes());
            digest(&hasher)
        })
    }

    /// What is known of an element.
    pub(crate) fn element(&mut self, element: Digest) -> Option<Rc<Element>> {
        self.repeats.elements.get(element).cloned()
    }

    /// This is known of an element from now on, if it is little enough to keep.
    pub(crate) fn add_element(&mut self, element: Digest, known: Element) {
        if known.texts.len() <= ELEMENT_TEXTS && known.tools.len() <= 1 {
            self.repeats.elements.put(element, Rc::new(known));
        }
    }

    /// What is recorded in place of the text, if it stands in a record that is not too old:
    /// `seen:EPOCH:SEQ:START+LENGTH`, the last two in characters.
    pub fn reference(&mut self, text: Digest, now: UnixTime) -> Option<String> {
        let recorded = self.repeats.known(text).recorded?;
        let Recorded {
            since,
            seq,
            start,
            length,
        } = recorded;
        let age = now.since(UnixTime::from_seconds(since.into()));
        let epoch = &self.repeats.epoch;
        (age < REFERRED).then(|| format!("seen:{epoch}:{seq}:{start}+{length}"))
    }
}

fn digest(hasher: &SipHasher13) -> Digest {
    let hash = hasher.finish128();
    Digest([hash.h1, hash.h2])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: UnixTime = UnixTime(1_800_000_000_000_000);

    fn repeats(key: u8) -> Repeats {
        Repeats::new(&[key; 16], Epoch([0xab; 16]))
    }

    fn text(number: usize) -> String {
        format!("{number:0WORTH$}")
    }

    #[test]
    fn texts_in_use_stay_and_others_are_forgotten() {
        let mut repeats = repeats(7);
        let mut ana = repeats.of("ana");
        let digests: Vec<_> = (0..2 * GENERATION)
            .map(|number| ana.digest(&text(number)).unwrap())
            .collect();
        for (number, digest) in digests.iter().enumerate() {
            ana.add_clean(*digest, WORTH);
            if number % 1_000 == 0 {
                assert!(ana.clean(digests[0]).is_some(), "{number}");
            }
        }
        assert_eq!(ana.clean(digests[1]), None);
        assert!(repeats.known.young.len() + repeats.known.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn digests_differ_by_key_and_person_and_short_texts_have_none() {
        let digests = [(1, "ana"), (2, "ana"), (1, "bo")];
        let digests = digests.map(|(key, person)| repeats(key).of(person).digest(&text(0)));
        assert!(digests[0] != digests[1] && digests[0] != digests[2]);
        assert_eq!(repeats(1).of("ana").digest(text(0).split_at(1).1), None);
    }

    #[test]
    fn a_text_takes_little_room_and_is_found_only_where_all_of_it_stands() {
        assert!(size_of::<(Digest, Known)>() <= 40);
        let content = format!("[\"{}\",\"{}\"]", text(0), text(1));
        let mut repeats = repeats(1);
        let ana = repeats.of("ana");
        let places = [(0, 1), (1, WORTH + 4)].map(|(number, start)| {
            let digest = ana.digest(&text(number)).unwrap();
            let end = start + WORTH + 2;
            (digest, Span { start, end })
        });
        let found = |length: usize| {
            let content = content.get(..length).unwrap();
            Written::find(content, &places).len()
        };
        assert_eq!(
            [content.len(), WORTH + 20, WORTH, 0].map(found),
            [2, 1, 0, 0]
        );
    }

    #[test]
    fn a_text_is_referred_to_for_an_hour() {
        let mut repeats = repeats(1);
        let digest = repeats.of("ana").digest(&text(0)).unwrap();
        let content = format!("[\"é\",\"{}\"]", text(0));
        let span = Span {
            start: 6,
            end: content.len() - 1,
        };
        let written = Written::find(&content, &[(digest, span)]);
        repeats.recorded(written[0], 41, NOON);
        let mut at = |minutes| {
            let now = NOON + Duration::from_mins(minutes);
            repeats.of("ana").reference(digest, now)
        };
        let reference = format!("seen:{}:41:6+{WORTH}", "ab".repeat(16));
        assert_eq!(at(59), Some(reference));
        assert_eq!(at(60), None);
    }
}
