//! One exchange: Envoy's callbacks in, steps out.
//!
//! While a decision is out, every callback of the exchange answers `Pause`: the first `Continue`
//! would release the headers. A body is over at `end_of_stream` or at trailers.

use std::{cell::RefCell, rc::Rc};

use contract::FILTER_PROPERTY;
use filter_core::{
    audit::End,
    exchange::{Edits, Exchange, ResponseSource, Step},
    headers::Headers,
    reply::LocalReply,
    worker::Worker,
};
use log::{error, info};
use proxy_wasm::{
    traits::{Context, HttpContext},
    types::Action,
};

use crate::{
    host::{self, Direction, HostError},
    metrics::Metrics,
    root::answer,
};

/// Envoy's response flags of a caller that went away: the connection ended (DC), or the stream was
/// reset by it (DR). Measured in Envoy 1.40 over HTTP/1.1 and HTTP/2.
const CALLER_LEFT: u64 = 0x4000 | 0x1000_0000;

/// One exchange.
pub(crate) struct Http {
    worker: Rc<RefCell<Worker>>,
    metrics: Rc<Metrics>,
    /// Gone once the record is written.
    exchange: Option<Exchange>,
    state: State,
    /// Size of the request's body, once it is whole.
    request_whole: Option<usize>,
    /// A call is out, and what came of the response waits for its answer.
    response_waits: bool,
    /// The exchange is counted as one that waits for people.
    held: bool,
    /// Status of the answer that Envoy has shown.
    status: Option<u16>,
}

/// Who has the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A decision is out.
    Waiting,
    /// The filter collects the request's body.
    Collecting,
    /// Envoy: the request was let go.
    Forwarded,
    /// Not even an answer could be given: nothing passes any more.
    Failed,
    /// The gateway has answered.
    Replied,
}

impl Http {
    pub(crate) fn new(worker: Rc<RefCell<Worker>>, metrics: Rc<Metrics>, random: [u8; 10]) -> Self {
        Self {
            worker,
            metrics,
            exchange: Some(Exchange::new(random, host::now())),
            state: State::Collecting,
            request_whole: None,
            response_waits: false,
            held: false,
            status: None,
        }
    }

    /// Carries out a step of the request, inside its own callback.
    fn request_step(&mut self, step: Step) -> Action {
        match step {
            Step::Buffer => {
                self.state = State::Collecting;
                Action::Pause
            }
            Step::Call(callout) => {
                self.state = State::Waiting;
                self.count_held();
                if host::call(&callout).is_err() {
                    return self.call_answered(None);
                }
                Action::Pause
            }
            Step::Forward(edits) | Step::Hold(edits) => {
                if self.apply(Direction::Request, &edits, true) {
                    self.state = State::Forwarded;
                    Action::Continue
                } else {
                    self.fail()
                }
            }
            Step::Reply(reply) => self.reply(&reply),
        }
    }

    /// Takes the answer to a callout; `None` if there is none.
    fn call_answered(&mut self, answer: Option<(u16, &[u8])>) -> Action {
        let Some(exchange) = &mut self.exchange else {
            return Action::Pause;
        };
        let mut worker = self.worker.borrow_mut();
        let step = exchange.callout_reply(&mut worker, answer, host::now());
        drop(worker);
        self.count_held();
        let action = self.request_step(step);
        if self.state == State::Collecting
            && let Some(size) = self.request_whole
        {
            // The body became whole while the call was out.
            return self.request_whole(size);
        }
        action
    }

    fn request_whole(&mut self, size: usize) -> Action {
        let Some(exchange) = &mut self.exchange else {
            return Action::Pause;
        };
        let step = match host::body(Direction::Request, size) {
            Ok(body) => {
                let mut worker = self.worker.borrow_mut();
                exchange.request_body(&mut worker, &body, host::now())
            }
            Err(error) => {
                self.host_failed("read request", error);
                return self.fail();
            }
        };
        self.request_step(step)
    }

