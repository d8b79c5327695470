//! Child processes that end with us.
//!
//! Each child's output goes to a file, which is shown when something fails. A child is ended by
//! SIGTERM to its own id and, if it does not listen, SIGKILL; should this process die without
//! coming to that, the kernel sends the SIGTERM (`setpriv --pdeathsig`).

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `log`, an inherited certificate or proxy setting is
    /// taken away.
    pub fn start(name: &str, command: Command, log: &Path) -> Result<Self> {
        Self::launch(name, command, log, false)
    }

    /// As [`Process::start`], with the child's stdin and stdout as pipes.
    pub fn start_piped(
        name: &str,
        command: Command,
        log: &Path,
    ) -> Result<(Self, ChildStdin, ChildStdout)> {
        let mut process = Self::launch(name, command, log, true)?;
        let pipes = (process.child.stdin.take(), process.child.stdout.take());
        let (Some(stdin), Some(stdout)) = pipes else {
            bail!("{name} has no pipes");
        };
        Ok((process, stdin, stdout))
    }

    fn launch(name: &str, command: Command, log: &Path, piped: bool) -> Result<Self> {
        let mut command = mortal(command);
        let out = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        if piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(out.try_clone()?);
        }
        // a Ctrl-C at the terminal is for us, who end the children in their order
        command.stderr(out).process_group(0);
        for name in INHERITED {
            if command.get_envs().all(|(set, _)| set != name) {
                command.env_remove(name);
            }
        }
        let child = spawn(command).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Fails with the end of the log if the child has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended ({status}):\n{}", self.name, tail(&self.log()));
        }
        Ok(())
    }

    /// How the child ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the child's own end, at most `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not end within {patience:?}:\n{}",
                    self.name,
                    tail(&self.log())
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the child: SIGTERM, some patience, SIGKILL. Does nothing if it has ended.
    pub fn stop(&mut self) {
        if self.signal(Signal::TERM) && self.wait(PATIENCE).is_err() {
            self.kill();
        }
    }

    /// Ends the child as a power cut would: SIGKILL.
    pub fn kill(&mut self) {
        if self.signal(Signal::KILL) {
            // it cannot refuse; the wait only takes its remains away
            drop(self.child.wait());
        }
    }

    /// Makes the child hang: its connections stay, nothing is answered, until [`Process::thaw`] or
    /// [`Process::kill`].
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets a child that hangs go on.
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Everything that the child has written to its output so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The file that the child's output goes to.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the child was there to be signalled.
    fn signal(&mut self, signal: Signal) -> bool {
        matches!(self.child.try_wait(), Ok(None)) && kill_process(pid(&self.child), signal).is_ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The last lines of a log, for an error message.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Wraps `command` so that the kernel ends it with its parent, where util-linux can do that.
fn mortal(command: Command) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let there = *SETPRIV.get_or_init(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    if !there {
        return command;
    }
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig", "TERM", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

/// Starts the child from a thread that lives as long as this process: the kernel's signal comes
/// when the *thread* that started a child ends.
fn spawn(command: Command) -> Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static NURSERY: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                if let Err(mpsc::SendError(Ok(mut orphan))) = answer.send(command.spawn()) {
                    drop(orphan.kill());
                }
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    nursery.send((command, answer))?;
    Ok(child.recv()??)
}

/// Settings of this machine that must not reach the programs under test.
pub const INHERITED: [&str; 15] = [
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
