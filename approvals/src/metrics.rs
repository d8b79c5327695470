//! What the desk counts, in Prometheus' text format. Labels come from closed lists only.

use contract::approval::ApprovalState;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::ledger::Outcome;

/// All metrics; one named method for each thing that happens.
pub struct Metrics {
    registry: Registry,
    asks: Family<Label, Counter>,
    decisions: Family<Label, Counter>,
    expired: Counter,
    errors: Family<Label, Counter>,
    sign_ins: Family<Label, Counter>,
    waiting: Gauge,
    pending: Gauge,
}

type Label = [(&'static str, &'static str); 1];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let asks = Family::default();
        let help = "Asks of the filter, by what answered them: new, joined, covered";
        registry.register("desk_asks", help, asks.clone());
        let decisions = Family::default();
        let help = "Decisions of approvers, by the state they led to";
        registry.register("desk_decisions", help, decisions.clone());
        let expired = Counter::default();
        let help = "Approvals and grants that ended because nobody acted in time";
        registry.register("desk_expired", help, expired.clone());
        let errors = Family::default();
        let help = "Calls and forms that were refused or failed, by code";
        registry.register("desk_errors", help, errors.clone());
        let sign_ins = Family::default();
        let help = "Approvers' attempts to sign in, by result: good, bad";
        registry.register("desk_sign_ins", help, sign_ins.clone());
        let waiting = Gauge::default();
        let help = "Calls that wait for a decision now";
        registry.register("desk_waiting_calls", help, waiting.clone());
        let pending = Gauge::default();
        registry.register(
            "desk_pending",
            "Approvals that nobody has decided yet",
            pending.clone(),
        );
        Self {
            registry,
            asks,
            decisions,
            expired,
            errors,
            sign_ins,
            waiting,
            pending,
        }
    }
}

impl Metrics {
    /// An ask was answered, or waits.
    pub fn asked(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Covered => "covered",
            Outcome::Joined => "joined",
            Outcome::New => "new",
        };
        self.asks.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// An approver decided.
    pub fn decided(&self, state: ApprovalState) {
        self.decisions
            .get_or_create(&[("state", state.name())])
            .inc();
    }

    /// These many ended by themselves.
    pub fn expired(&self, count: usize) {
        self.expired
            .inc_by(u64::try_from(count).unwrap_or_default());
    }

    /// A call was refused or failed.
    pub fn failed(&self, code: &'static str) {
        self.errors.get_or_create(&[("code", code)]).inc();
    }

    /// Somebody tried to sign in.
    pub fn signed_in(&self, good: bool) {
        let result = if good { "good" } else { "bad" };
        self.sign_ins.get_or_create(&[("result", result)]).inc();
    }

    /// All of it as text.
    ///
    /// # Errors
    ///
    /// Only if formatting fails.
    pub fn render(&self, waiting: usize, pending: u64) -> Result<String, std::fmt::Error> {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
