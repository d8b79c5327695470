//! Holds a stream from the first tool call that somebody may have to allow.
//!
//! A call's arguments decide, so what leaves of the stream waits from its first event to the end of
//! its choice: one buffer, in order, masked. Calls whose name matches no pattern do not wait.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::item::Kept;
use super::super::{Unreadable, Watch};

/// Choice, and number of the call in it; a call without a number is the only one.
pub(super) type CallPlace = (u64, Option<u64>);

/// What is held of a stream.
#[derive(Default)]
pub(super) struct Hold {
    watch: Rc<Watch>,
    /// Most bytes that are held.
    most: usize,
    calls: Vec<Call>,
    holding: bool,
    held: Vec<u8>,
    /// What leaves although it is held from here on.
    free: Vec<u8>,
    /// Calls that are complete and match.
    due: Kept,
    /// Somebody decides over calls that were due.
    asked: bool,
    /// Choices that ended while held.
    ended: Vec<u64>,
    /// Choices of which a call was let go.
    passed: Vec<u64>,
    /// Why it cannot be told any more what is called.
    lost: Option<Unreadable>,
}

/// Most calls side by side.
const MAX_CALLS: usize = 64;

/// A call that has not ended.
struct Call {
    place: CallPlace,
    name: String,
    arguments: String,
}

impl Hold {
    pub(super) fn new(watch: Rc<Watch>, most: usize) -> Self {
        Self {
            watch,
            most,
            ..Self::default()
        }
    }

    /// Notes the name of a call, masked. It may come again, but never another one.
    pub(super) fn name(&mut self, place: CallPlace, name: &str) {
        let Some(call) = self.call(place) else {
            return;
        };
        if call.name.is_empty() {
            name.clone_into(&mut call.name);
        } else if call.name != name && !name.is_empty() {
            self.lost = Some(Unreadable::WrongType);
        }
    }

    /// Notes a piece of a call's arguments, masked.
    pub(super) fn arguments(&mut self, place: CallPlace, text: &str) {
        if let Some(call) = self.call(place) {
            call.arguments.push_str(text);
        }
    }

    /// Whether what leaves waits.
    pub(super) fn is_holding(&self) -> bool {
        self.holding
    }

    /// Holds from here on if a call that was noted may have to wait.
    pub(super) fn begin(&mut self) {
        self.holding |= self.waits();
        if self.holding {
            return;
        }
        for call in &self.calls {
            let choice = call.place.0;
            if !self.passed.contains(&choice) {
                self.passed.push(choice);
            }
        }
    }

    /// The same, behind events that belong to what came before: they leave in any case.
    pub(super) fn begin_behind(&mut self, mut before: Vec<u8>, out: &mut Vec<u8>) {
        let was = self.holding;
        self.begin();
        if self.holding && !was {
            self.free.append(&mut before);
        } else {
            out.append(&mut before);
        }
    }

    /// A choice ends, and its calls with it; or all.
    pub(super) fn end(&mut self, choice: Option<u64>) {
        let Self {
            calls, watch, due, ..
        } = self;
        let ends = |call: &mut Call| choice.is_none_or(|choice| call.place.0 == choice);
        for call in calls.extract_if(.., ends) {
            due.call(watch, &call.name, &call.arguments, BTreeMap::new());
        }
        if self.holding {
            self.ended.extend(choice);
        }
    }

    /// Takes what was appended to `out` since `before` if it has to wait, and gives all back if
    /// nothing waits any more.
    ///
    /// # Errors
    ///
    /// More than may be held.
    pub(super) fn settle(&mut self, before: usize, out: &mut Vec<u8>) -> Result<(), Unreadable> {
        if let Some(error) = self.lost {
            out.truncate(before);
            return Err(error);
        }
        if !self.holding {
            return Ok(());
        }
        self.held.extend(out.drain(before.min(out.len())..));
        out.append(&mut self.free);
        let arguments = self.calls.iter().map(|call| call.arguments.len());
        if self.held.len() + arguments.sum::<usize>() > self.most {
            return Err(Unreadable::TooMuchHeld);
        }
        self.release_if_free(out);
        Ok(())
    }

    /// The calls over which somebody has to decide now.
    pub(super) fn take_due(&mut self) -> Option<Kept> {
        if self.asked || self.due.items.is_empty() {
            return None;
        }
        self.asked = true;
        Some(std::mem::take(&mut self.due))
    }

    /// What was asked may pass.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        self.asked = false;
        self.release_if_free(out);
    }

    /// Drops all that is held; gives the choices that the caller has not seen end, and whether the
    /// caller has seen a call in a choice.
    pub(super) fn drop_held(&mut self) -> Dropped {
        self.held = Vec::new();
        self.calls.clear();
        Dropped {
            any: std::mem::take(&mut self.holding),
            ended: std::mem::take(&mut self.ended),
            passed: std::mem::take(&mut self.passed),
        }
    }

    fn release_if_free(&mut self, out: &mut Vec<u8>) {
        if self.asked || !self.due.items.is_empty() || self.waits() {
            return;
        }
        self.holding = false;
        self.ended.clear();
        out.append(&mut self.held);
    }

    /// Whether a call that has not ended may match.
    fn waits(&self) -> bool {
        let Self { calls, watch, .. } = self;
        let waits = |call: &Call| call.name.is_empty() || watch.watches(&call.name);
        calls.iter().any(waits)
    }

    fn call(&mut self, place: CallPlace) -> Option<&mut Call> {
        if self.watch.calls.is_empty() {
            return None;
        }
        let known = self.calls.iter().position(|call| call.place == place);
        if known.is_none() && self.calls.len() >= MAX_CALLS {
            self.lost = Some(Unreadable::TooManyChannels);
            return None;
        }
        let known = known.unwrap_or_else(|| {
            self.calls.push(Call {
                place,
                name: String::new(),
                arguments: String::new(),
            });
            self.calls.len() - 1
        });
        self.calls.get_mut(known)
    }
}

/// What was dropped.
pub(super) struct Dropped {
    /// Something was held.
    pub(super) any: bool,
    /// Choices that ended in it.
    pub(super) ended: Vec<u64>,
    /// Choices of which a call was let go before.
    pub(super) passed: Vec<u64>,
}

#[cfg(test)]
mod tests;
