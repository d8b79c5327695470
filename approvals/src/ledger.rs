//! What can be done with approvals in the database, each in one transaction.
//!
//! Asks for the same are one approval: the same *scope* (deployment, person, rule, endpoint, model and
//! what a grant covers) and the same cause set, while it is pending, granted or freshly refused. Items
//! that live grants of the same scope cover are granted at once.

use std::collections::{BTreeMap, BTreeSet};

use contract::approval::{
    APPROVAL_ID_PREFIX, ApprovalState, Ask, AskFinding, CauseSet, Covers, Digest, MAX_SHOWN_BYTES,
};
use data_encoding::BASE32_NOPAD;
use rusqlite::{OptionalExtension, Row, params};
use sha2::{Digest as _, Sha256};

use crate::{
    history::{self, Chained, DESK, Entry, Event},
    state::{Decision, Refusal, Seconds, Standing, Terms},
    store::{Book, StoreError},
};

/// An approval without its items and its content.
#[derive(Clone, Debug)]
pub struct Approval {
    /// `AP-…`.
    pub id: String,
    /// Digest of what a grant is bound to but for the items.
    pub scope: Digest,
    /// Role of who asked.
    pub role: String,
    /// Endpoint.
    pub endpoint: String,
    /// Model.
    pub model: String,
    /// Name of the rule that fired.
    pub rule: String,
    /// The rule.
    pub rule_digest: Digest,
    /// The policy that it is from.
    pub policy_digest: Digest,
    /// Group of approvers.
    pub approvers: String,
    /// When it was asked.
    pub asked_at: Seconds,
    /// Who asked for what.
    pub terms: Terms,
    /// How it stands.
    pub standing: Standing,
}

/// What an approver is shown of an approval besides.
#[derive(Clone, Debug)]
pub struct Detail {
    /// Masked content; `None` once erased.
    pub content: Option<String>,
    /// Bytes that were asked with.
    pub content_bytes: i64,
    /// What was found.
    pub findings: Vec<AskFinding>,
    /// How many items it is about.
    pub items: usize,
    /// What happened, oldest first.
    pub history: Vec<Happened>,
}

/// A row of an approval's history.
#[derive(Clone, Debug)]
pub struct Happened {
    /// When.
    pub at: Seconds,
    /// What.
    pub event: String,
    /// Who.
    pub who: String,
    /// In which exchange.
    pub exchange: String,
    /// Why.
    pub note: String,
}

/// An approval in a list, with what was found in it.
pub type Listed = (Approval, Vec<AskFinding>);

/// An approval as it goes to the filter.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The approval.
    pub approval: Approval,
    /// Its items, if it is granted.
    pub items: CauseSet,
}

/// How an ask was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By grants that were there.
    Covered,
    /// By an approval that was there.
    Joined,
    /// By a new one.
    New,
}

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another approval has the id that was thrown for this one.
    #[error("no free id")]
    NoId,
    /// The state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database could not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The person has too many pending.
    #[error("too many requests of this person wait already")]
    TooMany,
    /// There is none of this id.
    #[error("no such approval")]
    Unknown,
}

/// Bounds of what is kept for one person and one approval.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Approvals of one person that may be pending.
    pub pending_of_person: u32,
    /// Exchanges that are written down for one approval.
    pub exchanges: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            pending_of_person: 100,
            exchanges: 1000,
        }
    }
}