    fn request_data(&mut self, size: usize, end: bool) -> Action {
        if end {
            self.request_whole = Some(size);
        }
        match self.state {
            State::Forwarded => Action::Continue,
            State::Failed | State::Replied => Action::Pause,
            State::Collecting if end => self.request_whole(size),
            State::Collecting | State::Waiting => {
                let Some(exchange) = &mut self.exchange else {
                    return Action::Pause;
                };
                let step = exchange.request_size(&self.worker.borrow(), size);
                match step {
                    Step::Reply(reply) => self.reply(&reply),
                    _ => Action::Pause,
                }
            }
        }
    }

    /// Carries out a step of the response, inside its own callback.
    /// `given` says whether the host has shown any bytes.
    fn response_step(&mut self, step: Step, given: bool) -> Action {
        match step {
            Step::Buffer => Action::Pause,
            Step::Call(callout) => {
                // What was shown is in the exchange now, and only there.
                if given && host::replace_body(Direction::Response, &[]).is_err() {
                    return self.fail();
                }
                self.response_waits = true;
                self.count_held();
                if host::call(&callout).is_err() {
                    return self.response_answered(None);
                }
                Action::Pause
            }
            Step::Hold(edits) => {
                if self.apply(Direction::Response, &edits, given) {
                    Action::Pause
                } else {
                    self.fail()
                }
            }
            Step::Forward(edits) => {
                if self.apply(Direction::Response, &edits, given) {
                    Action::Continue
                } else {
                    self.fail()
                }
            }
            Step::Reply(reply) => self.reply(&reply),
        }
    }

    /// Takes the answer to a callout for which a response waits.
    fn response_answered(&mut self, answer: Option<(u16, &[u8])>) -> Action {
        self.response_waits = false;
        let Some(exchange) = &mut self.exchange else {
            return Action::Pause;
        };
        let mut worker = self.worker.borrow_mut();
        let step = exchange.callout_reply(&mut worker, answer, host::now());
        drop(worker);
        self.count_held();
        self.response_step(step, false)
    }

    /// Keeps the gauge of exchanges that wait for people.
    fn count_held(&mut self) {
        let held = self.exchange.as_ref().is_some_and(Exchange::waits);
        if held != self.held {
            self.held = held;
            self.metrics.held(held);
        }
    }

    fn response_data(&mut self, size: usize, end: bool) -> Action {
        match self.state {
            State::Replied => return Action::Continue,
            State::Failed => return Action::Pause,
            State::Collecting | State::Forwarded | State::Waiting => {}
        }
        let Some(exchange) = &mut self.exchange else {
            return Action::Continue;
        };
        let held = exchange.holds_response();
        if held && !end {
            // The host keeps it; only its size is of interest before the end.
            let step = exchange.response_size(size);
            return self.response_step(step, true);
        }
        let body = match host::body(Direction::Response, size) {
            Ok(body) => body,
            Err(error) => {
                self.host_failed("read response", error);
                return self.fail();
            }
        };
        let mut worker = self.worker.borrow_mut();
        let mut step = exchange.response_body(&mut worker, &body, end, host::now());
        drop(worker);
        self.count_held();
        if let Step::Forward(edits) = &mut step
            && edits.body.as_ref() == Some(&body)
        {
            edits.body = None; // the host has it
        }
        self.response_step(step, !body.is_empty())
    }

    /// Changes a message; says whether all of it could be done. `given` says whether the host has
    /// shown any bytes of the body: nothing in place of nothing is no change.
    fn apply(&self, direction: Direction, edits: &Edits, given: bool) -> bool {
        let mut good = true;
        for name in &edits.remove {
            good &= host::remove_header(direction, name).is_ok();
        }
        for (name, value) in &edits.set {
            good &= host::set_header(direction, name, value).is_ok();
        }
        if let Some(body) = &edits.body
            && (given || !body.is_empty())
            && let Err(error) = host::replace_body(direction, body)
        {
            self.host_failed("write body", error);
            good = false;
        }
        good
    }

    /// Ends the exchange when a message cannot be changed as it must: closed, not open.
    fn fail(&mut self) -> Action {
        self.state = State::Replied;
        let Some(exchange) = &mut self.exchange else {
            return Action::Pause;
        };
        let reply = exchange.host_failed();
        self.reply(&reply)
    }

    /// Answers the caller. If even that fails, nothing passes any more.
    fn reply(&mut self, reply: &LocalReply) -> Action {
        self.state = State::Replied;
        if let Err(error) = host::reply(reply.status, &reply.headers, &reply.body) {
            self.state = State::Failed;
            self.host_failed("reply", error);
        }
        Action::Pause
    }

