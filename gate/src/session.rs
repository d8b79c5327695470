//! `gate session`: a conversation as a timeline.

mod words;

use std::{collections::HashSet, fmt::Write as _, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use bigquery::{Client, Parameter, Row};
use serde_json::{Map, Value, json};

use crate::{
    access::{self, time},
    views::{Views, plain},
};

/// Which conversation, and where to ask.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows the exchanges of a conversation in their order: what was asked of which model, what was decided,
found, called and approved, and how long it took. An id is what the client said (session_id,
interaction_id, agent_task_id in view exchanges) or a decision id. By a decision id all of its
session is shown, of the same person; else of its task, else of its turn.

With --content the words of each request that were new in it, and those of the answer; who may not
read these columns is refused. Of a time that is not given the last 31 days are read.

Google's credentials are found where Google's own tools find them.

Exit status: 0 the conversation was found, 1 it was not, 2 wrong usage, 3 BigQuery could not be asked.

Example: gate session gd_06h0c40o9sio73fi7j7gir2ei8 --project acme-audit")]
pub(crate) struct Arguments {
    /// A session, interaction, task or decision
    id: String,
    #[command(flatten)]
    views: Views,
    /// Most exchanges that are shown, the first ones; up to 10000
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Shows the words as well
    #[arg(long)]
    content: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One exchange.
struct Exchange {
    row: Row,
    at: i64,
    /// Which turn of its person it is, from 1.
    turn: usize,
}

struct Answer {
    exchanges: Vec<Exchange>,
    /// There are more.
    is_cut: bool,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    access::run(
        "gate session",
        || prepare(arguments),
        async |client| ask(arguments, &client).await,
        |answer| {
            let text = access::text(
                arguments.json,
                || document(&answer, arguments),
                || report(&answer, arguments),
            );
            (text, u8::from(answer.exchanges.is_empty()))
        },
    )
}

fn prepare(arguments: &Arguments) -> anyhow::Result<Client> {
    let fits = (1..=256).contains(&arguments.id.len());
    ensure!(fits, "an id has 1 to 256 characters");
    arguments.views.client()
}

async fn ask(arguments: &Arguments, client: &Client) -> anyhow::Result<Answer> {
    let view = arguments.views.between("exchanges_between");
    let (from, to) = arguments.views.range(A_MONTH);
    let range = [Parameter::Int64("from", from), Parameter::Int64("to", to)];
    let mut asked = vec![("id", arguments.id.clone())];
    let mut condition = "(session_id = @id OR interaction_id = @id OR agent_task_id = @id \
                         OR decision_id = @id)"
        .to_owned();
    if arguments.id.starts_with("gd_") {
        let sql = format!(
            "SELECT person, issuer, session_id, agent_task_id, interaction_id\nFROM {view}\n\
             WHERE decision_id = @id LIMIT 1"
        );
        let mut parameters = range.to_vec();
        parameters.push(Parameter::String("id", &arguments.id));
        let mut rows = client
            .query("find the decision", &sql, &parameters, 1)
            .await
            .context("cannot ask for exchanges")?;
        if let Some(row) = rows.next().await? {
            let one_of = ["session_id", "agent_task_id", "interaction_id"];
            let there = one_of.into_iter().find_map(|name| {
                let id = row.text(name).filter(|id| !id.is_empty())?;
                Some((name, id.to_owned()))
            });
            if let (Some((name, id)), Some(person)) = (there, row.text("person")) {
                condition =
                    format!("{name} = @id AND person = @person AND COALESCE(issuer, '') = @issuer");
                let issuer = row.text("issuer").unwrap_or_default().to_owned();
                asked = vec![
                    ("id", id),
                    ("person", person.to_owned()),
                    ("issuer", issuer),
                ];
            }
        }
    }
    let content = if arguments.content {
        ", request_content, response_content"
    } else {
        ""
    };
    let sql = format!(
        "SELECT {}{content}, UNIX_MICROS(COALESCE(started_at, event_at, received_at)) AS at_us\n\
         FROM {view}\nWHERE {condition}\nORDER BY at_us, decision_id LIMIT {}",
        COLUMNS.join(", "),
        u32::from(arguments.limit) + 1,
    );
    let mut parameters = range.to_vec();
    let asked = asked.iter();
    parameters.extend(asked.map(|(name, value)| Parameter::String(name, value)));
    let page = if arguments.content { 50 } else { 1000 };
    let mut rows = client
        .query("read the conversation", &sql, &parameters, page)
        .await
        .context("cannot ask for exchanges")?;
    let mut answer = Answer {
        exchanges: Vec::new(),
        is_cut: false,
    };
    let mut turns = Turns::default();
    while let Some(row) = rows.next().await? {
        if answer.exchanges.len() == usize::from(arguments.limit) {
            answer.is_cut = true;
            break;
        }
        let turn = turns.of(&row);
        let at = row.int64("at_us").unwrap_or_default();
        answer.exchanges.push(Exchange { row, at, turn });
    }
    Ok(answer)
}

/// Numbers turns: exchanges of one interaction are one, and one without is a turn by itself.
#[derive(Default)]
struct Turns {
    seen: Vec<String>,
    count: usize,
}

impl Turns {
    fn of(&mut self, row: &Row) -> usize {
        let id = row.text("interaction_id").unwrap_or_default();
        let known = self
            .seen
            .iter()
            .position(|seen| !id.is_empty() && seen == id);
        known.map_or_else(
            || {
                self.seen.push(id.to_owned());
                self.count += 1;
                self.count
            },
            |place| place + 1,
        )
    }
}

fn report(answer: &Answer, arguments: &Arguments) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        let _written = writeln!(text, "{}", line.trim_end()).is_ok();
    };
    let id = plain(&arguments.id);
    let (Some(first), Some(last)) = (answer.exchanges.first(), answer.exchanges.last()) else {
        line(format!("No exchange of the time has the id {id}."));
        return text;
    };
    let persons: HashSet<_> = answer
        .exchanges
        .iter()
        .map(|it| (it.row.text("person"), it.row.text("issuer")))
        .collect();
    line(format!(
        "{id}: {}{} exchanges of {} persons, from {} to {}.",
        if answer.is_cut { "the first " } else { "" },
        answer.exchanges.len(),
        persons.len(),
        time(first.at),
        time(last.at),
    ));
    let mut turn = 0;
    for exchange in &answer.exchanges {
        if exchange.turn != turn {
            turn = exchange.turn;
            line(format!("\nTurn {turn}"));
        }
        for part in described(exchange, arguments.content) {
            line(part);
        }
    }
    if answer.is_cut {
        line("\nThere are more (--limit).".to_owned());
    }
    text
}

