//! The filter's masks, outside of a gateway.

use std::rc::Rc;

use filter_core::mask::{Catalog, MaskKeys, Masker};

/// All detectors, with keys that are nobody's: placeholders and fingerprints of a gateway differ.
pub(crate) fn masker() -> Masker {
    let keys = MaskKeys {
        fingerprint_key_id: "none".to_owned(),
        fingerprint_key: b"gate: no gateway's key".to_vec(),
        placeholder_key: b"gate: nobody's key".to_vec(),
    };
    Masker::new(Rc::new(Catalog::new()), &keys, "scan", "nobody")
}
