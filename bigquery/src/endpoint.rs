//! Where the API is, and whether it is an emulator.

use reqwest::Url;

/// Address of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its base.
    pub url: Url,
    /// Whether it is an emulator: spoken to by plain http, without credentials and without proxies.
    pub emulator: bool,
}

impl Endpoint {
    /// Checks an address: https, or http to this host, or to any host with `insecure`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words for the person who wrote it.
    pub fn new(url: Url, insecure: bool) -> Result<Self, &'static str> {
        let local = url.host_str().is_some_and(is_loopback);
        let emulator = match url.scheme() {
            "https" => false,
            "http" if local || insecure => true,
            "http" => return Err("http leaves this host; use https, or --allow-insecure-emulator"),
            _ => return Err("neither https nor http"),
        };
        Ok(Self { url, emulator })
    }
}

/// Whether a name of a project, dataset or place can go into SQL as it is: letters, digits and
/// `more`, at least one and at most `longest`.
pub fn is_name(name: &str, more: &[char], longest: usize) -> bool {
    let good = |letter: char| letter.is_ascii_alphanumeric() || more.contains(&letter);
    !name.is_empty() && name.len() <= longest && name.chars().all(good)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_host_or_said_to_be_wanted() {
        let cases = [
            ("https://bigquery.googleapis.com", false, Some(false)),
            ("http://127.0.0.1:9050", false, Some(true)),
            ("http://[::1]:9050", false, Some(true)),
            ("http://localhost:9050", false, Some(true)),
            ("http://emulator:9050", false, None),
            ("http://127.0.0.1.evil.example", false, None),
            ("http://emulator:9050", true, Some(true)),
            ("ftp://127.0.0.1", true, None),
        ];
        for (url, insecure, emulator) in cases {
            let found = Endpoint::new(url.parse().unwrap(), insecure);
            assert_eq!(found.ok().map(|found| found.emulator), emulator, "{url}");
        }
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        for bad in ["", "a`b", "a'b", "a b", "ü"] {
            assert!(!is_name(bad, &['_'], 10), "{bad}");
        }
        assert!(is_name("a_1", &['_'], 3) && !is_name("a_12", &['_'], 3));
    }
}