/// The lines of an exchange.
fn described(exchange: &Exchange, content: bool) -> Vec<String> {
    let row = &exchange.row;
    let text = |name: &str| plain(row.text(name).unwrap_or_default());
    let number = |name: &str| row.int64(name);
    let or = |name: &str, other: &str| {
        let found = text(name);
        if found.is_empty() {
            other.to_owned()
        } else {
            found
        }
    };
    let mut lines = vec![format!(
        "  {}  {}  {}  {} {}",
        time(exchange.at),
        or("decision_id", "without decision id"),
        or("person", "nobody known"),
        or("endpoint", "unknown"),
        text("model"),
    )];
    let mut decided = format!("    {}", or("decision", "undecided"));
    for (word, name) in [("by", "rule"), ("because", "reason")] {
        if !text(name).is_empty() {
            let _written = write!(decided, " {word} {}", text(name)).is_ok();
        }
    }
    let _written = write!(decided, "; {}", or("ended", "under way")).is_ok();
    if let Some(took) = number("duration_ms") {
        let _written = write!(decided, " after {took} ms").is_ok();
    }
    if let (Some(asked), Some(answered)) = (number("input_tokens"), number("output_tokens")) {
        let _written = write!(decided, "; {asked} tokens asked, {answered} answered").is_ok();
    }
    lines.push(decided);
    for finding in list(row.text("findings")).iter().take(MAX_LINES) {
        let of = |name: &str| plain(finding[name].as_str().unwrap_or("unknown"));
        lines.push(format!(
            "    found {} in the {}: {}",
            of("detector"),
            of("direction"),
            of("action")
        ));
    }
    let tools = list(row.text("tool_calls"));
    if !tools.is_empty() {
        let names = tools
            .iter()
            .filter_map(Value::as_str)
            .take(MAX_LINES)
            .map(plain);
        lines.push(format!(
            "    calls {}",
            names.collect::<Vec<_>>().join(", ")
        ));
    }
    if !text("approval_state").is_empty() {
        let held = number("held_ms").unwrap_or_default();
        lines.push(format!(
            "    approval {} {}, waited for {held} ms",
            text("approval_id"),
            text("approval_state"),
        ));
    }
    if content {
        let asked = words::asked(row.text("request_content").unwrap_or_default());
        let answered = words::answered(row.text("response_content").unwrap_or_default());
        let all = asked.into_iter().chain(answered);
        lines.extend(all.flat_map(|said| {
            let head = format!("    {}:", plain(&said.who));
            let body = said
                .text
                .lines()
                .map(|line| format!("      {}", plain(line)));
            std::iter::once(head).chain(body).collect::<Vec<_>>()
        }));
    }
    lines
}

