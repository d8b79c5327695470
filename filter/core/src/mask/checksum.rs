//! Checksums that some vendors put into their tokens.
//!
//! A right one proves a token. A wrong one denies nothing: vendors change their forms, and invented
//! tokens in documentation are masked as well.

/// The tokens of a vendor with a checksum.
struct Form {
    detectors: &'static [&'static str],
    /// Length of what the checksum is of, behind the last `_`, and how the checksum is written.
    body: usize,
    check: Written,
}

/// How a CRC-32 is written.
enum Written {
    /// Six digits of base 62, `0-9A-Za-z`.
    Base62,
    /// Eight hex digits.
    Hex,
}

const FORMS: [Form; 2] = [
    Form {
        detectors: &[
            "github-pat",
            "github-oauth",
            "github-user-to-server",
            "github-server-to-server",
            "npm-token",
        ],
        body: 30,
        check: Written::Base62,
    },
    Form {
        detectors: &["cloudflare-token"],
        body: 40,
        check: Written::Hex,
    },
];

/// Whether tokens of this detector have a checksum.
pub(super) fn is_known(detector: &str) -> bool {
    form(detector).is_some()
}

/// Whether the value's checksum is right; `None` if it has none.
pub(super) fn holds(detector: &str, value: &str) -> Option<bool> {
    let form = form(detector)?;
    let (_, token) = value.rsplit_once('_')?;
    let (body, check) = token.split_at_checked(form.body)?;
    let crc = crc32fast::hash(body.as_bytes());
    Some(match form.check {
        Written::Base62 => check == base62(crc),
        Written::Hex => check == format!("{crc:08x}"),
    })
}

fn form(detector: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.detectors.contains(&detector))
}

/// A number in six digits of base 62.
fn base62(mut number: u32) -> String {
    let mut digits = [0; 6];
    for digit in digits.iter_mut().rev() {
        let value = u8::try_from(number % 62).unwrap_or_default();
        *digit = match value {
            0..10 => b'0' + value,
            10..36 => b'A' + value - 10,
            _ => b'a' + value - 36,
        };
        number /= 62;
    }
    digits.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::detector_names;

    #[test]
    fn a_right_checksum_is_told_from_a_wrong_one() {
        let body = "q7Zk2LmX9vTb4RnW8sYc1dHf3gJk5p";
        let crc = base62(crc32fast::hash(body.as_bytes()));
        assert_eq!(holds("github-pat", &format!("ghp_{body}{crc}")), Some(true));
        let wrong = format!("ghp_{body}000000");
        assert_eq!(holds("github-pat", &wrong), Some(false));
        assert_eq!(holds("github-pat", "ghp_short"), None);
        assert_eq!(holds("jwt", "eyJ_x"), None);
        let body = body.to_owned() + "Qrst8uVwX0";
        let crc = crc32fast::hash(body.as_bytes());
        let token = format!("cfat_{body}{crc:08x}");
        assert_eq!(holds("cloudflare-token", &token), Some(true));
    }

    #[test]
    fn base_62_has_six_digits_and_the_order_of_ascii() {
        assert_eq!(base62(0), "000000");
        assert_eq!(base62(61), "00000z");
        assert_eq!(base62(62), "000010");
        assert_eq!(base62(u32::MAX), "4gfFC3");
    }

    #[test]
    fn every_form_is_of_a_detector() {
        let of_forms = FORMS.iter().flat_map(|form| form.detectors);
        for detector in of_forms {
            assert!(detector_names().any(|name| name == *detector), "{detector}");
        }
    }
}
