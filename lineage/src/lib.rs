//! Fingerprints of code: from which recorded suggestion may it come?
//!
//! Four kinds of schemes:
//!
//! | Scheme | Made of | Stays the same under |
//! | --- | --- | --- |
//! | [`WHOLE`] | all of a suggestion, without white space | other layout |
//! | [`TEXT`], for short ones [`SHORT`] | runs of characters of the code | edits elsewhere |
//! | [`NOTES`] | runs of characters of the comments | any change of the code |
//! | [`SHAPE`] | runs of tokens, each name by where in the run it stood first | other names |
//!
//! All but the first keep some of many hashes by winnowing, so that every common run of
//! `length + window - 1` characters or tokens gives a common fingerprint. No parser, no language is
//! known; a snippet may begin and end anywhere.
//!
//! What is found is evidence and not proof: people and models write the same things.
//!
//! Hashes are SipHash-1-3 with a key of zeros: a published function, the same on every machine and in
//! every version, which the standard library's and most quick hashes do not promise. No key, because
//! whoever asks holds the code anyway; of what was masked only the mask is hashed.

mod common;
mod lexer;
mod patch;
mod query;
mod scheme;
mod suggestion;
mod winnow;

pub use common::common;
pub use patch::{Part, added};
pub use query::{COMMON_PERSONS, Candidate, Evidence, Limit, Lines, Query, Row};
pub use scheme::{Fingerprint, Method, NOTES, SCHEMES, SHAPE, SHORT, Scheme, TEXT, WHOLE};
pub use suggestion::{MAX_FINGERPRINTS, MAX_SUGGESTIONS, Suggestion, suggestions};
