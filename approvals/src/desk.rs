//! The desk itself: asks, waits, decides and signs; knows nothing of HTTP.

use std::{sync::Arc, time::Duration};

use contract::approval::{
    Answer, ApprovalState, Ask, MAX_CAUSE_ITEMS, MAX_WAIT_MS, Revocations, is_approval_id,
};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::info;

use crate::{
    grant::{Keys, NotSigned},
    ledger::{Approval, Bounds, Delivery, Detail, LedgerError, Listed},
    metrics::Metrics,
    state::{Decision, Seconds},
    store::{Store, StoreError},
    waiters::{Place, Waiters},
};

/// Everything that one desk is made of.
pub struct Desk {
    /// The database.
    pub store: Store,
    /// Those who wait.
    pub waiters: Arc<Waiters>,
    /// What signs.
    pub keys: Keys,
    /// Counters.
    pub metrics: Metrics,
    /// Whose desk it is.
    pub deployment: String,
    /// The gateway's domain.
    pub domain: String,
    /// Where the pages are.
    pub origin: String,
    /// What one person can leave here.
    pub bounds: Bounds,
    /// Turns true when the process is to end: nobody waits any longer then.
    pub stopping: watch::Receiver<bool>,
    /// The time.
    pub clock: fn() -> Seconds,
}

/// Why a call was not answered as wished.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// A field is missing or out of bounds.
    #[error("{0}")]
    Invalid(&'static str),
    /// The database or the rules.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No random numbers.
    #[error("the machine gives no random numbers")]
    NoRandom,
    /// Signing.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    /// Somebody else's gateway.
    #[error("this desk is another deployment's")]
    WrongDeployment,
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Ledger(error.into())
    }
}

