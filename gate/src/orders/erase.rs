//! `gate erase`: takes a person's recorded content away, by order.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::{anyhow, bail};
use bigquery::Url;
use contract::{Order, OrderKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Place, TOKEN, Whose, span,
    table::{Amount, Scope, Table},
};
use crate::{access, sink::Sink, views::plain};

/// Whose content to erase, and by which order.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Empties the columns of content of a person's records, and deletes the fingerprints of the code in them.
Everything else of a record stays, so that `gate verify` finds nothing missing. What a hold in force
covers (gate hold) stays whole.

Without --yes nothing is changed: the command says how much content there is, and how much is held.
With --yes it writes the order down at the sink first, waits until BigQuery has it, takes the content
away in one statement, and writes down how many rows that were. It wants an officer's token in the
environment variable GATE_OFFICER_TOKEN, and the right to change the tables. If it breaks off, give the
same command again: it does what is left.

Times are of when records arrived. Without --to the order speaks of what arrived up to now. Google's
credentials are found where Google's own tools find them.

Exit status: 0 erased, or there is something to erase; 1 nothing to erase, or all of it is held; 2 wrong
usage; 3 could not.

Example: gate erase --project acme-audit --sink https://sink.acme.example:9812 --person ana \\
           --order DPO-2026-17 --reason 'request of 3 March' --yes")]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    whose: Whose,
    /// The sink's HTTP address; http is for this host only
    #[arg(long, value_name = "URL")]
    sink: Option<Url>,
    /// Id by which people know the order: 1 to 64 letters, digits, dots, _ and -
    #[arg(long, value_name = "ID")]
    order: Option<String>,
    /// Why, in at most 500 characters; it is kept, so no name should be in it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Erase
    #[arg(long, requires_all = ["sink", "order", "reason"], conflicts_with = "dry_run")]
    yes: bool,
    /// Only say how much content there is; so it is without --yes
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What the sink says of an order that it took.
#[derive(Deserialize)]
pub(super) struct Taken {
    /// In microseconds since 1970.
    pub(super) event_at: i64,
}

/// An order, and the sink that is to write it down.
struct Given {
    order: Order,
    sink: Sink,
}

/// What there was to erase, and what was done.
struct Outcome {
    to: i64,
    free: Amount,
    held: Amount,
    fingerprints: Option<u64>,
    /// Ids of the holds of this person.
    holds: Vec<String>,
    /// Rows and fingerprints that were erased.
    done: Option<(u64, u64)>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let now = access::now();
    access::run(
        "gate erase",
        || prepare(arguments, now),
        async |(table, given)| ask(arguments, &table, given, now).await,
        |outcome| {
            let text = if arguments.json {
                format!("{}\n", document(arguments, &outcome))
            } else {
                report(arguments, &outcome)
            };
            let nothing = outcome.done.is_none() && outcome.is_nothing();
            (text, u8::from(nothing))
        },
    )
}

fn prepare(arguments: &Arguments, now: i64) -> anyhow::Result<(Table, Option<Given>)> {
    let Arguments { whose, .. } = arguments;
    let to = whose.to.unwrap_or(now).min(now);
    if whose.from.is_some_and(|from| from >= to) {
        bail!("--from: not before --to and now");
    }
    let text = |given: &Option<String>| given.clone().unwrap_or_else(|| "dry-run".to_owned());
    let (id, reason) = (text(&arguments.order), text(&arguments.reason));
    let order = Order {
        to: Some(to),
        ..whose.order(OrderKind::Erase, &id, &reason)
    };
    order.check().map_err(|fault| anyhow!("--{fault}"))?;
    let sink = arguments.sink.as_ref().filter(|_| arguments.yes);
    let sink = sink.map(|url| Sink::new(url, TOKEN, "an officer's"));
    let given = sink.transpose()?.map(|sink| Given { order, sink });
    Ok((Table::new(&arguments.place)?, given))
}

