//! How an approval goes from one state to the next (pure).
//!
//! ```text
//! pending ─┬─ grant ──► granted ─┬─ consumed ──► consumed     (covers an exchange)
//!          ├─ refuse ─► refused  ├─ revoke ────► revoked
//!          └─ silence ► expired  └─ silence ───► expired
//! ```
//!
//! Silence is never a grant. A grant of content is *redeemed* when the filter first takes it, which it
//! must within `grant_s`; from then on it stands for `remember_s`.

use contract::approval::{ApprovalState, Covers, Verdict};

/// Seconds since 1970.
pub type Seconds = i64;

/// What of an approval changes, and what decides about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: ApprovalState,
    /// Counts what an approver should know of before deciding.
    pub version: u64,
    /// When the state ends by itself; when an ended one is asked about anew.
    pub ends_at: Seconds,
    /// When somebody decided.
    pub decided_at: Option<Seconds>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// What they said.
    pub reason: Option<String>,
    /// When the filter first took the grant.
    pub redeemed_at: Option<Seconds>,
}

/// What was asked for, as far as it decides about the next state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who asked.
    pub person: String,
    /// What a grant lets pass.
    pub covers: Covers,
    /// Time to use a grant.
    pub grant_s: Seconds,
    /// Time that a used grant of content stands.
    pub remember_s: Seconds,
}

/// A decision as it came in.
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// Who decides.
    pub approver: &'a str,
    /// What.
    pub verdict: Verdict,
    /// Why.
    pub reason: &'a str,
    /// What they saw when they decided.
    pub version: u64,
}

/// Why a decision or a use is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not allow it.
    #[error("the approval is {}", .0.name())]
    NotNow(ApprovalState),
    /// The requester never decides.
    #[error("nobody decides about a request of their own")]
    OwnRequest,
    /// No reason, or one that is too long.
    #[error("a reason of 1 to {MAX_REASON_CHARS} characters is needed")]
    Reason,
    /// It has changed since.
    #[error("the approval has changed since, look again")]
    Stale,
    /// Covers content: there is nothing to consume.
    #[error("the grant is not for one exchange")]
    NotForOne,
}

/// Longest reason of a decision.
pub const MAX_REASON_CHARS: usize = 2000;

impl Standing {
    /// As it is when it was just asked for.
    pub fn pending(now: Seconds, pending_s: Seconds) -> Self {
        Self {
            state: ApprovalState::Pending,
            version: 1,
            ends_at: now.saturating_add(pending_s),
            decided_at: None,
            decided_by: None,
            reason: None,
            redeemed_at: None,
        }
    }

    /// Whether its time is over, so that it must go to `expired`.
    pub fn is_over(&self, now: Seconds) -> bool {
        self.is_live() && now >= self.ends_at
    }

    /// Whether it waits or may pass.
    pub fn is_live(&self) -> bool {
        matches!(self.state, ApprovalState::Pending | ApprovalState::Granted)
    }

    /// After its time was over.
    #[must_use]
    pub fn expired(&self) -> Self {
        self.changed(ApprovalState::Expired, self.ends_at)
    }

    /// After a decision.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing changes then.
    pub fn decided(
        &self,
        terms: &Terms,
        decision: &Decision<'_>,
        now: Seconds,
    ) -> Result<Self, Refusal> {
        if same_person(&terms.person, decision.approver) {
            return Err(Refusal::OwnRequest);
        }
        if self.is_over(now) {
            return Err(Refusal::NotNow(ApprovalState::Expired));
        }
        let (needed, state, ends_at) = match decision.verdict {
            // a refusal is the answer to the same question for as long as a grant would have been
            Verdict::Grant => (
                ApprovalState::Pending,
                ApprovalState::Granted,
                terms.grant_s,
            ),
            Verdict::Refuse => (
                ApprovalState::Pending,
                ApprovalState::Refused,
                terms.grant_s,
            ),
            Verdict::Revoke => (ApprovalState::Granted, ApprovalState::Revoked, 0),
        };
        if self.state != needed {
            return Err(Refusal::NotNow(self.state));
        }
        if self.version != decision.version {
            return Err(Refusal::Stale);
        }
        let reason = decision.reason.trim();
        if (reason.is_empty() && decision.verdict != Verdict::Grant)
            || reason.chars().count() > MAX_REASON_CHARS
        {
            return Err(Refusal::Reason);
        }
        let mut after = self.changed(state, now.saturating_add(ends_at));
        after.decided_at = Some(now);
        after.decided_by = Some(decision.approver.to_owned());
        after.reason = (!reason.is_empty()).then(|| reason.to_owned());
        Ok(after)
    }

