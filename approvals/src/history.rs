//! Everything that ever happened to an approval, in rows that show if one was changed.
//!
//! The table takes rows at its end only; triggers see to that. Whoever goes around them, with the file
//! in an editor, breaks the chain:
//!
//! ```text
//! hash = SHA-256("gate.history.v1" ‖ prev_hash ‖ number ‖ at ‖ ends_at ‖ approval ‖ event ‖ who ‖ exchange ‖ note ‖ state)
//! ```
//!
//! Numbers are 64-bit big-endian, texts have their length before them. The first row's `prev_hash` is
//! empty. The note of `asked` is the digest of what was asked, so the chain holds that too. What a
//! chain cannot show is that its last rows are gone: the desk logs the last hash when it starts.

use std::collections::HashMap;

use contract::approval::{CauseSet, Digest};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest as _, Sha256};

use crate::{
    state::{Seconds, Standing},
    store::StoreError,
};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Asked for the first time.
    Asked,
    /// Used up by an exchange.
    Consumed,
    /// Its time was over.
    Expired,
    /// Granted, by an approver or because other grants cover it.
    Granted,
    /// Another exchange asks for the same.
    Joined,
    /// The filter took the grant for the first time.
    Redeemed,
    /// Refused by an approver.
    Refused,
    /// Taken back.
    Revoked,
    /// An approver looked at it for the first time.
    Viewed,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Asked,
        Self::Consumed,
        Self::Expired,
        Self::Granted,
        Self::Joined,
        Self::Redeemed,
        Self::Refused,
        Self::Revoked,
        Self::Viewed,
    ];

    /// Name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Consumed => "consumed",
            Self::Expired => "expired",
            Self::Granted => "granted",
            Self::Joined => "joined",
            Self::Redeemed => "redeemed",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
            Self::Viewed => "viewed",
        }
    }
}

/// The desk itself, where `who` would be a person.
pub const DESK: &str = "desk";

/// A row to be added.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// When.
    pub at: Seconds,
    /// Of which approval.
    pub approval: &'a str,
    /// What.
    pub event: Event,
    /// Who did it: a person, or [`DESK`].
    pub who: &'a str,
    /// In which exchange, if in one.
    pub exchange: &'a str,
    /// A reason, or what else there is to say.
    pub note: &'a str,
    /// How the approval stands now.
    pub standing: &'a Standing,
}

/// Adds a row.
///
/// # Errors
///
/// [`StoreError`]; the transaction must then not be committed.
pub fn append(connection: &Connection, entry: &Entry<'_>) -> Result<(), StoreError> {
    let mut last = connection
        .prepare_cached("SELECT number, hash FROM history ORDER BY number DESC LIMIT 1")?;
    let (number, prev) = last
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or((0_i64, Vec::new()));
    let row = Link {
        number: number.saturating_add(1),
        at: entry.at,
        approval: entry.approval.to_owned(),
        event: entry.event.name().to_owned(),
        who: entry.who.to_owned(),
        exchange: entry.exchange.to_owned(),
        note: entry.note.to_owned(),
        state: entry.standing.state.name().to_owned(),
        ends_at: entry.standing.ends_at,
    };
    let hash = row.hash(&prev);
    connection
        .prepare_cached(
            "INSERT INTO history (number, at, approval, event, who, exchange, note, state, ends_at, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            row.number,
            row.at,
            row.approval,
            row.event,
            row.who,
            row.exchange,
            row.note,
            row.state,
            row.ends_at,
            hash.0,
        ])?;
    Ok(())
}

/// A history that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Number of its last row.
    pub rows: i64,
    /// Hash of its last row, if there is one.
    pub last: Option<Digest>,
}

/// Why a history is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A row is missing, was changed or was added by somebody else.
    #[error("row {0} of the history is not the one that was written")]
    Chain(i64),
    /// An approval is not what was asked for.
    #[error("{0} is not what was asked for")]
    Asked(String),
    /// An approval stands otherwise than its history says.
    #[error("{0} does not stand as its history says")]
    Standing(String),
}

