//! Passwords that nothing names: behind options of commands, behind a port between colons.

use super::named::Armed;
use super::{Run, TextMask, Verdict, last_line};
use crate::mask::catalog::Catalog;
use crate::mask::detector::Grade;
use crate::mask::gap::Gap;

/// Options whose value is a password, and the command they belong to.
const OPTIONS: [(&str, &str); 10] = [
    ("-p", "login"),
    ("-p", "sshpass"),
    ("-p", "mongo"),
    ("-p", "cypher-shell"),
    ("-a", "redis-cli"),
    ("-w", "ldap"),
    ("-P", "sqlcmd"),
    ("-P", "bcp "),
    ("-P", "zip"),
    ("-p", "psexec"),
];

/// Calls that take a password behind so many other arguments.
const CALLS: [(&str, u8); 15] = [
    ("asicAuth", 1),
    ("basic_auth", 1),
    ("auth.basic", 1),
    ("Tokens.basic", 1),
    ("NetworkCredential", 1),
    ("asswordCredential", 1),
    ("asswordCredentials", 1),
    ("asswordAuthentication", 1),
    (".login", 1),
    ("MySQLdb.connect", 2),
    ("mysqli", 2),
    ("mysqli_connect", 2),
    ("mysql_connect", 2),
    ("mysql_pconnect", 2),
    ("PDO", 2),
];

/// The way to the password in the arguments of a call, if this is a call that takes one.
pub(super) fn arguments(raw: &str, byte: u8) -> Option<Gap> {
    if byte != b'(' {
        return None;
    }
    let call = CALLS.iter().find(|(call, _)| raw.ends_with(call));
    call.map(|(_, before)| Gap::Arguments { before: *before })
}

impl TextMask {
    /// Passes an option to which its value is glued: `mysql -psecret`.
    pub(super) fn glued_option(&mut self, run: &Run<'_>) -> Verdict {
        const COMMANDS: [&str; 4] = ["mysql", "mariadb", "sshpass", "7z"];
        let Some(detector) = run.masker.catalog().command() else {
            return Verdict::Pass;
        };
        let rest = run.text.as_bytes().get(self.at..).unwrap_or_default();
        let &[b'-', b'p', ref rest @ ..] = rest else {
            let is_cut = rest.len() < 2 && !run.is_final;
            return if is_cut { Verdict::Hold } else { Verdict::Pass };
        };
        let before = last_line(self.text_before(run.text));
        if !before.ends_with(' ') || !COMMANDS.iter().any(|command| before.contains(command)) {
            return Verdict::Pass;
        }
        match rest.first() {
            None if !run.is_final => return Verdict::Hold,
            Some(byte) if byte.is_ascii_graphic() && *byte != b'-' => {}
            _ => return Verdict::Pass,
        }
        if rest.first() == Some(&b'M') {
            let verdict = self.placeholder(run, 2);
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        self.at += 2;
        self.name = None;
        let gap = Gap::AfterOperator { operator: b' ' };
        self.armed = Some(Armed::new(detector, Grade::Password, gap, self.offset()).strict());
        Verdict::Moved
    }
}

/// What announces a password without a name: an option of a command, a port between colons.
/// `before` gives the line before the name.
pub(super) fn unnamed<'a>(
    catalog: &Catalog,
    raw: &str,
    before: impl Fn() -> &'a str,
    byte: u8,
) -> Option<(usize, Gap)> {
    match raw {
        "-p" | "-a" | "-w" | "-P"
            if byte == b' '
                && OPTIONS
                    .iter()
                    .any(|(option, word)| *option == raw && names(before(), word)) =>
        {
            Some((
                catalog.command()?,
                Gap::AfterKey {
                    closed: false,
                    spaced: false,
                },
            ))
        }
        "-u" | "--user" if byte == b' ' && before().contains("curl") => {
            Some((catalog.command()?, Gap::Account))
        }
        "--user" if byte == b'=' && before().contains("curl") => {
            Some((catalog.command()?, Gap::Account))
        }
        _ if byte == b':'
            && matches!(raw.len(), 4 | 5)
            && raw.bytes().all(|digit| digit.is_ascii_digit())
            && ends_in_host(before()) =>
        {
            Some((catalog.fields()?, Gap::Fields { colons: 3 }))
        }
        _ => None,
    }
}

/// Whether a command is named in the line, in any case.
fn names(line: &str, command: &str) -> bool {
    line.to_ascii_lowercase().contains(command)
}

/// Whether a host name and a colon end here, and no other colon is before them.
fn ends_in_host(before: &str) -> bool {
    let Some(before) = before.strip_suffix(':') else {
        return false;
    };
    let rest = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "-.*".contains(c));
    let host = before.get(rest.len()..).unwrap_or_default();
    !rest.ends_with(':') && host.bytes().any(|byte| !byte.is_ascii_digit())
}