impl Desk {
    /// Asks, and waits for a decision as long as the ask says.
    ///
    /// # Errors
    ///
    /// [`Fault`]; it says nothing about the approval, and nothing may be let go.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Fault> {
        self.check(&ask)?;
        let until = patience(ask.wait_ms);
        let mut random = [0; 7];
        getrandom::fill(&mut random).map_err(|_| Fault::NoRandom)?;
        let (bounds, clock, waiters) = (self.bounds, self.clock, Arc::clone(&self.waiters));
        let wait = ask.wait_ms > 0;
        let asked = self
            .store
            .act(move |book| -> Result<_, Fault> {
                let (delivery, outcome) = book.ask(&ask, bounds, random, clock())?;
                let place = place(&waiters, &delivery, wait);
                Ok((delivery, outcome, place))
            })
            .await;
        let (first, outcome, place) = asked?;
        self.metrics.asked(outcome);
        let delivery = self.held(first, place, until).await?;
        self.answer(&delivery)
    }

    /// How an approval stands, for the filter: waits for a decision, and delivers the grant.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub async fn look(&self, id: &str, wait_ms: u64) -> Result<Answer, Fault> {
        let id = known_form(id)?;
        let until = patience(wait_ms);
        let (clock, waiters) = (self.clock, Arc::clone(&self.waiters));
        let asked = self
            .store
            .act(move |book| -> Result<_, Fault> {
                let delivery = book.deliver(&id, clock())?;
                let place = place(&waiters, &delivery, wait_ms > 0);
                Ok((delivery, place))
            })
            .await;
        let (first, place) = asked?;
        let delivery = self.held(first, place, until).await?;
        self.answer(&delivery)
    }

    /// Uses a grant for one exchange up.
    ///
    /// # Errors
    ///
    /// [`Fault`]; nothing may be let go.
    pub async fn consume(&self, id: &str, exchange: String) -> Result<Answer, Fault> {
        let id = known_form(id)?;
        if !is_name(&exchange, 1, MAX_NAME) {
            return Err(Fault::Invalid(
                "exchange: empty, too long or with control letters",
            ));
        }
        let clock = self.clock;
        let work = move |book: &mut crate::store::Book<'_>| book.consume(&id, &exchange, clock());
        let approval = self.store.act(work).await?;
        Ok(self.without_grant(&approval))
    }

    /// Decides.
    ///
    /// # Errors
    ///
    /// [`Fault`]; nothing has changed.
    pub async fn decide(&self, id: &str, decision: OwnedDecision) -> Result<Answer, Fault> {
        let id = known_form(id)?;
        let clock = self.clock;
        let approval = self
            .store
            .act(move |book| {
                let decision = Decision {
                    approver: &decision.approver,
                    verdict: decision.verdict,
                    reason: &decision.reason,
                    version: decision.version,
                };
                book.decide(&id, &decision, clock())
            })
            .await?;
        let state = approval.standing.state;
        info!(approval = approval.id, state = state.name(), "decided");
        self.metrics.decided(state);
        Ok(self.without_grant(&approval))
    }

    /// What an approver sees of an approval.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub async fn view(&self, id: &str, approver: String) -> Result<(Approval, Detail), Fault> {
        let id = known_form(id)?;
        let clock = self.clock;
        let work = move |book: &mut crate::store::Book<'_>| book.view(&id, &approver, clock());
        Ok(self.store.act(work).await?)
    }

    /// What waits, or what does not, and how many there are of it.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub async fn list(&self, pending: bool) -> Result<(Vec<Listed>, u64), Fault> {
        let clock = self.clock;
        let work = move |book: &mut crate::store::Book<'_>| book.list(pending, clock());
        Ok(self.store.act(work).await?)
    }

    /// How many wait.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub async fn pending(&self) -> Result<u64, Fault> {
        let work = move |book: &mut crate::store::Book<'_>| book.pending();
        Ok(self.store.act(work).await?)
    }

    /// What was revoked since.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub async fn revocations(&self, after: u64) -> Result<Revocations, Fault> {
        let work = move |book: &mut crate::store::Book<'_>| book.revoked(after);
        let (revoked, next) = self.store.act(work).await?;
        Ok(Revocations { revoked, next })
    }

    /// Ends what is over and erases content that is old, again and again until the process ends.
    pub async fn keep_time(&self, keep_content_s: Seconds) {
        let mut stopping = self.stopping.clone();
        loop {
            let clock = self.clock;
            let swept = self
                .store
                .act(move |book| -> Result<usize, LedgerError> {
                    let now = clock();
                    let over = book.expire(now)?;
                    book.erase(now.saturating_sub(keep_content_s))?;
                    Ok(over)
                })
                .await;
            // a failure is logged where it happens, and calls see what is over by themselves
            self.metrics.expired(swept.unwrap_or_default());
            select! {
                () = tokio::time::sleep(SWEEP) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// An answer for people: without the grant.
    pub fn without_grant(&self, approval: &Approval) -> Answer {
        let standing = &approval.standing;
        Answer {
            id: approval.id.clone(),
            state: standing.state,
            grant: None,
            url: format!("{}/approvals/{}", self.origin, approval.id),
            expires_at: u64::try_from(standing.ends_at).unwrap_or_default(),
            reason: standing.reason.clone(),
            decided_by: standing.decided_by.clone(),
            version: standing.version,
        }
    }

    fn answer(&self, delivery: &Delivery) -> Result<Answer, Fault> {
        let mut answer = self.without_grant(&delivery.approval);
        if answer.state == ApprovalState::Granted {
            let now = (self.clock)();
            let grant = self
                .keys
                .sign(delivery, &self.domain, &self.deployment, now)?;
            answer.grant = Some(grant);
        }
        Ok(answer)
    }

    /// Waits until it is no longer pending, until the time is over, or until the process ends.
    async fn held(
        &self,
        first: Delivery,
        place: Option<Place>,
        until: Instant,
    ) -> Result<Delivery, Fault> {
        let Some(mut place) = place else {
            return Ok(first);
        };
        let id = first.approval.id;
        let mut stopping = self.stopping.clone();
        loop {
            let over = select! {
                () = place.changed() => false,
                () = sleep_until(until) => true,
                _ = stopping.wait_for(|stop| *stop) => true,
            };
            let (id, clock) = (id.clone(), self.clock);
            let now = self.store.act(move |book| book.deliver(&id, clock()));
            let now = now.await?;
            if over || now.approval.standing.state != ApprovalState::Pending {
                return Ok(now);
            }
        }
    }

    fn check(&self, ask: &Ask) -> Result<(), Fault> {
        if ask.deployment != self.deployment {
            return Err(Fault::WrongDeployment);
        }
        let named = ask.person.split_once('#');
        let checks = [
            (
                is_name(&ask.person, 3, MAX_PERSON)
                    && named
                        .is_some_and(|(issuer, subject)| !issuer.is_empty() && !subject.is_empty()),
                "person: not issuer#subject",
            ),
            (
                is_name(&ask.role, 0, MAX_NAME),
                "role: too long or with control letters",
            ),
            (
                is_name(&ask.exchange, 1, MAX_NAME),
                "exchange: empty, too long or with control letters",
            ),
            (
                is_name(&ask.endpoint, 1, MAX_NAME),
                "endpoint: empty, too long or with control letters",
            ),
            (
                is_name(&ask.model, 0, MAX_NAME),
                "model: too long or with control letters",
            ),
            (
                is_name(&ask.rule, 1, MAX_NAME),
                "rule: empty, too long or with control letters",
            ),
            (
                is_name(&ask.approvers, 0, MAX_NAME),
                "approvers: too long or with control letters",
            ),
            (
                (1..=MAX_CAUSE_ITEMS).contains(&ask.cause_items.len()),
                "cause_items: not 1 to 1024",
            ),
            (
                ask.findings.len() <= MAX_FINDINGS,
                "findings: more than 1000",
            ),
            (
                (1..=DAY).contains(&ask.grant_s),
                "grant_s: not 1 s to 1 day",
            ),
            (
                (1..=30 * DAY).contains(&ask.remember_s),
                "remember_s: not 1 s to 30 days",
            ),
            (
                (1..=7 * DAY).contains(&ask.pending_s),
                "pending_s: not 1 s to 7 days",
            ),
        ];
        match checks.iter().find(|(good, _)| !good) {
            Some((_, what)) => Err(Fault::Invalid(what)),
            None => Ok(()),
        }
    }
}

/// A decision with its texts.
#[derive(Clone)]
pub struct OwnedDecision {
    /// Who.
    pub approver: String,
    /// What.
    pub verdict: contract::approval::Verdict,
    /// Why.
    pub reason: String,
    /// What they saw.
    pub version: u64,
}

/// A place among the waiting, taken before the ask is on disk, so that no change is missed. Without a
/// free place the answer is given at once: pending.
fn place(waiters: &Arc<Waiters>, delivery: &Delivery, wait: bool) -> Option<Place> {
    let pending = delivery.approval.standing.state == ApprovalState::Pending;
    if pending && wait {
        waiters.wait_for(&delivery.approval.id)
    } else {
        None
    }
}

fn patience(wait_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(wait_ms.min(MAX_WAIT_MS))
}

fn known_form(id: &str) -> Result<String, Fault> {
    if is_approval_id(id) {
        Ok(id.to_owned())
    } else {
        Err(LedgerError::Unknown.into())
    }
}

fn is_name(text: &str, shortest: usize, longest: usize) -> bool {
    (shortest..=longest).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Longest name, in bytes.
const MAX_NAME: usize = 300;

/// Longest person, in bytes.
const MAX_PERSON: usize = 2048;

/// Most findings of an ask.
const MAX_FINDINGS: usize = 1000;

const DAY: u64 = 86_400;

/// How often it is looked for what is over; calls see it at once.
const SWEEP: Duration = Duration::from_secs(1);