impl Book<'_> {
    /// Asks; `random` makes the id of a new approval.
    ///
    /// # Errors
    ///
    /// [`LedgerError::TooMany`], [`LedgerError::NoId`], or that of the database.
    pub fn ask(
        &mut self,
        ask: &Ask,
        bounds: Bounds,
        random: [u8; 7],
        now: Seconds,
    ) -> Result<(Delivery, Outcome), LedgerError> {
        let items: CauseSet = ask.cause_items.iter().copied().collect();
        let scope = scope(ask);
        self.expire_scope(scope, now)?;
        let same = self.same(scope, items.digest(), now)?;
        if let Some(same) = &same
            && same.standing.state != ApprovalState::Pending
        {
            self.join(same, &ask.exchange, bounds, now)?;
            return Ok((self.delivery(same.clone(), now)?, Outcome::Joined));
        }
        let covering = if ask.covers == Covers::Content {
            self.covering(scope, &items, now)?
        } else {
            Vec::new()
        };
        let outcome = match (&same, covering.as_slice()) {
            (None, [one]) => {
                let one = self.approval(one)?;
                self.join(&one, &ask.exchange, bounds, now)?;
                return Ok((self.delivery(one, now)?, Outcome::Covered));
            }
            (Some(_), []) => Outcome::Joined,
            (None, []) => Outcome::New,
            _ => Outcome::Covered,
        };
        let mut approval = match same {
            Some(same) => {
                self.join(&same, &ask.exchange, bounds, now)?;
                same
            }
            None => self.insert(ask, scope, &items, bounds, random, now)?,
        };
        if !covering.is_empty() {
            approval = self.grant_by(&covering, &approval, now)?;
        }
        Ok((self.delivery(approval, now)?, outcome))
    }

    /// An approval on its way to the filter: this redeems a grant of content.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unknown`], or that of the database.
    pub fn deliver(&mut self, id: &str, now: Seconds) -> Result<Delivery, LedgerError> {
        let approval = self.settled(id, now)?;
        self.delivery(approval, now)
    }

    /// Decides.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Refused`] with the reason, [`LedgerError::Unknown`], or that of the database.
    pub fn decide(
        &mut self,
        id: &str,
        decision: &Decision<'_>,
        now: Seconds,
    ) -> Result<Approval, LedgerError> {
        let approval = self.settled(id, now)?;
        let after = approval.standing.decided(&approval.terms, decision, now)?;
        let event = match after.state {
            ApprovalState::Granted => Event::Granted,
            ApprovalState::Revoked => Event::Revoked,
            _ => Event::Refused,
        };
        let note = after.reason.clone().unwrap_or_default();
        let change = Change {
            event,
            who: decision.approver,
            exchange: "",
            note: &note,
        };
        let approval = self.change(&approval, after, &change, now)?;
        if event == Event::Revoked {
            self.revoke_leaning(id, now)?;
        }
        Ok(approval)
    }

    /// Uses a grant for one exchange up.
    ///
    /// # Errors
    ///
    /// As [`Book::decide`]; nothing may be let go then.
    pub fn consume(
        &mut self,
        id: &str,
        exchange: &str,
        now: Seconds,
    ) -> Result<Approval, LedgerError> {
        let approval = self.settled(id, now)?;
        let after = approval.standing.consumed(&approval.terms, now)?;
        let person = approval.terms.person.clone();
        let change = Change {
            event: Event::Consumed,
            who: &person,
            exchange,
            note: "",
        };
        self.change(&approval, after, &change, now)
    }

    /// Ends what is over; gives how many there were, at most 500 at a time.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub fn expire(&mut self, now: Seconds) -> Result<usize, LedgerError> {
        let over = self.ids(
            "SELECT id FROM approvals WHERE state IN ('pending', 'granted') AND ends_at <= ?1
             ORDER BY ends_at LIMIT 500",
            params![now],
        )?;
        for id in &over {
            self.settled(id, now)?;
        }
        Ok(over.len())
    }

    /// Erases the content of approvals that ended before `before`; gives how many, at most 500.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub fn erase(&mut self, before: Seconds) -> Result<usize, LedgerError> {
        let erase = "UPDATE approvals SET content = NULL WHERE id IN (SELECT id FROM approvals
             WHERE content IS NOT NULL AND state NOT IN ('pending', 'granted') AND ends_at < ?1 LIMIT 500)";
        let mut erase = self.connection.prepare_cached(erase).map_err(store)?;
        Ok(erase.execute([before]).map_err(store)?)
    }

    /// What an approver sees; writes down that they did.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unknown`], or that of the database.
    pub fn view(
        &mut self,
        id: &str,
        approver: &str,
        now: Seconds,
    ) -> Result<(Approval, Detail), LedgerError> {
        let approval = self.settled(id, now)?;
        let seen = self.is_there(
            "SELECT 1 FROM history WHERE approval = ?1 AND event = 'viewed' AND who = ?2",
            params![id, approver],
        )?;
        if !seen {
            self.note(&approval, Event::Viewed, approver, "", now)?;
        }
        let detail = self.detail(id)?;
        Ok((approval, detail))
    }

    /// What waits, oldest first, or what does not, newest first, with what was found in it; and how many
    /// there are.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub fn list(&mut self, pending: bool, now: Seconds) -> Result<(Vec<Listed>, u64), LedgerError> {
        self.expire(now)?;
        let (which, order) = if pending {
            ("state = 'pending'", "asked_at, rowid")
        } else {
            (
                "state <> 'pending'",
                "COALESCE(decided_at, ends_at) DESC, rowid DESC",
            )
        };
        let sql = format!(
            "SELECT {COLUMNS}, findings FROM approvals WHERE {which} ORDER BY {order} LIMIT {MAX_LISTED}"
        );
        let mut rows = self.connection.prepare_cached(&sql).map_err(store)?;
        let mut rows = rows.query([]).map_err(store)?;
        let mut listed = Vec::new();
        while let Some(row) = rows.next().map_err(store)? {
            let findings: String = row.get("findings").map_err(store)?;
            let findings = serde_json::from_str(&findings).unwrap_or_default();
            listed.push((Approval::of(row)?, findings));
        }
        let sql = format!("SELECT COUNT(*) FROM approvals WHERE {which}");
        let mut count = self.connection.prepare_cached(&sql).map_err(store)?;
        let count: i64 = count.query_row([], |row| row.get(0)).map_err(store)?;
        Ok((listed, u64::try_from(count).unwrap_or_default()))
    }

    /// How many wait, as far as anybody has looked.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub fn pending(&self) -> Result<u64, LedgerError> {
        let sql = "SELECT COUNT(*) FROM approvals WHERE state = 'pending'";
        let mut count = self.connection.prepare_cached(sql).map_err(store)?;
        let count: i64 = count.query_row([], |row| row.get(0)).map_err(store)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Ids of approvals that were revoked after the history's row `after`, and the row to ask after
    /// the next time.
    ///
    /// # Errors
    ///
    /// That of the database.
    pub fn revoked(&mut self, after: u64) -> Result<(Vec<String>, u64), LedgerError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut rows = self
            .connection
            .prepare_cached(
                "SELECT number, approval FROM history WHERE event = 'revoked' AND number > ?1
                 ORDER BY number LIMIT 1000",
            )
            .map_err(store)?;
        let rows = rows.query_map([after], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
        let (mut next, mut ids) = (after, Vec::new());
        for row in rows.map_err(store)? {
            let (number, id) = row.map_err(store)?;
            next = number;
            ids.push(id);
        }
        Ok((ids, u64::try_from(next).unwrap_or_default()))
    }

    /// How an approval stands, after what time has done to it.
    fn settled(&mut self, id: &str, now: Seconds) -> Result<Approval, LedgerError> {
        let approval = self.approval(id)?;
        if !approval.standing.is_over(now) {
            return Ok(approval);
        }
        let after = approval.standing.expired();
        let change = Change {
            event: Event::Expired,
            who: DESK,
            exchange: "",
            note: "",
        };
        self.change(&approval, after, &change, now)
    }

    fn delivery(&mut self, approval: Approval, now: Seconds) -> Result<Delivery, LedgerError> {
        let mut approval = approval;
        if let Some(after) = approval.standing.redeemed(&approval.terms, now) {
            let person = approval.terms.person.clone();
            let change = Change {
                event: Event::Redeemed,
                who: &person,
                exchange: "",
                note: "",
            };
            approval = self.change(&approval, after, &change, now)?;
        }
        let items = if approval.standing.state == ApprovalState::Granted {
            history::items(self.connection, &approval.id)?
        } else {
            CauseSet::default()
        };
        Ok(Delivery { approval, items })
    }

    /// The live approval for exactly this, or the latest refusal that still holds.
    fn same(
        &self,
        scope: Digest,
        cause: Digest,
        now: Seconds,
    ) -> Result<Option<Approval>, LedgerError> {
        let mut rows = self
            .connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM approvals WHERE scope = ?1 AND cause = ?2
                     AND (state IN ('pending', 'granted') OR (state = 'refused' AND ends_at > ?3))
                     ORDER BY state = 'refused', rowid DESC LIMIT 1"
            ))
            .map_err(store)?;
        let mut rows = rows.query(params![scope.0, cause.0, now]).map_err(store)?;
        let row = rows.next().map_err(store)?;
        row.map(Approval::of).transpose()
    }

    /// Live grants that have all the items between them; none if they do not.
    fn covering(
        &self,
        scope: Digest,
        items: &CauseSet,
        now: Seconds,
    ) -> Result<Vec<String>, LedgerError> {
        let mut grants = self
            .connection
            .prepare_cached(
                "SELECT a.id FROM items i JOIN approvals a ON a.id = i.approval
                 WHERE i.digest = ?1 AND a.scope = ?2 AND a.state = 'granted' AND a.ends_at > ?3
                 ORDER BY a.ends_at DESC, a.id LIMIT 100",
            )
            .map_err(store)?;
        let mut has: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
        for item in items.items() {
            let ids = grants.query_map(params![item.0, scope.0, now], |row| row.get(0));
            let mut found = false;
            for id in ids.map_err(store)? {
                has.entry(id.map_err(store)?).or_default().insert(item);
                found = true;
            }
            if !found {
                return Ok(Vec::new());
            }
        }
        let mut missing: BTreeSet<Digest> = items.items().collect();
        let mut chosen = Vec::new();
        while !missing.is_empty() {
            let most = has
                .iter()
                .max_by_key(|(_, digests)| digests.intersection(&missing).count());
            let Some((id, digests)) = most.map(|(id, digests)| (id.clone(), digests.clone()))
            else {
                return Ok(Vec::new());
            };
            missing.retain(|item| !digests.contains(item));
            has.remove(&id);
            chosen.push(id);
        }
        Ok(chosen)
    }

    /// Grants an approval because `parents` cover it, for as long as all of them stand.
    fn grant_by(
        &mut self,
        parents: &[String],
        approval: &Approval,
        now: Seconds,
    ) -> Result<Approval, LedgerError> {
        let mut ends_at = Seconds::MAX;
        for parent in parents {
            let parent = self.deliver(parent, now)?.approval; // its items are on their way too
            ends_at = ends_at.min(parent.standing.ends_at);
            let lean = "INSERT INTO leans (approval, parent) VALUES (?1, ?2)";
            let mut lean = self.connection.prepare_cached(lean).map_err(store)?;
            lean.execute([&approval.id, &parent.id]).map_err(store)?;
        }
        let after = approval.standing.covered(now, ends_at);
        let note = format!("covered by {}", parents.join(" "));
        let change = Change {
            event: Event::Granted,
            who: DESK,
            exchange: "",
            note: &note,
        };
        self.change(approval, after, &change, now)
    }

    /// What leans on a revoked approval falls with it, and what leans on that.
    fn revoke_leaning(&mut self, id: &str, now: Seconds) -> Result<(), LedgerError> {
        let mut revoked = vec![id.to_owned()];
        while let Some(parent) = revoked.pop() {
            let leaning = self.ids(
                "SELECT l.approval FROM leans l JOIN approvals a ON a.id = l.approval
                 WHERE l.parent = ?1 AND a.state = 'granted'",
                params![parent],
            )?;
            for id in leaning {
                let approval = self.settled(&id, now)?;
                if approval.standing.state != ApprovalState::Granted {
                    continue;
                }
                let note = format!("covered by {parent}");
                let change = Change {
                    event: Event::Revoked,
                    who: DESK,
                    exchange: "",
                    note: &note,
                };
                self.change(&approval, approval.standing.fallen(now), &change, now)?;
                revoked.push(id);
            }
        }
        Ok(())
    }

    fn expire_scope(&mut self, scope: Digest, now: Seconds) -> Result<(), LedgerError> {
        let over = self.ids(
            "SELECT id FROM approvals WHERE scope = ?1 AND state IN ('pending', 'granted') AND ends_at <= ?2",
            params![scope.0, now],
        )?;
        for id in over {
            self.settled(&id, now)?;
        }
        Ok(())
    }

    /// Writes down that another exchange asks for the same.
    fn join(
        &mut self,
        approval: &Approval,
        exchange: &str,
        bounds: Bounds,
        now: Seconds,
    ) -> Result<(), LedgerError> {
        let known = self.is_there(
            "SELECT 1 FROM history WHERE approval = ?1 AND event IN ('asked', 'joined') AND exchange = ?2",
            params![approval.id, exchange],
        )?;
        let joined = "SELECT COUNT(*) FROM history WHERE approval = ?1 AND event = 'joined'";
        let mut joined = self.connection.prepare_cached(joined).map_err(store)?;
        let joined: u32 = joined
            .query_row([&approval.id], |row| row.get(0))
            .map_err(store)?;
        if known || joined >= bounds.exchanges {
            return Ok(());
        }
        let person = approval.terms.person.clone();
        self.note(approval, Event::Joined, &person, exchange, now)
    }

    fn insert(
        &mut self,
        ask: &Ask,
        scope: Digest,
        items: &CauseSet,
        bounds: Bounds,
        random: [u8; 7],
        now: Seconds,
    ) -> Result<Approval, LedgerError> {
        let waiting = "SELECT COUNT(*) FROM approvals WHERE person = ?1 AND state = 'pending'";
        let mut waiting = self.connection.prepare_cached(waiting).map_err(store)?;
        let waiting: u32 = waiting
            .query_row([&ask.person], |row| row.get(0))
            .map_err(store)?;
        if waiting >= bounds.pending_of_person {
            return Err(LedgerError::TooMany);
        }
        let id = id_of(random);
        if self.is_there("SELECT 1 FROM approvals WHERE id = ?1", params![id])? {
            return Err(LedgerError::NoId);
        }
        let seconds = |seconds: u64| Seconds::try_from(seconds).unwrap_or(Seconds::MAX);
        let standing = Standing::pending(now, seconds(ask.pending_s));
        let content = shown(&ask.masked_content);
        let findings = ask.findings.get(..MAX_FINDINGS).unwrap_or(&ask.findings);
        let findings = serde_json::to_string(findings).unwrap_or_else(|_| "[]".to_owned());
        self.connection
            .prepare_cached(
                "INSERT INTO approvals (id, scope, cause, person, role, endpoint, model, rule, rule_digest,
                 policy_digest, covers, approvers, grant_s, remember_s, pending_s, findings, content,
                 content_sha256, content_bytes, asked_at, state, version, ends_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                 ?19, ?20, ?21, ?22, ?23)",
            )
            .map_err(store)?
            .execute(params![
                id,
                scope.0,
                items.digest().0,
                ask.person,
                ask.role,
                ask.endpoint,
                ask.model,
                ask.rule,
                ask.rule_digest.0,
                ask.policy_digest.0,
                ask.covers.name(),
                ask.approvers,
                seconds(ask.grant_s),
                seconds(ask.remember_s),
                seconds(ask.pending_s),
                findings,
                content,
                Sha256::digest(content).as_slice(),
                i64::try_from(ask.masked_content.len()).unwrap_or(i64::MAX),
                now,
                standing.state.name(),
                version(&standing),
                standing.ends_at,
            ])
            .map_err(store)?;
        let mut item = self
            .connection
            .prepare_cached("INSERT INTO items (digest, approval) VALUES (?1, ?2)")
            .map_err(store)?;
        for digest in items.items() {
            item.execute(params![digest.0, id]).map_err(store)?;
        }
        let facts = self
            .connection
            .prepare_cached("SELECT * FROM approvals WHERE id = ?1")
            .map_err(store)?
            .query_row([&id], |row| Ok(history::facts(self.connection, row)))
            .map_err(store)??;
        let entry = Entry {
            at: now,
            approval: &id,
            event: Event::Asked,
            who: &ask.person,
            exchange: &ask.exchange,
            note: &facts.to_string(),
            standing: &standing,
        };
        history::append(self.connection, &entry)?;
        self.approval(&id)
    }

    /// Writes a new standing and its row of the history.
    fn change(
        &mut self,
        approval: &Approval,
        after: Standing,
        change: &Change<'_>,
        now: Seconds,
    ) -> Result<Approval, LedgerError> {
        self.connection
            .prepare_cached(
                "UPDATE approvals SET state = ?2, version = ?3, ends_at = ?4, decided_at = ?5,
                 decided_by = ?6, reason = ?7, redeemed_at = ?8 WHERE id = ?1",
            )
            .map_err(store)?
            .execute(params![
                approval.id,
                after.state.name(),
                version(&after),
                after.ends_at,
                after.decided_at,
                after.decided_by,
                after.reason,
                after.redeemed_at,
            ])
            .map_err(store)?;
        let entry = Entry {
            at: now,
            approval: &approval.id,
            event: change.event,
            who: change.who,
            exchange: change.exchange,
            note: change.note,
            standing: &after,
        };
        history::append(self.connection, &entry)?;
        self.changed.push(approval.id.clone());
        Ok(Approval {
            standing: after,
            ..approval.clone()
        })
    }

    /// Writes a row of the history that changes nothing.
    fn note(
        &mut self,
        approval: &Approval,
        event: Event,
        who: &str,
        exchange: &str,
        now: Seconds,
    ) -> Result<(), LedgerError> {
        let entry = Entry {
            at: now,
            approval: &approval.id,
            event,
            who,
            exchange,
            note: "",
            standing: &approval.standing,
        };
        Ok(history::append(self.connection, &entry)?)
    }

    fn approval(&self, id: &str) -> Result<Approval, LedgerError> {
        let sql = format!("SELECT {COLUMNS} FROM approvals WHERE id = ?1");
        let mut rows = self.connection.prepare_cached(&sql).map_err(store)?;
        let mut rows = rows.query([id]).map_err(store)?;
        let row = rows.next().map_err(store)?;
        row.map_or(Err(LedgerError::Unknown), Approval::of)
    }

    fn detail(&self, id: &str) -> Result<Detail, LedgerError> {
        let (content, content_bytes, findings): (_, _, String) = self
            .connection
            .prepare_cached("SELECT content, content_bytes, findings FROM approvals WHERE id = ?1")
            .map_err(store)?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .map_err(store)?;
        let mut rows = self
            .connection
            .prepare_cached(
                "SELECT at, event, who, exchange, note FROM history WHERE approval = ?1
                 ORDER BY number LIMIT 2000",
            )
            .map_err(store)?;
        let history = rows
            .query_map([id], |row| {
                Ok(Happened {
                    at: row.get(0)?,
                    event: row.get(1)?,
                    who: row.get(2)?,
                    exchange: row.get(3)?,
                    note: row.get(4)?,
                })
            })
            .map_err(store)?
            .collect::<Result<_, _>>()
            .map_err(store)?;
        Ok(Detail {
            content,
            content_bytes,
            findings: serde_json::from_str(&findings).unwrap_or_default(),
            items: history::items(self.connection, id)?.len(),
            history,
        })
    }

    fn ids(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<String>, LedgerError> {
        let mut ids = self.connection.prepare_cached(sql).map_err(store)?;
        let ids = ids.query_map(values, |row| row.get(0)).map_err(store)?;
        Ok(ids.collect::<Result<_, _>>().map_err(store)?)
    }

    fn is_there(&self, sql: &str, values: impl rusqlite::Params) -> Result<bool, LedgerError> {
        let mut row = self.connection.prepare_cached(sql).map_err(store)?;
        let row = row
            .query_row(values, |_| Ok(()))
            .optional()
            .map_err(store)?;
        Ok(row.is_some())
    }
}