    fn host_failed(&self, what: &str, error: HostError) {
        self.metrics.host_error();
        error!("host call failed: {what}: {error:?}");
    }
}

impl Context for Http {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body_size: usize, _: usize) {
        let answer = answer(headers, body_size);
        let answer = answer.as_ref().map(|(status, body)| (*status, &**body));
        let (action, direction) = if self.state == State::Waiting {
            (self.call_answered(answer), Direction::Request)
        } else if self.response_waits {
            (self.response_answered(answer), Direction::Response)
        } else {
            return;
        };
        if action == Action::Continue
            && let Err(error) = host::resume(direction)
        {
            self.host_failed("resume", error);
        }
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, end: bool) -> Action {
        let headers = match host::headers(Direction::Request) {
            Ok(headers) => Headers::new(headers),
            Err(error) => {
                self.host_failed("read headers", error);
                return self.fail();
            }
        };
        let address = host::property(&["source", "address"]).unwrap_or_default();
        let address = String::from_utf8_lossy(&address);
        let Some(exchange) = &mut self.exchange else {
            return Action::Pause;
        };
        let mut worker = self.worker.borrow_mut();
        let step = exchange.request_headers(&mut worker, headers, &address, end, host::now());
        drop(worker);
        self.request_step(step)
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.request_data(size, end)
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if let Err(error) = host::drop_trailers(Direction::Request) {
            self.host_failed("drop trailers", error);
            return self.fail();
        }
        let size = usize::MAX >> 1; // the host gives what it has
        self.request_data(size, true)
    }

    fn on_http_response_headers(&mut self, _: usize, end: bool) -> Action {
        match self.state {
            State::Replied => return Action::Continue,
            State::Failed => return Action::Pause,
            State::Collecting | State::Forwarded | State::Waiting => {}
        }
        let headers = match host::headers(Direction::Response) {
            Ok(headers) => Headers::new(headers),
            Err(error) => {
                self.host_failed("read headers", error);
                return self.fail();
            }
        };
        self.status = headers.one(":status").and_then(|it| it.parse().ok());
        let details = host::property(&["response", "code_details"]).unwrap_or_default();
        let source = if details == b"via_upstream" {
            ResponseSource::Upstream
        } else {
            ResponseSource::Envoy
        };
        let Some(exchange) = &mut self.exchange else {
            return Action::Continue;
        };
        let mut worker = self.worker.borrow_mut();
        let step = exchange.response_headers(&mut worker, &headers, source, end, host::now());
        drop(worker);
        self.response_step(step, false)
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.response_data(size, end)
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let Err(error) = host::drop_trailers(Direction::Response) {
            self.host_failed("drop trailers", error);
            return self.fail();
        }
        let size = usize::MAX >> 1; // the host gives what it has
        self.response_data(size, true)
    }

    fn on_log(&mut self) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        self.count_held();
        let number = |path: &[&str]| -> u64 {
            let bytes = host::property(path).unwrap_or_default();
            bytes.try_into().map_or(0, u64::from_le_bytes)
        };
        let flags = number(&["response", "flags"]);
        // what the gateway answered itself it has not been shown
        let shown = self.status.filter(|_| self.state == State::Forwarded);
        let code = || u16::try_from(number(&["response", "code"])).unwrap_or(0);
        let end = End {
            status: shown.unwrap_or_else(code),
            caller_left: flags & CALLER_LEFT != 0,
        };
        let closed = exchange.finish(&mut self.worker.borrow_mut(), end, host::now());
        let Some(closed) = closed else {
            return;
        };
        if let Err(error) = host::set_property(FILTER_PROPERTY, &closed.record) {
            self.metrics.record_lost();
            self.host_failed("write record", error);
        }
        let envelope = &closed.envelope;
        self.metrics.exchange(envelope, &closed.findings);
        info!(
            "exchange {} endpoint={} decision={} reason={} status={} findings={} duration_ms={}",
            envelope.decision_id(),
            envelope.endpoint(),
            envelope.decision(),
            envelope.reason(),
            envelope.status(),
            envelope.findings_count(),
            envelope.duration_ms()
        );
    }
}
