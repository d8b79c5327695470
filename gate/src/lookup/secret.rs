//! `gate lookup secret`: who sent this secret, or was sent it?

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal, Read},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use bigquery::{Client, Error, Parameter, Row, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    access::{self, time},
    sink::Sink,
    views::{Views, plain},
};

/// The secret comes by standard input, and where to ask.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads a secret from standard input and never from an argument, where others on this host could see
it. The sink says under which fingerprints records hold it, and writes down who asked: it wants an
auditor's token in the environment variable GATE_AUDITOR_TOKEN. BigQuery is asked for the
fingerprints; it never gets the secret. One line end behind the secret is no part of it.

What the gateway's own detectors do not take for a secret is in no record. A detector of the
deployment's own is asked for by its name (--detector).

Google's credentials are found where Google's own tools find them. Times are dates or RFC 3339, in
UTC, of when the exchange was recorded.

Exit status: 0 exposures were found, 1 none was, 2 wrong usage, 3 sink or BigQuery could not be asked.

Examples: gate lookup secret --sink https://sink.acme.example:9812 --project acme-audit < key.pem
          read -rs SECRET; printf %s \"$SECRET\" | gate lookup secret --sink … --project acme-audit")]
pub(crate) struct Arguments {
    /// The sink's HTTP address; http is for this host only
    #[arg(long, value_name = "URL")]
    sink: Url,
    /// Asks for the secret also as what this detector finds
    #[arg(long, value_name = "NAME")]
    detector: Option<String>,
    #[command(flatten)]
    views: Views,
    /// Most exposures that are shown
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A fingerprint, as the sink told.
#[derive(Deserialize)]
struct Recorded {
    detector: String,
    fingerprint: String,
}

#[derive(Deserialize)]
struct Told {
    fingerprints: Vec<Recorded>,
}

/// Findings that differ in nothing but time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    person: String,
    issuer: String,
    direction: String,
    action: String,
    detector: String,
    endpoint: String,
    model: String,
    repository: String,
}

struct Exposure {
    kind: Kind,
    count: u64,
    first: i64,
    last: i64,
    /// Some of the exchanges, the first ones.
    decisions: Vec<String>,
}

struct Answer {
    recorded: Vec<Recorded>,
    /// The first seen first.
    exposures: Vec<Exposure>,
    /// There are more findings than were read.
    is_cut: bool,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    access::run(
        "gate lookup secret",
        || prepare(arguments),
        async |(client, sink, value)| ask(arguments, &client, &sink, &value).await,
        |answer| {
            let text = access::text(
                arguments.json,
                || document(&answer, arguments.limit),
                || report(&answer, arguments.limit),
            );
            (text, u8::from(answer.exposures.is_empty()))
        },
    )
}

/// The ways to BigQuery and to the sink, and the secret.
fn prepare(arguments: &Arguments) -> anyhow::Result<(Client, Sink, String)> {
    let sink = Sink::new(&arguments.sink, TOKEN, "an auditor's")?;
    let client = arguments.views.client()?;
    let input = io::stdin();
    if input.is_terminal() {
        bail!(
            "a terminal would show the secret; give it by a pipe: \
             read -rs SECRET; printf %s \"$SECRET\" | gate lookup secret …"
        );
    }
    let mut bytes = Vec::new();
    let read = input.lock().take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.context("cannot read standard input")?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|bytes| bytes <= MAX_BYTES);
    ensure!(fits, "the secret is longer than 48 KiB");
    let mut value = String::from_utf8(bytes).map_err(|_| anyhow!("the secret is no UTF-8"))?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    ensure!(!value.is_empty(), "there is no secret on standard input");
    Ok((client, sink, value))
}