    /// After it was found that other grants cover it, all of them until `ends_at` at least.
    #[must_use]
    pub fn covered(&self, now: Seconds, ends_at: Seconds) -> Self {
        let mut after = self.changed(ApprovalState::Granted, ends_at);
        after.decided_at = Some(now);
        after.redeemed_at = Some(now);
        after
    }

    /// After the filter took the grant; `None` if that changes nothing.
    pub fn redeemed(&self, terms: &Terms, now: Seconds) -> Option<Self> {
        let first = self.state == ApprovalState::Granted
            && terms.covers == Covers::Content
            && self.redeemed_at.is_none();
        first.then(|| Self {
            redeemed_at: Some(now),
            ends_at: now.saturating_add(terms.remember_s),
            ..self.clone()
        })
    }

    /// After an exchange used it up.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing may be let go then.
    pub fn consumed(&self, terms: &Terms, now: Seconds) -> Result<Self, Refusal> {
        if self.is_over(now) {
            return Err(Refusal::NotNow(ApprovalState::Expired));
        }
        if self.state != ApprovalState::Granted {
            return Err(Refusal::NotNow(self.state));
        }
        if terms.covers != Covers::Exchange {
            return Err(Refusal::NotForOne);
        }
        Ok(self.changed(ApprovalState::Consumed, now))
    }

    /// After a grant that it leans on was taken back.
    #[must_use]
    pub fn fallen(&self, now: Seconds) -> Self {
        self.changed(ApprovalState::Revoked, now)
    }

    fn changed(&self, state: ApprovalState, ends_at: Seconds) -> Self {
        Self {
            state,
            ends_at,
            version: self.version.saturating_add(1),
            ..self.clone()
        }
    }
}

