//! A private network where the gateway is GitHub: loopback only, port 443 is free, every name of
//! the gateway and of the real Copilot leads to 127.0.0.1, and nothing leads out.
//!
//! It takes `unshare`, `mount` (util-linux) and `ip` (iproute2), and either root with the right to
//! make namespaces or unprivileged user namespaces.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::certs::host_names;

/// Names that a Copilot client asks for, whatever it was told.
const REAL_NAMES: [&str; 19] = [
    "api.business.githubcopilot.com",
    "api.enterprise.githubcopilot.com",
    "api.github.com",
    "api.githubcopilot.com",
    "api.individual.githubcopilot.com",
    "collector.github.com",
    "copilot-proxy.githubusercontent.com",
    "copilot-telemetry.githubusercontent.com",
    "dc.services.visualstudio.com",
    "default.exp-tas.com",
    "github.com",
    "origin-tracker.githubusercontent.com",
    "proxy.business.githubcopilot.com",
    "proxy.enterprise.githubcopilot.com",
    "proxy.individual.githubcopilot.com",
    "telemetry.business.githubcopilot.com",
    "telemetry.enterprise.githubcopilot.com",
    "telemetry.individual.githubcopilot.com",
    "uploads.github.com",
];

/// Set inside, to the name of the case that runs there.
const INSIDE: &str = "GATE_E2E_INSIDE";

/// A command that runs `program` inside a new namespace for a gateway `domain`. The hosts file is
/// written to `folder`, which must outlive the command.
pub fn command(domain: &str, folder: &Path, program: impl AsRef<OsStr>) -> Result<Command> {
    let way = way()?;
    let hosts = folder.join("hosts");
    let mut names = vec!["localhost".to_owned()];
    names.extend(host_names(domain));
    names.extend(REAL_NAMES.map(str::to_owned));
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("127.0.0.1 {name}\n"))
        .collect();
    fs::write(&hosts, lines.concat())
        .with_context(|| format!("cannot write {}", hosts.display()))?;
    let mut command = Command::new("unshare");
    command
        .arg(way)
        .args(["sh", "-c", SETUP, "sh"])
        .arg(hosts)
        .arg(program);
    Ok(command)
}

/// Runs the test `name` of this test binary inside a namespace: it starts itself again there and
/// runs `case`.
///
/// # Panics
///
/// When the case fails, or when this machine can make no namespace.
pub fn run_case(name: &str, case: impl FnOnce()) {
    if env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return case();
    }
    let folder = tempfile::tempdir().unwrap();
    let output = command("gw.test", folder.path(), env::current_exe().unwrap())
        .unwrap()
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(INSIDE, name)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "inside the namespace {name} {}:\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What happens inside before the program.
const SETUP: &str = r#"set -e
ip link set lo up
mount --bind "$1" /etc/hosts
shift
exec "$@""#;

/// The arguments of `unshare` that work here.
fn way() -> Result<&'static str> {
    let works = |way: &str| {
        let probe = "ip link set lo up && mount --bind /etc/hosts /etc/hosts";
        Command::new("unshare")
            .args([way, "sh", "-c", probe])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    for tool in ["unshare", "ip"] {
        let there = Command::new(tool).arg("-V").stdout(Stdio::null()).status();
        ensure!(
            there.is_ok(),
            "there is no `{tool}` (packages util-linux and iproute2)"
        );
    }
    match ["-nm", "-rnm"].into_iter().find(|way| works(way)) {
        Some(way) => Ok(way),
        None => bail!(
            "this machine lets us make no network namespace: be root (a container needs \
             CAP_SYS_ADMIN) or allow unprivileged user namespaces"
        ),
    }
}
