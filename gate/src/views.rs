//! The audit's views, and how what they hold is written down.

use std::time::Duration;

use anyhow::bail;
use bigquery::Client;

use crate::access::{Access, moment, range};

/// Where the views are, and of which time to read.
#[derive(Debug, clap::Args)]
pub(crate) struct Views {
    #[command(flatten)]
    access: Access,
    /// Dataset of the views
    #[arg(
        long = "views-dataset",
        value_name = "VIEWS_DATASET",
        default_value = "copilot_audit_views"
    )]
    dataset: String,
    /// First moment: a date or RFC 3339, in UTC, of when the record arrived
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<i64>,
    /// One past the last moment; now if not given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<i64>,
}

impl Views {
    /// Checks the arguments and prepares for questions; to be called once.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let to = self.to.unwrap_or(i64::MAX);
        if self.from.is_some_and(|from| from >= to) {
            bail!("--from: not before --to");
        }
        self.access.client("--views-dataset", &self.dataset)
    }

    /// A view, as SQL names it.
    pub(crate) fn sql(&self, view: &str) -> String {
        self.access.sql(&self.dataset, view)
    }

    /// `name` of the views for the time that is asked for: parameters `from` and `to`, microseconds
    /// since 1970.
    pub(crate) fn between(&self, name: &str) -> String {
        between(&self.sql(name))
    }

    /// First moment and one past the last, in microseconds since 1970; so long if none is given.
    pub(crate) fn range(&self, long: Duration) -> (i64, i64) {
        range(self.from, self.to, long)
    }
}

/// A function of the views for a time: parameters `from` and `to`, microseconds since 1970.
pub(crate) fn between(function: &str) -> String {
    format!("{function}(TIMESTAMP_MICROS(@from), TIMESTAMP_MICROS(@to))")
}

/// What a person reads of a text that came from elsewhere: no control characters.
pub(crate) fn plain(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(shown).collect()
}