fn list(json: Option<&str>) -> Vec<Value> {
    serde_json::from_str(json.unwrap_or_default()).unwrap_or_default()
}

fn document(answer: &Answer, arguments: &Arguments) -> Value {
    let exchange = |exchange: &Exchange| {
        let mut fields = Map::new();
        fields.insert("at".into(), json!(time(exchange.at)));
        fields.insert("turn".into(), json!(exchange.turn));
        for name in COLUMNS {
            let text = exchange.row.text(name);
            let value = match name {
                "findings" | "tool_calls" => json!(list(text)),
                _ if NUMBERS.contains(&name) => json!(exchange.row.int64(name)),
                _ => json!(text),
            };
            fields.insert(name.into(), value);
        }
        if arguments.content {
            let of = |name: &str| exchange.row.text(name).unwrap_or_default();
            let said = |said: Vec<words::Said>| -> Value {
                let entry = |it: words::Said| json!({ "who": it.who, "text": it.text });
                said.into_iter().map(entry).collect()
            };
            fields.insert("asked".into(), said(words::asked(of("request_content"))));
            fields.insert(
                "answered".into(),
                said(words::answered(of("response_content"))),
            );
        }
        Value::Object(fields)
    };
    json!({
        "id": arguments.id,
        "complete": !answer.is_cut,
        "exchanges": answer.exchanges.iter().map(exchange).collect::<Vec<_>>(),
    })
}

/// Columns of view `exchanges` that are told.
const COLUMNS: [&str; 27] = [
    "decision_id",
    "session_id",
    "interaction_id",
    "agent_task_id",
    "person",
    "issuer",
    "initiator",
    "client",
    "repository",
    "endpoint",
    "model",
    "response_model",
    "decision",
    "reason",
    "rule",
    "findings",
    "tool_calls",
    "approval_id",
    "approval_state",
    "held_ms",
    "status",
    "ended",
    "finish_reason",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
];

/// Those that are numbers.
const NUMBERS: [&str; 6] = [
    "held_ms",
    "status",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
];

const A_MONTH: Duration = Duration::from_hours(31 * 24);

/// Findings and tools of an exchange that are shown to people.
const MAX_LINES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_of_an_interaction_are_one_turn() {
        let mut turns = Turns::default();
        let mut of = |id: Option<&str>| {
            let cell = ("interaction_id".to_owned(), id.map(str::to_owned));
            turns.of(&std::iter::once(cell).collect())
        };
        assert_eq!((of(Some("a")), of(Some("a"))), (1, 1));
        assert_eq!((of(None), of(None)), (2, 3));
        assert_eq!((of(Some("b")), of(Some("a"))), (4, 1));
    }
}
