//! Arguments and secrets as written, and as checked.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Parser;
use contract::Token;
use http::Uri;

use crate::{ledger::Bounds, store::Limits};

/// Keeps requests that wait for a person's approval, shows them to approvers, and signs what they grant.
///
/// Two secrets come by environment. GATE_DESK_TOKEN is what the gateway's filter shows; several
/// separated by commas while one replaces another. GATE_APPROVERS says who may decide:
/// person=token[,person=token], where a person is issuer#subject as in the gateway's records and a
/// token has at least 16 of A-Z, a-z, 0-9, _ and -.
#[derive(Clone, Debug, Parser)]
#[expect(
    clippy::doc_markdown,
    reason = "the help shows the comments as they are"
)]
#[command(name = "approvals", version, max_term_width = 100)]
pub struct Arguments {
    /// Address of pages and API; loopback only, until approvers can sign in with their own identity
    #[arg(long, env = "DESK_LISTEN", default_value = "127.0.0.1:9820")]
    pub listen: SocketAddr,

    /// Folder of database and keys, on a disk that keeps what was synced; made if missing
    #[arg(long, env = "DESK_DATA", value_name = "DIR")]
    pub data: PathBuf,

    /// The gateway's deployment, as in its configuration
    #[arg(long, env = "DESK_DEPLOYMENT")]
    pub deployment: String,

    /// The gateway's domain, as in its configuration: the issuer of grants
    #[arg(long, env = "DESK_DOMAIN")]
    pub domain: String,

    /// Where approvers' browsers find the pages, such as https://approvals.gw.example; http and the
    /// address of --listen if not given
    #[arg(long, env = "DESK_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<Uri>,

    /// Most bytes of the database; when it is full nothing new can be asked or granted
    #[arg(long, env = "DESK_MAX_BYTES", default_value_t = 8 << 30,
        value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub max_bytes: u64,

    /// Days that the masked content of a decided request is kept; its digest and history always are
    #[arg(long, env = "DESK_KEEP_CONTENT_DAYS", default_value_t = 90,
        value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub keep_content_days: u16,

    /// Makes a new signing key at this start; what the old one signed stays good
    #[arg(long)]
    pub rotate_key: bool,

    /// Checks that the history is whole and fits all approvals, says so and ends: 0 if it does, 1 if not
    #[arg(long)]
    pub check: bool,
}

/// Arguments and environment, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// The gateway's deployment.
    pub deployment: String,
    /// The gateway's domain.
    pub domain: String,
    /// Where browsers find the pages.
    pub public: Public,
    /// The filter's tokens.
    pub desk_tokens: Vec<Token>,
    /// Who may decide.
    pub approvers: Vec<Approver>,
    /// Bounds of the database.
    pub limits: Limits,
    /// Bounds of what one person can leave there.
    pub bounds: Bounds,
    /// Seconds that content is kept after the end.
    pub keep_content_s: i64,
    /// Whether to make a new key.
    pub rotate_key: bool,
}

/// The desk's place on the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// Scheme, host and port, without a final slash: what browsers send as `Origin`.
    pub origin: String,
    /// Whether browsers come by TLS.
    pub tls: bool,
}

/// Somebody who may decide.
#[derive(Clone, Debug)]
pub struct Approver {
    /// `issuer#subject`.
    pub person: String,
    /// How they prove it.
    pub token: Token,
}