/// Whether two names may be one person: more names are taken for one than should be, never fewer, since
/// this only ever forbids. Issuers that differ by letter case or a final slash are one.
pub fn same_person(one: &str, other: &str) -> bool {
    let plain = |person: &str| {
        let (issuer, subject) = person.split_once('#').unwrap_or((person, ""));
        format!("{}#{}", issuer.trim_end_matches('/'), subject.trim()).to_lowercase()
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "https://login.example#ana";
    const BO: &str = "https://login.example#bo";

    fn terms(covers: Covers) -> Terms {
        Terms {
            person: ANA.to_owned(),
            covers,
            grant_s: 900,
            remember_s: 86_400,
        }
    }

    fn decision(approver: &str, verdict: Verdict, version: u64) -> Decision<'_> {
        Decision {
            approver,
            verdict,
            reason: "because",
            version,
        }
    }

    fn granted(covers: Covers) -> Standing {
        let decision = decision(BO, Verdict::Grant, 1);
        let pending = Standing::pending(1000, 60);
        pending.decided(&terms(covers), &decision, 1010).unwrap()
    }

    #[test]
    fn a_grant_of_content_is_redeemed_once_and_then_remembered() {
        let terms = terms(Covers::Content);
        let granted = granted(Covers::Content);
        assert_eq!((granted.ends_at, granted.version), (1910, 2));
        let redeemed = granted.redeemed(&terms, 1500).unwrap();
        assert_eq!(redeemed.ends_at, 1500 + 86_400);
        assert_eq!(redeemed.version, 2, "an approver need not look again");
        assert_eq!(redeemed.redeemed(&terms, 1600), None);
        assert!(!redeemed.is_over(1500 + 86_399) && redeemed.is_over(1500 + 86_400));
    }

    #[test]
    fn a_grant_that_is_not_used_in_time_ends() {
        let granted = granted(Covers::Content);
        assert!(!granted.is_over(1909) && granted.is_over(1910));
        assert_eq!(granted.expired().state, ApprovalState::Expired);
    }

    #[test]
    fn a_grant_for_one_exchange_is_consumed_once() {
        let terms = terms(Covers::Exchange);
        let granted = granted(Covers::Exchange);
        assert_eq!(granted.redeemed(&terms, 1500), None, "only consumed");
        let consumed = granted.consumed(&terms, 1500).unwrap();
        assert_eq!(consumed.state, ApprovalState::Consumed);
        let again = consumed.consumed(&terms, 1500);
        assert_eq!(again, Err(Refusal::NotNow(ApprovalState::Consumed)));
        let late = granted.consumed(&terms, 1910);
        assert_eq!(late, Err(Refusal::NotNow(ApprovalState::Expired)));
    }

    #[test]
    fn p7_what_may_not_be_decided_is_not() {
        use ApprovalState::{Expired, Granted, Pending, Refused, Revoked};
        use Refusal::{NotNow, OwnRequest, Reason, Stale};
        let pending = Standing::pending(1000, 60);
        let done = |verdict| {
            let decision = decision(BO, verdict, 1);
            pending
                .decided(&terms(Covers::Content), &decision, 1010)
                .unwrap()
        };
        let refused = done(Verdict::Refuse);
        let granted = done(Verdict::Grant);
        let mut revoking = decision(BO, Verdict::Revoke, 2);
        let revoked = granted
            .decided(&terms(Covers::Content), &revoking, 1020)
            .unwrap();
        revoking.version = 3;
        let silent = Decision {
            reason: "  ",
            ..decision(BO, Verdict::Refuse, 1)
        };
        let long = "x".repeat(2001);
        let wordy = Decision {
            reason: &long,
            ..decision(BO, Verdict::Grant, 1)
        };
        let cases = [
            (
                "own",
                &pending,
                decision(ANA, Verdict::Grant, 1),
                1010,
                OwnRequest,
            ),
            (
                "own, to refuse",
                &pending,
                decision(ANA, Verdict::Refuse, 1),
                1010,
                OwnRequest,
            ),
            (
                "late",
                &pending,
                decision(BO, Verdict::Grant, 1),
                1060,
                NotNow(Expired),
            ),
            (
                "stale",
                &pending,
                decision(BO, Verdict::Grant, 0),
                1010,
                Stale,
            ),
            (
                "of the future",
                &pending,
                decision(BO, Verdict::Grant, 2),
                1010,
                Stale,
            ),
            ("no reason", &pending, silent, 1010, Reason),
            ("too long a reason", &pending, wordy, 1010, Reason),
            (
                "nothing to revoke",
                &pending,
                decision(BO, Verdict::Revoke, 1),
                1010,
                NotNow(Pending),
            ),
            (
                "granted twice",
                &granted,
                decision(BO, Verdict::Grant, 2),
                1020,
                NotNow(Granted),
            ),
            (
                "refused after",
                &granted,
                decision(BO, Verdict::Refuse, 2),
                1020,
                NotNow(Granted),
            ),
            (
                "granted after",
                &refused,
                decision(BO, Verdict::Grant, 2),
                1020,
                NotNow(Refused),
            ),
            (
                "revoked, a refusal",
                &refused,
                decision(BO, Verdict::Revoke, 2),
                1020,
                NotNow(Refused),
            ),
            ("revoked twice", &revoked, revoking, 1030, NotNow(Revoked)),
            (
                "granted again",
                &revoked,
                decision(BO, Verdict::Grant, 3),
                1030,
                NotNow(Revoked),
            ),
        ];
        for (name, standing, decision, now, refusal) in cases {
            let refused = standing.decided(&terms(Covers::Content), &decision, now);
            assert_eq!(refused, Err(refusal), "{name}");
        }
    }

    #[test]
    fn p7_names_that_may_be_one_person_are() {
        let same = [
            (ANA, ANA),
            ("https://login.example/#ana", ANA),
            ("https://Login.example#Ana", ANA),
            ("https://login.example#ana ", ANA),
        ];
        for (one, other) in same {
            assert!(same_person(one, other), "{one} {other}");
        }
        for other in [BO, "https://other.example#ana", "ana", ""] {
            assert!(!same_person(ANA, other), "{other}");
        }
    }
}