async fn ask(
    arguments: &Arguments,
    client: &Client,
    sink: &Sink,
    value: &str,
) -> anyhow::Result<Answer> {
    let recorded = fingerprints(arguments, sink, value).await?;
    let mut answer = Answer {
        recorded,
        exposures: Vec::new(),
        is_cut: false,
    };
    if answer.recorded.is_empty() {
        return Ok(answer);
    }
    let told = answer.recorded.iter();
    let fingerprints: Vec<&str> = told.map(|it| it.fingerprint.as_str()).collect();
    let (from, to) = arguments.views.range(A_YEAR);
    let parameters = [
        Parameter::Int64("from", from),
        Parameter::Int64("to", to),
        Parameter::Strings("fingerprints", &fingerprints),
    ];
    let sql = sql(&arguments.views.between("findings_between"));
    let mut rows = client
        .query("look up a secret", &sql, &parameters, PAGE_ROWS)
        .await
        .context("cannot ask view `findings`")?;
    let mut read = 0;
    let mut exposures = BTreeMap::new();
    while let Some(row) = rows.next().await? {
        if read == MAX_ROWS {
            answer.is_cut = true;
            break;
        }
        read += 1;
        add(&mut exposures, &row).ok_or(Error::Strange("look up a secret"))?;
    }
    answer.exposures = exposures.into_values().collect();
    answer.exposures.sort_by_key(|exposure| exposure.first);
    Ok(answer)
}

/// What the sink says of the secret.
async fn fingerprints(
    arguments: &Arguments,
    sink: &Sink,
    value: &str,
) -> anyhow::Result<Vec<Recorded>> {
    let mut question = json!({ "value": value });
    if let (Some(question), Some(detector)) = (question.as_object_mut(), &arguments.detector) {
        question.insert("detector".into(), json!(detector));
    }
    let told: Told = sink.post("fingerprints", &question).await?;
    Ok(told.fingerprints)
}

fn sql(findings: &str) -> String {
    format!(
        "SELECT person, issuer, direction, action, detector, endpoint, model, repository, \
         decision_id, UNIX_MICROS(COALESCE(event_at, received_at)) AS at_us\nFROM {findings}\n\
         WHERE fingerprint IN UNNEST(@fingerprints)\n\
         ORDER BY at_us, decision_id LIMIT {}",
        MAX_ROWS + 1
    )
}

fn add(exposures: &mut BTreeMap<Kind, Exposure>, row: &Row) -> Option<()> {
    let text = |name: &str| row.text(name).unwrap_or_default().to_owned();
    let kind = Kind {
        person: text("person"),
        issuer: text("issuer"),
        direction: text("direction"),
        action: text("action"),
        detector: text("detector"),
        endpoint: text("endpoint"),
        model: text("model"),
        repository: text("repository"),
    };
    let at = row.int64("at_us")?;
    let exposure = exposures.entry(kind.clone()).or_insert(Exposure {
        kind,
        count: 0,
        first: at,
        last: at,
        decisions: Vec::new(),
    });
    exposure.count += 1;
    exposure.first = exposure.first.min(at);
    exposure.last = exposure.last.max(at);
    let decision = text("decision_id");
    if exposure.decisions.len() < MAX_DECISIONS && !exposure.decisions.contains(&decision) {
        exposure.decisions.push(decision);
    }
    Some(())
}

/// What became of the value there, in words.
fn fate(exposure: &Kind) -> &'static str {
    match exposure.action.as_str() {
        "mask" => "masked",
        "remove" => "taken out with its text",
        "deny" => "refused: nothing went out",
        "ask_approval" => "masked, and people were asked",
        "pass" => "NOT masked: its text is signed",
        "exempt" => "NOT masked: exempt",
        "allow" => "NOT masked: a rule allows it",
        "observe" => "NOT masked: the gateway only observed",
        "restore" => "masked, and put back into what the person got",
        "placeholder" => "its placeholder stood in an answer",
        _ => "of unknown fate",
    }
}

/// Whether the value itself went on.
fn is_open(kind: &Kind) -> bool {
    matches!(
        kind.action.as_str(),
        "pass" | "exempt" | "allow" | "observe"
    )
}

