//! What this worker knows to be granted, so that it need not ask again.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use contract::approval::{CauseSet, Digest};
use sha2::{Digest as _, Sha256};

use crate::time::UnixTime;

/// Most questions that are remembered.
const MAX_ENTRIES: usize = 1024;

/// Most granted items of one question.
const MAX_ITEMS: usize = 4096;

/// How long the desk's word is taken without asking again: a revocation takes effect after it.
pub(crate) const REMEMBERED: Duration = Duration::from_mins(5);

/// Granted items of content by person, rule, endpoint and model; bounded.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: HashMap<[u8; 32], Entry>,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    used: u64,
    /// Of the last items.
    source: Source,
    /// Until when each item may pass.
    items: BTreeMap<Digest, UnixTime>,
}

/// Where it is from that something may pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// The approval's id.
    pub(crate) approval: String,
    /// Who decided it.
    pub(crate) by: Option<String>,
}

/// What a grant is bound to besides its items.
pub(crate) fn key(person: &str, rule: Digest, endpoint: &str, model: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [
        person.as_bytes(),
        &rule.0,
        endpoint.as_bytes(),
        model.as_bytes(),
    ] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl Ledger {
    /// By which approval, the last if there are several, all items of a cause set are granted; `None`
    /// if one is not.
    pub(crate) fn covers(
        &mut self,
        key: [u8; 32],
        cause: &CauseSet,
        now: UnixTime,
    ) -> Option<&Source> {
        let entry = self.entries.get_mut(&key)?;
        let lives = |item: &Digest| entry.items.get(item).is_some_and(|until| now < *until);
        let covered = !cause.is_empty() && cause.items().all(|item| lives(&item));
        covered.then(|| {
            self.clock += 1;
            entry.used = self.clock;
            &entry.source
        })
    }

    /// Remembers items that were granted until `expires_at`.
    pub(crate) fn remember(
        &mut self,
        key: [u8; 32],
        items: impl Iterator<Item = Digest>,
        source: Source,
        expires_at: UnixTime,
        now: UnixTime,
    ) {
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key) {
            self.forget_one(now);
        }
        self.clock += 1;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            used: 0,
            source: Source::default(),
            items: BTreeMap::new(),
        });
        entry.used = self.clock;
        entry.source = source;
        let until = expires_at.min(now + REMEMBERED);
        entry.items.extend(items.map(|item| (item, until)));
        if entry.items.len() > MAX_ITEMS {
            entry.items.retain(|_, until| now < *until);
        }
        while entry.items.len() > MAX_ITEMS {
            entry.items.pop_first();
        }
    }

    /// Makes room: what is over, or else what was used longest ago.
    fn forget_one(&mut self, now: UnixTime) {
        let before = self.entries.len();
        self.entries
            .retain(|_, entry| entry.items.values().any(|until| now < *until));
        if self.entries.len() < before {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000_000_000);

    fn set(bytes: &[u8]) -> CauseSet {
        bytes.iter().map(|byte| Digest([*byte; 32])).collect()
    }

    fn from(number: u8) -> Source {
        Source {
            approval: format!("AP-{number}"),
            by: Some("bo".to_owned()),
        }
    }

    fn number(number: u64) -> [u8; 32] {
        key(&number.to_string(), Digest([0; 32]), "chat", "m")
    }

    #[test]
    fn granted_items_add_up_and_their_order_does_not_matter() {
        let mut ledger = Ledger::default();
        let hour = NOW + Duration::from_hours(1);
        ledger.remember(number(1), set(&[1]).items(), from(1), hour, NOW);
        assert!(ledger.covers(number(1), &set(&[1]), NOW).is_some());
        assert!(ledger.covers(number(1), &set(&[1, 2]), NOW).is_none());
        ledger.remember(number(1), set(&[2, 3]).items(), from(2), hour, NOW);
        let by = ledger.covers(number(1), &set(&[3, 1, 2]), NOW);
        assert_eq!(by, Some(&from(2)), "the last");
        assert!(ledger.covers(number(1), &set(&[]), NOW).is_none());
        assert!(ledger.covers(number(2), &set(&[1]), NOW).is_none());
    }

    #[test]
    fn what_was_granted_ends_with_the_grant_and_is_asked_about_again() {
        let mut ledger = Ledger::default();
        let second = Duration::from_secs(1);
        ledger.remember(number(1), set(&[1]).items(), from(1), NOW + second, NOW);
        assert!(ledger.covers(number(1), &set(&[1]), NOW).is_some());
        assert!(ledger.covers(number(1), &set(&[1]), NOW + second).is_none());
        let day = NOW + Duration::from_hours(24);
        ledger.remember(number(1), set(&[1]).items(), from(1), day, NOW);
        assert!(
            ledger
                .covers(number(1), &set(&[1]), NOW + REMEMBERED)
                .is_none()
        );
    }

    #[test]
    fn a_key_is_another_for_each_thing_it_is_bound_to() {
        let rule = Digest([7; 32]);
        let same = key("p", rule, "chat", "m");
        let others = [
            key("q", rule, "chat", "m"),
            key("p", Digest([8; 32]), "chat", "m"),
            key("p", rule, "cha", "tm"),
            key("p", rule, "chat", "n"),
        ];
        assert!(others.iter().all(|other| *other != same));
    }

    #[test]
    fn the_ledger_is_bounded_and_forgets_what_was_used_longest_ago() {
        let mut ledger = Ledger::default();
        let hour = NOW + Duration::from_hours(1);
        for person in 0..MAX_ENTRIES as u64 {
            ledger.remember(number(person), set(&[1]).items(), from(1), hour, NOW);
        }
        assert!(ledger.covers(number(0), &set(&[1]), NOW).is_some());
        ledger.remember(number(9_999_999), set(&[1]).items(), from(1), hour, NOW);
        assert_eq!(ledger.entries.len(), MAX_ENTRIES);
        assert!(ledger.covers(number(0), &set(&[1]), NOW).is_some());
        assert!(ledger.covers(number(1), &set(&[1]), NOW).is_none());
        let many = (0..2 * MAX_ITEMS).map(|item| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&item.to_be_bytes());
            Digest(digest)
        });
        ledger.remember(number(0), many, from(1), hour, NOW);
        assert_eq!(ledger.entries[&number(0)].items.len(), MAX_ITEMS);
    }
}
