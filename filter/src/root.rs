//! The plugin of one worker: its configuration, its key sets, its exchanges.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use filter_core::{
    config::Config,
    time::UnixTime,
    worker::{Secrets, Worker},
};
use log::{error, info, warn};
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::ContextType,
};

use crate::{host, http::Http, metrics::Metrics};

/// How often key sets and records are looked after.
const TICK: Duration = Duration::from_millis(200);

/// How long the end of a worker waits for its last records to be durable.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// First tick after the start, so that key sets are there before callers are.
const FIRST_TICK: Duration = Duration::from_millis(20);

/// The plugin of one worker.
#[derive(Default)]
pub(crate) struct Root {
    worker: Option<Rc<RefCell<Worker>>>,
    metrics: Rc<Metrics>,
    /// What was asked for, by the callout's token.
    calls: HashMap<u32, Call>,
    ticked: bool,
    /// Since when the host waits for the end.
    ends_since: Option<UnixTime>,
    /// Records that were not durable when it was last counted.
    unacknowledged: i64,
}

/// What a call is about.
#[derive(Clone, Copy, Debug)]
enum Call {
    /// The key set of this issuer.
    KeySet(usize),
    /// The sink.
    Records,
}

impl Root {
    fn configure(&mut self, size: usize) -> Result<(), Vec<String>> {
        let bytes = host::configuration(size)
            .map_err(|error| vec![format!("cannot read the configuration: {error:?}")])?;
        let config = Config::from_bytes(&bytes)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let secrets = Secrets::read(&config, |name| std::env::var(name).ok())
            .map_err(|error| vec![error.to_string()])?;
        if !secrets.has_credential() {
            warn!(
                "{} is not set: model endpoints are refused",
                config.credential_env
            );
        }
        info!(
            "configured, deployment {}, policy {}",
            config.deployment, config.policy_digest
        );
        // Two workers with one epoch would be taken for one that lies.
        let epoch = random().ok_or_else(|| vec!["no random bits for the epoch".to_owned()])?;
        let worker = Worker::new(config, secrets, epoch);
        self.worker = Some(Rc::new(RefCell::new(worker)));
        host::set_tick(FIRST_TICK).map_err(|error| vec![format!("no timer: {error:?}")])
    }

    fn fetch_key_sets(&mut self) {
        let Some(worker) = &self.worker else {
            return;
        };
        let mut worker = worker.borrow_mut();
        let now = host::now();
        for (issuer, callout) in worker.key_sets_due(now) {
            if let Ok(token) = host::call(&callout) {
                self.calls.insert(token, Call::KeySet(issuer));
            } else {
                warn!("cannot call cluster {} for its key set", callout.cluster);
                let _fetched = worker.key_set_reply(issuer, None, now).is_ok();
                self.metrics.key_set(false);
            }
        }
    }
}

impl Root {
    /// Brings records to the sink, and learns which are durable.
    fn deliver(&mut self) {
        let Some(worker) = &self.worker else {
            return;
        };
        let mut worker = worker.borrow_mut();
        let now = host::now();
        if let Some(callout) = worker.delivery_due(now) {
            if let Ok(token) = host::call(&callout) {
                self.calls.insert(token, Call::Records);
            } else {
                warn!("cannot call cluster {} with records", callout.cluster);
                let _good = worker.delivery_reply(None, now);
                self.metrics.delivery(false);
            }
        }
        let (kept, counts) = worker.delivery_state();
        let kept = i64::try_from(kept).unwrap_or(i64::MAX);
        self.metrics.kept(kept - self.unacknowledged, counts);
        self.unacknowledged = kept;
        let late = |since| now.since(since) >= LAST_WAIT;
        if let Some(since) = self.ends_since
            && (worker.has_ended() || late(since))
        {
            self.ends_since = None;
            let _told = host::done().is_ok();
        }
    }

    fn delivered(&mut self, answer: Option<(u16, &[u8])>) {
        if let Some(worker) = &self.worker {
            let good = worker.borrow_mut().delivery_reply(answer, host::now());
            self.metrics.delivery(good);
        }
    }
}

impl Context for Root {
    /// The host waits until the last records are durable.
    fn on_done(&mut self) -> bool {
        let Some(worker) = &self.worker else {
            return true;
        };
        let now = host::now();
        for callout in worker.borrow_mut().end(now) {
            if let Ok(token) = host::call(&callout) {
                self.calls.insert(token, Call::Records);
            }
        }
        if worker.borrow().has_ended() {
            return true;
        }
        self.ends_since = Some(now);
        false
    }

    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        let (Some(call), Some(worker)) = (self.calls.remove(&token), &self.worker) else {
            return;
        };
        let answer = answer(headers, body_size);
        let answer = answer.as_ref().map(|(status, body)| (*status, &**body));
        let Call::KeySet(issuer) = call else {
            return self.delivered(answer);
        };
        let result = worker
            .borrow_mut()
            .key_set_reply(issuer, answer, host::now());
        self.metrics.key_set(result.is_ok());
        if let Err(error) = result {
            warn!("key set of issuer {issuer}: {error}");
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        proxy_wasm::set_log_level(host::log_level());
        match self.configure(size) {
            Ok(()) => true,
            Err(reasons) => {
                for reason in reasons {
                    error!("configuration refused: {reason}");
                }
                false
            }
        }
    }

    fn on_tick(&mut self) {
        // An operator may change it at any time; a line that nobody keeps shall cost nothing.
        proxy_wasm::set_log_level(host::log_level());
        if !self.ticked {
            self.ticked = true;
            let _slower = host::set_tick(TICK).is_ok();
        }
        self.fetch_key_sets();
        self.deliver();
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let worker = Rc::clone(self.worker.as_ref()?);
        Some(Box::new(Http::new(
            worker,
            Rc::clone(&self.metrics),
            random().unwrap_or_default(),
        )))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Status and body of the answer to a callout; `None` if there was none.
pub(crate) fn answer(headers: usize, body_size: usize) -> Option<(u16, Vec<u8>)> {
    if headers == 0 {
        return None;
    }
    let status = host::callout_status()?;
    let body = host::callout_body(body_size).ok()?;
    Some((status, body))
}

/// Random bits of the host.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bits = [0; N];
    getrandom::fill(&mut bits).ok().map(|()| bits)
}