/// What is written into the history beside the standing.
struct Change<'a> {
    event: Event,
    who: &'a str,
    exchange: &'a str,
    note: &'a str,
}

impl Approval {
    /// `row` has [`COLUMNS`].
    fn of(row: &Row<'_>) -> Result<Self, LedgerError> {
        let read = || -> rusqlite::Result<Self> {
            let version: i64 = row.get("version")?;
            Ok(Self {
                id: row.get("id")?,
                scope: Digest(row.get("scope")?),
                role: row.get("role")?,
                endpoint: row.get("endpoint")?,
                model: row.get("model")?,
                rule: row.get("rule")?,
                rule_digest: Digest(row.get("rule_digest")?),
                policy_digest: Digest(row.get("policy_digest")?),
                approvers: row.get("approvers")?,
                asked_at: row.get("asked_at")?,
                terms: Terms {
                    person: row.get("person")?,
                    covers: named(row, "covers", &Covers::ALL, Covers::name)?,
                    grant_s: row.get("grant_s")?,
                    remember_s: row.get("remember_s")?,
                },
                standing: Standing {
                    state: named(row, "state", &ApprovalState::ALL, ApprovalState::name)?,
                    version: u64::try_from(version).unwrap_or_default(),
                    ends_at: row.get("ends_at")?,
                    decided_at: row.get("decided_at")?,
                    decided_by: row.get("decided_by")?,
                    reason: row.get("reason")?,
                    redeemed_at: row.get("redeemed_at")?,
                },
            })
        };
        Ok(read().map_err(store)?)
    }
}

