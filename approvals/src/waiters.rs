//! Those who wait for approvals, each with a place that costs some hundred bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Everybody who waits, by approval.
#[derive(Debug)]
pub struct Waiters {
    places: Mutex<Places>,
    max: usize,
}

#[derive(Debug, Default)]
struct Places {
    by_approval: HashMap<String, watch::Sender<()>>,
    taken: usize,
}

/// A place among the waiting; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    waiters: Arc<Waiters>,
    approval: String,
    changes: watch::Receiver<()>,
}

impl Waiters {
    /// At most `max` at once.
    pub fn new(max: usize) -> Self {
        Self {
            places: Mutex::default(),
            max,
        }
    }

    /// Takes a place; `None` if all are taken. Changes from now on wake it.
    pub fn wait_for(self: &Arc<Self>, approval: &str) -> Option<Place> {
        let mut places = self.places();
        if places.taken >= self.max {
            return None;
        }
        places.taken += 1;
        let sender = places
            .by_approval
            .entry(approval.to_owned())
            .or_insert_with(|| watch::channel(()).0);
        Some(Place {
            waiters: Arc::clone(self),
            approval: approval.to_owned(),
            changes: sender.subscribe(),
        })
    }

    /// Wakes all who wait for this approval.
    pub fn wake(&self, approval: &str) {
        if let Some(sender) = self.places().by_approval.get(approval) {
            sender.send_replace(());
        }
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.places().taken
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns after the next change that was not seen yet.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await; // the sender lives as long as this place
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.waiters.places();
        places.taken = places.taken.saturating_sub(1);
        let alone = |sender: &watch::Sender<()>| sender.receiver_count() <= 1;
        if places.by_approval.get(&self.approval).is_some_and(alone) {
            places.by_approval.remove(&self.approval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_wakes_those_who_wait_for_it_and_nobody_else() {
        let waiters = Arc::new(Waiters::new(3));
        let mut one = waiters.wait_for("AP-A").unwrap();
        let mut two = waiters.wait_for("AP-A").unwrap();
        let mut other = waiters.wait_for("AP-B").unwrap();
        waiters.wake("AP-A");
        one.changed().await;
        two.changed().await;
        tokio::select! {
            biased;
            () = other.changed() => panic!("woken without a change"),
            () = std::future::ready(()) => {}
        }
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let waiters = Arc::new(Waiters::new(2));
        let one = waiters.wait_for("AP-A").unwrap();
        let two = waiters.wait_for("AP-A").unwrap();
        assert!(waiters.wait_for("AP-B").is_none());
        drop(one);
        let three = waiters.wait_for("AP-B").unwrap();
        assert_eq!(waiters.count(), 2);
        drop((two, three));
        assert_eq!(waiters.count(), 0);
        assert!(waiters.places().by_approval.is_empty());
    }
}
