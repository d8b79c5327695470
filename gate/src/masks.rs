//! The filter's masks, outside of a gateway.

use std::rc::Rc;

use clap::builder::PossibleValue;
use filter_core::mask::{Catalog, MaskKeys, Masker, Pack, Packs};

/// Which detectors find something.
#[derive(Debug, clap::Args)]
pub(crate) struct PacksArgument {
    /// Packs of detectors, as in `masking.packs`, with commas between; all but pii if not given
    #[arg(long, value_delimiter = ',')]
    packs: Vec<NamedPack>,
}

/// A pack, by its name.
#[derive(Clone, Copy, Debug)]
struct NamedPack(Pack);

impl clap::ValueEnum for NamedPack {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [NamedPack; 4] = [
            NamedPack(Pack::Vendors),
            NamedPack(Pack::Structures),
            NamedPack(Pack::Generic),
            NamedPack(Pack::Pii),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

/// Detectors with keys that are nobody's: placeholders and fingerprints of a gateway differ.
pub(crate) fn masker(wanted: &PacksArgument) -> Masker {
    let packs = match wanted.packs.as_slice() {
        [] => Packs::default(),
        packs => packs.iter().map(|named| named.0).collect(),
    };
    let keys = MaskKeys {
        fingerprint_key_id: "none".to_owned(),
        fingerprint_key: b"gate: no gateway's key".to_vec(),
        placeholder_key: b"gate: nobody's key".to_vec(),
    };
    Masker::new(Rc::new(Catalog::of(packs)), &keys, "scan", "nobody")
}
