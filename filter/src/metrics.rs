//! Counters of the filter, one named method each.
//!
//! `x_total.decision=mask` becomes a label by `stats_config.stats_tags` of Envoy's bootstrap. All
//! label values are from closed lists.

use std::{cell::RefCell, collections::HashMap};

use contract::Envelope;
use filter_core::{audit::FindingCounts, delivery::Counts};

use crate::host::{self, Counter, HostError};

/// Counters by name, defined when they are first used.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counters: RefCell<HashMap<String, Counter>>,
}

impl Metrics {
    /// An exchange ended.
    pub(crate) fn exchange(&self, envelope: &Envelope, findings: &FindingCounts) {
        let (decision, endpoint) = (envelope.decision(), envelope.endpoint());
        self.add(
            format!("gate_exchanges_total.decision={decision}.endpoint={endpoint}"),
            1,
        );
        for ((direction, detector), count) in findings {
            self.add(
                format!("gate_findings_total.direction={direction}.detector={detector}"),
                i64::try_from(*count).unwrap_or(i64::MAX),
            );
        }
        if let Some(state) = &envelope.approval_state {
            self.add(format!("gate_approvals_total.state={state}"), 1);
            self.add("gate_held_ms_total".into(), envelope.held_ms());
            let failed = decision == "unavailable";
            self.add("gate_desk_failures_total".into(), failed.into());
        }
        self.add(
            "gate_unscanned_bytes_total".into(),
            envelope.unscanned_bytes(),
        );
    }

    /// An exchange waits for people from now on, or does not any more.
    pub(crate) fn held(&self, held: bool) {
        self.change("gate_held".into(), if held { 1 } else { -1 }, host::gauge);
    }

    /// A record could not be handed to Envoy.
    pub(crate) fn record_lost(&self) {
        self.add("gate_records_lost_total".into(), 1);
    }

    /// The sink was told or asked.
    pub(crate) fn delivery(&self, good: bool) {
        let result = if good { "good" } else { "bad" };
        self.add(format!("gate_record_calls_total.result={result}"), 1);
    }

    /// So many more records are not durable, or less, and what became of others.
    pub(crate) fn kept(&self, more: i64, counts: Counts) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let changes = [
            ("gate_records_resent_total", number(counts.resent)),
            ("gate_records_given_up_total", number(counts.given_up)),
        ];
        for (name, by) in changes.into_iter().filter(|(_, by)| *by > 0) {
            self.add(name.into(), by);
        }
        if more != 0 {
            let name = "gate_records_unacknowledged".into();
            self.change(name, more, host::gauge);
        }
    }

    /// A key set was asked for.
    pub(crate) fn key_set(&self, good: bool) {
        let result = if good { "good" } else { "bad" };
        self.add(format!("gate_key_set_fetches_total.result={result}"), 1);
    }

    /// A host call failed that should not.
    pub(crate) fn host_error(&self) {
        self.add("gate_host_errors_total".into(), 1);
    }

    fn add(&self, name: String, by: i64) {
        self.change(name, by, host::counter);
    }

    fn change(&self, name: String, by: i64, define: fn(&str) -> Result<Counter, HostError>) {
        let mut counters = self.counters.borrow_mut();
        let known = counters.get(&name).copied();
        let Some(counter) = known.or_else(|| define(&name).ok()) else {
            return;
        };
        if known.is_none() {
            counters.insert(name, counter);
        }
        // A counter that cannot count must not disturb the exchange.
        let _counted = host::increment(counter, by).is_ok();
    }
}
