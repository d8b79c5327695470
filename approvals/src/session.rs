//! Approvers who have signed in with a browser.
//!
//! A browser holds a random cookie and the desk its digest, so that nothing that the desk keeps can be
//! used to sign in. Sessions live in memory: a restart ends them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use data_encoding::BASE64URL_NOPAD;

use contract::Token;

use crate::state::Seconds;

/// All sessions.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

/// An approver in a browser.
#[derive(Clone)]
pub struct Session {
    /// Who.
    pub approver: String,
    /// What each of their forms has to carry.
    pub csrf: String,
    ends_at: Seconds,
}

impl Session {
    /// Whether a form's token is this session's, compared without telling how much of it is.
    pub fn has_csrf(&self, token: &str) -> bool {
        Token::new(token).is(&Token::new(&self.csrf))
    }
}

impl Sessions {
    /// Starts a session; gives the cookie's value, `None` without random numbers.
    pub fn start(&self, approver: &str, now: Seconds) -> Option<String> {
        let cookie = random()?;
        let session = Session {
            approver: approver.to_owned(),
            csrf: random()?,
            ends_at: now.saturating_add(LIFETIME_S),
        };
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.ends_at > now);
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.ends_at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                sessions.remove(&oldest);
            }
        }
        sessions.insert(key(&cookie), session);
        Some(cookie)
    }

    /// The session of a cookie.
    pub fn find(&self, cookie: &str, now: Seconds) -> Option<Session> {
        let sessions = self.sessions();
        let session = sessions.get(&key(cookie))?;
        (session.ends_at > now).then(|| session.clone())
    }

    /// Ends a session.
    pub fn end(&self, cookie: &str) {
        self.sessions().remove(&key(cookie));
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(cookie: &str) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(cookie).into()
}

fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(BASE64URL_NOPAD.encode(&bytes))
}

/// How long a session lasts: a working day.
pub const LIFETIME_S: Seconds = 8 * 3600;

/// Most sessions; the oldest makes room.
const MAX_SESSIONS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_cookie_until_it_ends() {
        let sessions = Sessions::default();
        let cookie = sessions.start("bo", 1000).unwrap();
        let other = sessions.start("bo", 1000).unwrap();
        assert_ne!(cookie, other);
        let session = sessions.find(&cookie, 1000 + LIFETIME_S - 1).unwrap();
        assert_eq!(session.approver, "bo");
        assert!(session.has_csrf(&session.csrf.clone()));
        assert!(!session.has_csrf("") && !session.has_csrf(&cookie));
        assert!(sessions.find(&cookie, 1000 + LIFETIME_S).is_none());
        assert!(sessions.find("", 1000).is_none());
        sessions.end(&cookie);
        assert!(sessions.find(&cookie, 1000).is_none());
        assert!(sessions.find(&other, 1000).is_some());
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let sessions = Sessions::default();
        let first = sessions.start("bo", 0).unwrap();
        for now in 1..=1000 {
            sessions.start("bo", now).unwrap();
        }
        assert!(sessions.find(&first, 1).is_none());
        assert_eq!(sessions.sessions().len(), MAX_SESSIONS);
    }
}