impl Arguments {
    /// Checks all; the others are the values of `GATE_DESK_TOKEN` and `GATE_APPROVERS`.
    ///
    /// # Errors
    ///
    /// One sentence for each fault; none repeats a secret.
    pub fn check(
        self,
        desk_tokens: Option<&str>,
        approvers: Option<&str>,
    ) -> Result<Config, Vec<String>> {
        let mut faults = Vec::new();
        let mut fault = |text: String| faults.push(text);
        if !self.listen.ip().is_loopback() {
            fault(format!(
                "--listen: {} is not a loopback address; the desk has no sign-in yet, so it is not offered \
                 to the network",
                self.listen
            ));
        }
        let good = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-');
        if !(1..=40).contains(&self.deployment.len()) || !self.deployment.chars().all(good) {
            fault("--deployment: 1 to 40 of a-z, 0-9 and -".to_owned());
        }
        let good = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-' | '.');
        if !(1..=253).contains(&self.domain.len()) || !self.domain.chars().all(good) {
            fault("--domain: not a host name in lower case".to_owned());
        }
        let public = public(self.public_url.as_ref(), self.listen).map_err(&mut fault);
        let desk_tokens = read_tokens(desk_tokens).map_err(&mut fault);
        let approvers = read_approvers(approvers).map_err(&mut fault);
        let (Ok(public), Ok(desk_tokens), Ok(approvers)) = (public, desk_tokens, approvers) else {
            return Err(faults);
        };
        if desk_tokens
            .iter()
            .any(|token| approvers.iter().any(|approver| approver.token == *token))
        {
            faults.push("GATE_APPROVERS: a token is in GATE_DESK_TOKEN too".to_owned());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Config {
            listen: self.listen,
            data: self.data,
            deployment: self.deployment,
            domain: self.domain,
            public,
            desk_tokens,
            approvers,
            limits: Limits {
                max_bytes: self.max_bytes,
                busy: BUSY,
            },
            bounds: Bounds::default(),
            keep_content_s: i64::from(self.keep_content_days) * 86_400,
            rotate_key: self.rotate_key,
        })
    }
}

fn public(url: Option<&Uri>, listen: SocketAddr) -> Result<Public, String> {
    let Some(url) = url else {
        return Ok(Public {
            origin: format!("http://{listen}"),
            tls: false,
        });
    };
    let fault = |what: &str| Err(format!("--public-url: {what}"));
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return fault("neither https:// nor http://");
    };
    if scheme != "https" && scheme != "http" {
        return fault("neither https:// nor http://");
    }
    if authority.as_str().contains('@') || url.path_and_query().is_some_and(|path| path != "/") {
        return fault("more than a scheme, a host and a port");
    }
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let host = authority.as_str().to_ascii_lowercase();
    let host = host.strip_suffix(default_port).unwrap_or(&host);
    Ok(Public {
        origin: format!("{scheme}://{host}"),
        tls: scheme == "https",
    })
}

fn read_tokens(text: Option<&str>) -> Result<Vec<Token>, String> {
    let text = text
        .filter(|text| !text.is_empty())
        .ok_or("GATE_DESK_TOKEN: not set; no filter could ask")?;
    let mut tokens = Vec::new();
    for (place, token) in text.split(',').map(str::trim).enumerate() {
        if !is_token(token) {
            return Err(format!(
                "GATE_DESK_TOKEN: token {}: {TOKEN_FORM}",
                place + 1
            ));
        }
        tokens.push(Token::new(token));
    }
    Ok(tokens)
}

fn read_approvers(text: Option<&str>) -> Result<Vec<Approver>, String> {
    let text = text
        .filter(|text| !text.is_empty())
        .ok_or("GATE_APPROVERS: not set; nobody could decide")?;
    let mut approvers: Vec<Approver> = Vec::new();
    for (place, entry) in text.split(',').map(str::trim).enumerate() {
        let fault = |what: &str| Err(format!("GATE_APPROVERS: entry {}: {what}", place + 1));
        let Some((person, token)) = entry.rsplit_once('=') else {
            return fault("not person=token");
        };
        let Some((issuer, subject)) = person.split_once('#') else {
            return fault("the person is not issuer#subject");
        };
        if !(issuer.starts_with("https://") || issuer.starts_with("http://")) || subject.is_empty()
        {
            return fault("the person is not issuer#subject with the issuer's URL");
        }
        if !is_token(token) {
            return fault(TOKEN_FORM);
        }
        let token = Token::new(token);
        if approvers.iter().any(|other| other.token == token) {
            return fault("its token is another entry's too");
        }
        approvers.push(Approver {
            person: person.to_owned(),
            token,
        });
    }
    Ok(approvers)
}

fn is_token(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(good)
}

const TOKEN_FORM: &str = "the token is not 16 to 512 of A-Z, a-z, 0-9, _ and -";

const MIN_TOKEN: usize = 16;

const MAX_TOKEN: usize = 512;

