//! The tables that the sink fills.

use contract::Column;

use crate::lineage;

/// A table of the dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// Audit records.
    #[default]
    Records,
    /// Fingerprints of suggestions.
    Lineage,
}

impl Table {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Lineage => "lineage",
        }
    }

    /// What it is, for who looks at the dataset.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Records => "Audit records of Copilot Gate; append-only.",
            Self::Lineage => "Fingerprints of the code in recorded answers; append-only.",
        }
    }

    /// Its columns.
    pub(super) fn columns(self) -> Vec<Column> {
        match self {
            Self::Records => contract::columns(),
            Self::Lineage => lineage::columns(),
        }
    }

    /// Columns that its rows are sorted by within a day.
    pub(super) fn clustering(self) -> &'static [&'static str] {
        match self {
            Self::Records => &["person", "endpoint", "decision"],
            Self::Lineage => &["scheme", "fingerprint"],
        }
    }
}