/// The variant that a column names.
fn named<T: Copy>(
    row: &Row<'_>,
    column: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    let variant = all.iter().copied().find(|variant| name(*variant) == text);
    variant.ok_or_else(|| rusqlite::Error::InvalidColumnName(column.to_owned()))
}

/// Everything that a grant is bound to but for the items.
fn scope(ask: &Ask) -> Digest {
    let mut hasher = Chained::new(b"gate.scope.v1");
    for text in [
        &ask.deployment,
        &ask.person,
        &ask.endpoint,
        &ask.model,
        ask.covers.name(),
    ] {
        hasher.text(text);
    }
    hasher.bytes(&ask.rule_digest.0);
    hasher.done()
}

/// `AP-` and 10 letters of base32: 50 random bits.
fn id_of(random: [u8; 7]) -> String {
    let mut letters = BASE32_NOPAD.encode(&random);
    letters.truncate(10);
    format!("{APPROVAL_ID_PREFIX}{letters}")
}

/// As much of the content as an approver is shown.
fn shown(content: &str) -> &str {
    let end = content.floor_char_boundary(MAX_SHOWN_BYTES);
    content.get(..end).unwrap_or_default()
}

fn version(standing: &Standing) -> i64 {
    i64::try_from(standing.version).unwrap_or(i64::MAX)
}

fn store(error: rusqlite::Error) -> StoreError {
    StoreError::from(error)
}

/// The columns of an [`Approval`]: all but the long ones.
const COLUMNS: &str = "id, scope, person, role, endpoint, model, rule, rule_digest, policy_digest, covers,
    approvers, grant_s, remember_s, asked_at, state, version, ends_at, decided_at, decided_by, reason,
    redeemed_at";

/// Most findings that are kept of an ask.
const MAX_FINDINGS: usize = 200;

/// Most approvals of a list.
pub const MAX_LISTED: usize = 200;
