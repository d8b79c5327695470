//! How many questions there may be in a minute (pure).

use std::time::{Duration, Instant};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// The person at a place.
    Known(usize),
    /// Somebody without a token.
    Unknown,
}

/// What was asked lately. Who has no token takes nothing from those who have one.
#[derive(Debug)]
pub(super) struct Limits {
    people: Vec<Minute>,
    unknown: Minute,
    all: Minute,
    per_person: u32,
    overall: u32,
}

/// There were too many questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// Until when.
    pub(super) time: Duration,
    /// How many the asker was refused before in the same minute.
    pub(super) refused: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    since: Option<Instant>,
    taken: u32,
    refused: u32,
}

impl Limits {
    pub(super) fn new(people: usize, per_person: u32, overall: u32) -> Self {
        Self {
            people: vec![Minute::default(); people],
            unknown: Minute::default(),
            all: Minute::default(),
            per_person,
            overall,
        }
    }

    /// Takes a question in.
    pub(super) fn take(&mut self, asker: Asker, now: Instant) -> Result<(), Wait> {
        let own = match asker {
            Asker::Known(place) => self.people.get_mut(place),
            Asker::Unknown => None,
        };
        let Some(own) = own else {
            return self.unknown.take(self.per_person, now);
        };
        own.take(self.per_person, now)?;
        self.all
            .take(self.overall, now)
            .map_err(|wait| own.refuse(wait.time))
    }
}

impl Minute {
    fn take(&mut self, most: u32, now: Instant) -> Result<(), Wait> {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= MINUTE {
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
        if self.taken >= most {
            return Err(self.refuse(MINUTE.saturating_sub(age)));
        }
        self.taken += 1;
        Ok(())
    }

    fn refuse(&mut self, time: Duration) -> Wait {
        let refused = self.refused;
        self.refused = refused.saturating_add(1);
        Wait { time, refused }
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_and_all_together_have_a_limit() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limits = Limits::new(2, 3, 4);
        let wait = |seconds, refused| {
            let time = Duration::from_secs(seconds);
            Err(Wait { time, refused })
        };
        for (second, asker, expected) in [
            (0, Asker::Known(0), Ok(())),
            (1, Asker::Known(0), Ok(())),
            (2, Asker::Known(0), Ok(())),
            (3, Asker::Known(0), wait(57, 0)),
            (4, Asker::Known(0), wait(56, 1)),
            (10, Asker::Known(1), Ok(())),
            (11, Asker::Known(1), wait(49, 0)),
            (60, Asker::Known(0), Ok(())),
            (61, Asker::Known(1), Ok(())),
        ] {
            assert_eq!(limits.take(asker, at(second)), expected, "{second}");
        }
    }

    #[test]
    fn who_has_no_token_takes_nothing_from_others() {
        let now = Instant::now();
        let mut limits = Limits::new(1, 2, 2);
        for _ in 0..100 {
            let _refused = limits.take(Asker::Unknown, now);
        }
        assert!(limits.take(Asker::Unknown, now).is_err());
        assert_eq!(limits.take(Asker::Known(0), now), Ok(()));
    }
}