async fn ask(
    arguments: &Arguments,
    table: &Table,
    given: Option<Given>,
    now: i64,
) -> anyhow::Result<Outcome> {
    let whose = &arguments.whose;
    let mut scope = Scope {
        person: &whose.person,
        issuer: whose.issuer.as_deref(),
        from: whose.from.unwrap_or(0),
        to: whose.to.unwrap_or(now).min(now),
        ordered: now,
    };
    let orders = table.orders().await?;
    let of_person = orders.holds().filter(|hold| {
        let order = &hold.order;
        order.person.as_ref() == Some(&whose.person)
    });
    let mut holds: Vec<String> = of_person.map(|hold| hold.order.order.clone()).collect();
    holds.dedup();
    let (free, held) = table.amounts(&scope).await?;
    let mut outcome = Outcome {
        to: scope.to,
        free,
        held,
        fingerprints: table.fingerprints(&scope).await?,
        holds,
        done: None,
    };
    let Some(Given { order, sink }) = given else {
        return Ok(outcome);
    };
    let unfinished = orders.unfinished(&order.order, scope.person, scope.issuer);
    if outcome.is_nothing() && !unfinished {
        return Ok(outcome);
    }
    let taken: Taken = sink.post("orders", &order).await?;
    scope.ordered = table.arrival(&order, taken.event_at).await?;
    scope.to = scope.to.min(scope.ordered);
    let rows = table.erase(&scope).await?;
    let fingerprints = match outcome.fingerprints {
        Some(_) => table.erase_fingerprints(&scope).await?,
        None => 0,
    };
    let done = Order {
        kind: OrderKind::Erased,
        order: order.order,
        person: None,
        issuer: None,
        from: None,
        to: None,
        reason: None,
        rows: Some(rows),
    };
    let taken: Taken = sink.post("orders", &done).await?;
    table.arrival(&done, taken.event_at).await?; // or the next run would think that this one broke off
    outcome.done = Some((rows, fingerprints));
    Ok(outcome)
}

impl Outcome {
    /// Whether there was nothing that may be erased.
    fn is_nothing(&self) -> bool {
        self.free.rows == 0 && self.fingerprints.unwrap_or(0) == 0
    }
}

fn report(arguments: &Arguments, outcome: &Outcome) -> String {
    let Outcome {
        free, held, holds, ..
    } = outcome;
    let mut text = String::new();
    let mut line = |line: String| {
        let _written = writeln!(text, "{line}").is_ok();
    };
    let whose = &arguments.whose;
    let issuer = whose.issuer.as_deref().unwrap_or("any issuer");
    line(format!(
        "{} ({}), {}",
        plain(&whose.person),
        plain(issuer),
        span(whose.from, Some(outcome.to))
    ));
    if held.rows > 0 {
        line(format!(
            "held: {} rows with {} bytes of content ({})",
            held.rows,
            held.bytes,
            holds.join(", ")
        ));
    }
    match outcome.done {
        Some((rows, fingerprints)) => line(format!(
            "erased: the content of {rows} rows, and {fingerprints} fingerprints of code"
        )),
        None if outcome.is_nothing() => line("nothing to erase".to_owned()),
        None => line(format!(
            "to erase: {} rows with {} bytes of content, and {} fingerprints of code; nothing was \
             changed (--yes)",
            free.rows,
            free.bytes,
            outcome.fingerprints.unwrap_or(0)
        )),
    }
    text
}

fn document(arguments: &Arguments, outcome: &Outcome) -> Value {
    let whose = &arguments.whose;
    let amount = |amount: Amount| json!({ "rows": amount.rows, "bytes": amount.bytes });
    let erased = outcome
        .done
        .map(|(rows, fingerprints)| json!({ "rows": rows, "fingerprints": fingerprints }));
    json!({
        "order": arguments.order,
        "person": whose.person,
        "issuer": whose.issuer,
        "from": whose.from.map(access::exact_time),
        "to": access::exact_time(outcome.to),
        "to_erase": amount(outcome.free),
        "fingerprints": outcome.fingerprints,
        "held": amount(outcome.held),
        "holds": outcome.holds,
        "erased": erased,
    })
}