/// How long a backup or an operator's shell may lock the database before calls fail.
const BUSY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const DESK: &str = concat!("desk-token-", "0123456789");
    const BO: &str = concat!("https://login.example#bo=", "bo-token-01234567");

    fn check(
        arguments: &[&str],
        desk: Option<&str>,
        approvers: Option<&str>,
    ) -> Result<Config, Vec<String>> {
        let all = [
            "approvals",
            "--data",
            "d",
            "--deployment",
            "acme-eu",
            "--domain",
            "gw.example",
        ];
        let all = all.iter().chain(arguments);
        Arguments::try_parse_from(all)
            .unwrap()
            .check(desk, approvers)
    }

    #[test]
    fn pages_are_where_it_listens_unless_told_otherwise() {
        let origin = |arguments: &[&str]| check(arguments, Some(DESK), Some(BO)).unwrap().public;
        assert_eq!(origin(&[]).origin, "http://127.0.0.1:9820");
        assert_eq!(origin(&["--listen", "[::1]:9"]).origin, "http://[::1]:9");
        let far = origin(&["--public-url", "https://Approvals.gw.example:443/"]);
        assert_eq!(
            (far.origin.as_str(), far.tls),
            ("https://approvals.gw.example", true)
        );
    }

    #[test]
    fn faults_are_named_by_their_option() {
        let cases: [(&[&str], &str); 10] = [
            (&["--listen", "0.0.0.0:9820"], "--listen"),
            (&["--listen", "10.0.0.1:9820"], "--listen"),
            (&["--listen", "[::]:9820"], "--listen"),
            (&["--deployment", "Acme"], "--deployment"),
            (&["--deployment", ""], "--deployment"),
            (&["--domain", "https://gw.example"], "--domain"),
            (&["--public-url", "ftp://gw.example"], "--public-url"),
            (&["--public-url", "gw.example"], "--public-url"),
            (&["--public-url", "https://gw.example/desk"], "--public-url"),
            (&["--public-url", "https://a@gw.example"], "--public-url"),
        ];
        for (arguments, option) in cases {
            let mut all = vec!["approvals", "--data", "d"];
            for (name, value) in [("--deployment", "acme-eu"), ("--domain", "gw.example")] {
                if arguments[0] != name {
                    all.extend([name, value]);
                }
            }
            all.extend(arguments);
            let arguments = Arguments::try_parse_from(&all).unwrap();
            let faults = arguments.check(Some(DESK), Some(BO)).unwrap_err();
            assert_eq!(faults.len(), 1, "{all:?}");
            assert!(faults[0].starts_with(option), "{faults:?}");
        }
    }

    #[test]
    fn secrets_are_read_and_faults_do_not_repeat_them() {
        let two = format!(
            "{BO},https://a=b.example#c=d={}",
            concat!("another-", "token-01234567")
        );
        let config = check(&[], Some(&format!("{DESK}, {DESK}x")), Some(&two)).unwrap();
        let persons: Vec<_> = config.approvers.iter().map(|a| a.person.as_str()).collect();
        assert_eq!(
            persons,
            ["https://login.example#bo", "https://a=b.example#c=d"]
        );
        assert!(config.desk_tokens[1].is(&Token::new(&format!("{DESK}x"))));
        assert!(!config.desk_tokens[0].is(&Token::new(&format!("{DESK}x"))));
        assert!(!format!("{config:?}").contains("token-0"));
        let twice = format!("{BO},{BO}");
        let both = format!("https://login.example#bo={DESK}");
        for (desk, approvers) in [
            (None, Some(BO)),
            (Some(""), Some(BO)),
            (Some("canary"), Some(BO)),
            (Some("canary canary canary"), Some(BO)),
            (Some(DESK), None),
            (Some(DESK), Some("canary")),
            (Some(DESK), Some("canary=0123456789012345")),
            (Some(DESK), Some("login.example#canary=0123456789012345")),
            (Some(DESK), Some("https://login.example#=0123456789012345")),
            (Some(DESK), Some("https://login.example#canary=canary")),
            (Some(DESK), Some(twice.as_str())),
            (Some(DESK), Some(both.as_str())),
        ] {
            let faults = check(&[], desk, approvers).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("GATE_"), "{faults:?}");
            assert!(
                !faults[0].contains("canary") && !faults[0].contains("0123"),
                "{faults:?}"
            );
        }
    }
}