fn report(answer: &Answer, limit: usize) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        let _written = writeln!(text, "{line}").is_ok();
    };
    if answer.recorded.is_empty() {
        line(
            "The gateway's own detectors do not take this for a secret, so no record names it. If a \
             detector of the deployment's own does, ask with --detector."
                .to_owned(),
        );
        return text;
    }
    let exposures = &answer.exposures;
    if exposures.is_empty() {
        let asked = answer.recorded.len();
        line(format!(
            "This secret is in no record of the time ({asked} fingerprints asked for)."
        ));
        return text;
    }
    let totals = Totals::of(exposures);
    line(format!(
        "This secret was found {}{} times with {} persons, from {} to {}; {} times it went on unmasked.",
        if answer.is_cut { "at least " } else { "" },
        totals.count,
        totals.persons,
        time(totals.first),
        time(totals.last),
        totals.open,
    ));
    for (place, exposure) in exposures.iter().take(limit).enumerate() {
        let kind = &exposure.kind;
        line(format!(
            "\n{}. {} ({})  {}  {}  {}",
            place + 1,
            named(&kind.person),
            named(&kind.issuer),
            named(&kind.direction),
            named(&kind.endpoint),
            named(&kind.model),
        ));
        if !kind.repository.is_empty() {
            line(format!("   repository {}", plain(&kind.repository)));
        }
        line(format!(
            "   {} as {}, {} times, from {} to {}",
            fate(kind),
            plain(&kind.detector),
            exposure.count,
            time(exposure.first),
            time(exposure.last),
        ));
        line(format!("   {}", exposure.decisions.join(", ")));
    }
    if exposures.len() > limit {
        line(format!(
            "\n{} more are not shown (--limit).",
            exposures.len() - limit
        ));
    }
    text
}

fn named(text: &str) -> String {
    if text.is_empty() {
        "unknown".to_owned()
    } else {
        plain(text)
    }
}

struct Totals {
    count: u64,
    open: u64,
    persons: usize,
    first: i64,
    last: i64,
}

impl Totals {
    fn of(exposures: &[Exposure]) -> Self {
        let persons: std::collections::BTreeSet<_> = exposures
            .iter()
            .map(|it| (&it.kind.person, &it.kind.issuer))
            .collect();
        let open = exposures.iter().filter(|it| is_open(&it.kind));
        Self {
            count: exposures.iter().map(|it| it.count).sum(),
            open: open.map(|it| it.count).sum(),
            persons: persons.len(),
            first: exposures
                .iter()
                .map(|it| it.first)
                .min()
                .unwrap_or_default(),
            last: exposures.iter().map(|it| it.last).max().unwrap_or_default(),
        }
    }
}

fn document(answer: &Answer, limit: usize) -> Value {
    let exposure = |exposure: &Exposure| {
        let kind = &exposure.kind;
        json!({
            "person": kind.person,
            "issuer": kind.issuer,
            "direction": kind.direction,
            "action": kind.action,
            "unmasked": is_open(kind),
            "detector": kind.detector,
            "endpoint": kind.endpoint,
            "model": kind.model,
            "repository": kind.repository,
            "count": exposure.count,
            "first": time(exposure.first),
            "last": time(exposure.last),
            "decision_ids": exposure.decisions,
        })
    };
    let asked = answer.recorded.iter();
    let asked = asked.map(|it| json!({ "detector": it.detector, "fingerprint": it.fingerprint }));
    let totals = Totals::of(&answer.exposures);
    let shown = answer.exposures.iter().take(limit).map(exposure);
    json!({
        "asked": asked.collect::<Vec<_>>(),
        "found": answer.exposures.len(),
        "findings": totals.count,
        "unmasked": totals.open,
        "persons": totals.persons,
        "complete": !answer.is_cut,
        "exposures": shown.collect::<Vec<_>>(),
    })
}

/// Name of the environment variable with the token for the sink.
const TOKEN: &str = "GATE_AUDITOR_TOKEN";

/// Longest secret: the sink takes 64 KiB with what is around it.
const MAX_BYTES: u64 = 48 << 10;

const A_YEAR: Duration = Duration::from_hours(365 * 24);

const PAGE_ROWS: u32 = 10_000;

/// Findings that are read at most.
const MAX_ROWS: usize = 100_000;

/// Decision ids that are told of what is alike.
const MAX_DECISIONS: usize = 20;