/// Checks all of the history, and that every approval is and stands as the history says.
///
/// # Errors
///
/// The outer one if it cannot be read, the inner one if it is not to be trusted.
pub fn verify(connection: &Connection) -> Result<Result<Whole, Broken>, StoreError> {
    let mut last: HashMap<String, (String, Seconds)> = HashMap::new();
    let mut asked: HashMap<String, String> = HashMap::new();
    let mut decided: HashMap<String, (Seconds, String, String)> = HashMap::new();
    let mut rows = 0;
    let mut prev = Vec::new();
    let mut links = connection.prepare("SELECT * FROM history ORDER BY number")?;
    let mut links = links.query([])?;
    while let Some(row) = links.next()? {
        let link = Link::of(row)?;
        let hash: Vec<u8> = row.get("hash")?;
        if link.number != rows + 1 || link.hash(&prev).0 != *hash {
            return Ok(Err(Broken::Chain(rows + 1)));
        }
        rows = link.number;
        prev = hash;
        if link.event == Event::Asked.name() {
            asked.insert(link.approval.clone(), link.note);
        } else if [Event::Granted, Event::Refused, Event::Revoked]
            .iter()
            .any(|event| event.name() == link.event)
        {
            decided.insert(link.approval.clone(), (link.at, link.who, link.note));
        }
        last.insert(link.approval, (link.state, link.ends_at));
    }
    let mut approvals = connection.prepare("SELECT * FROM approvals ORDER BY id")?;
    let mut approvals = approvals.query([])?;
    let mut seen = 0;
    while let Some(row) = approvals.next()? {
        seen += 1;
        let id: String = row.get("id")?;
        if asked.get(&id) != Some(&facts(connection, row)?.to_string()) {
            return Ok(Err(Broken::Asked(id)));
        }
        let stands = (row.get("state")?, row.get("ends_at")?);
        let by: Option<String> = row.get("decided_by")?;
        let decided_as = decided.remove(&id);
        let decision_fits = match (&by, &decided_as) {
            (None, None) => true,
            (None, Some((_, who, _))) => who == DESK,
            (Some(_), None) => false,
            (Some(by), Some((at, who, note))) => {
                let reason: Option<String> = row.get("reason")?;
                let when: Option<Seconds> = row.get("decided_at")?;
                // a revocation that only follows another's has no decider of its own
                who == DESK
                    || (by == who && reason.as_deref().unwrap_or("") == note && when == Some(*at))
            }
        };
        if last.get(&id) != Some(&stands) || !decision_fits {
            return Ok(Err(Broken::Standing(id)));
        }
    }
    if seen != asked.len() {
        asked.retain(|id, _| {
            let found =
                connection.query_row("SELECT 1 FROM approvals WHERE id = ?1", [id], |_| Ok(()));
            found.is_err()
        });
        let missing = asked.into_keys().min().unwrap_or_default();
        return Ok(Err(Broken::Asked(missing)));
    }
    Ok(Ok(Whole {
        rows,
        last: <[u8; 32]>::try_from(prev).ok().map(Digest),
    }))
}

/// Digest of everything that was asked; `row` has all columns of `approvals`.
///
/// # Errors
///
/// [`StoreError`] if it cannot be read.
pub fn facts(connection: &Connection, row: &Row<'_>) -> Result<Digest, StoreError> {
    let mut hasher = Chained::new(b"gate.asked.v1");
    for column in [
        "id",
        "person",
        "role",
        "endpoint",
        "model",
        "rule",
        "covers",
        "approvers",
        "findings",
    ] {
        hasher.text(row.get_ref(column)?.as_str().map_err(StoreError::column)?);
    }
    for column in [
        "scope",
        "cause",
        "rule_digest",
        "policy_digest",
        "content_sha256",
    ] {
        hasher.bytes(row.get_ref(column)?.as_blob().map_err(StoreError::column)?);
    }
    for column in [
        "grant_s",
        "remember_s",
        "pending_s",
        "content_bytes",
        "asked_at",
    ] {
        hasher.number(row.get(column)?);
    }
    let id: String = row.get("id")?;
    let items = items(connection, &id)?;
    hasher.bytes(&items.digest().0);
    if let Some(content) = row
        .get_ref("content")?
        .as_str_or_null()
        .map_err(StoreError::column)?
    {
        hasher.bytes(&Sha256::digest(content)); // as long as it is there, it is the one asked with
    } else {
        hasher.bytes(
            row.get_ref("content_sha256")?
                .as_blob()
                .map_err(StoreError::column)?,
        );
    }
    Ok(hasher.done())
}

/// The items of an approval.
///
/// # Errors
///
/// [`StoreError`] if they cannot be read.
pub fn items(connection: &Connection, approval: &str) -> Result<CauseSet, StoreError> {
    let mut items = connection.prepare_cached("SELECT digest FROM items WHERE approval = ?1")?;
    let items = items.query_map([approval], |row| row.get(0).map(Digest))?;
    Ok(items.collect::<Result<_, _>>()?)
}

/// A row as it is hashed.
struct Link {
    number: i64,
    at: Seconds,
    approval: String,
    event: String,
    who: String,
    exchange: String,
    note: String,
    state: String,
    ends_at: Seconds,
}

impl Link {
    fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            number: row.get("number")?,
            at: row.get("at")?,
            approval: row.get("approval")?,
            event: row.get("event")?,
            who: row.get("who")?,
            exchange: row.get("exchange")?,
            note: row.get("note")?,
            state: row.get("state")?,
            ends_at: row.get("ends_at")?,
        })
    }

    fn hash(&self, prev: &[u8]) -> Digest {
        let mut hasher = Chained::new(b"gate.history.v1");
        hasher.0.update(prev);
        for number in [self.number, self.at, self.ends_at] {
            hasher.number(number);
        }
        for text in [
            &self.approval,
            &self.event,
            &self.who,
            &self.exchange,
            &self.note,
            &self.state,
        ] {
            hasher.text(text);
        }
        hasher.done()
    }
}

/// SHA-256 over parts that cannot run into one another.
pub struct Chained(Sha256);

impl Chained {
    /// Starts with what the digest is for.
    pub fn new(purpose: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(purpose);
        Self(hasher)
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// Adds a number.
    pub fn number(&mut self, number: i64) {
        self.0.update(number.to_be_bytes());
    }

    /// The digest.
    pub fn done(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}
