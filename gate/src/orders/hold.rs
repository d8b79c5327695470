//! `gate hold`: keeps recorded content from being erased.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::anyhow;
use bigquery::Url;
use clap::Subcommand;
use contract::{Order, OrderKind};
use serde_json::{Value, json};

use super::{Orders, Place, Recorded, TOKEN, Whose, erase::Taken, span, table::Table};
use crate::{access, sink::Sink, views::plain};

/// What to do with holds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A hold keeps a person's recorded content from `gate erase` until it is released. It does not keep the
table's retention from deleting rows: see docs/erasure.md. Several holds can have one id: they are released
together.

To place and to release wants an officer's token in the environment variable GATE_OFFICER_TOKEN. Both
end when BigQuery has the order: from then on no erasure passes it by.

Exit status: 0 done, or there are holds; 1 there are none; 2 wrong usage; 3 could not.

Examples: gate hold place --project acme-audit --sink https://sink.acme.example:9812 --person ana \\
            --order CASE-7 --reason 'court order'
          gate hold list --project acme-audit")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows the holds in force
    List(List),
    /// Places a hold
    Place(Placing),
    /// Releases all holds of an id
    Release(Releasing),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    place: Place,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Whose content stays.
#[derive(Debug, clap::Args)]
struct Placing {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    said: Said,
}

#[derive(Debug, clap::Args)]
struct Releasing {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    said: Said,
}

#[derive(Debug, clap::Args)]
struct Said {
    /// The sink's HTTP address; http is for this host only
    #[arg(long, value_name = "URL")]
    sink: Url,
    /// Id by which people know the hold: 1 to 64 letters, digits, dots, _ and -
    #[arg(long, value_name = "ID")]
    order: String,
    /// Why, in at most 500 characters; it is kept, so no name should be in it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.what {
        What::List(arguments) => list(arguments),
        What::Place(arguments) => {
            let Said { order, reason, .. } = &arguments.said;
            let order = arguments.whose.order(OrderKind::Hold, order, reason);
            give("gate hold place", &arguments.place, &arguments.said, &order)
        }
        What::Release(arguments) => {
            let order = Order {
                kind: OrderKind::Release,
                order: arguments.said.order.clone(),
                person: None,
                issuer: None,
                from: None,
                to: None,
                reason: Some(arguments.said.reason.clone()),
                rows: None,
            };
            let command = "gate hold release";
            give(command, &arguments.place, &arguments.said, &order)
        }
    }
}

/// Has an order written down, and waits until BigQuery has it. What is not held cannot be released.
fn give(command: &str, place: &Place, said: &Said, order: &Order) -> ExitCode {
    access::run(
        command,
        || {
            order.check().map_err(|fault| anyhow!("--{fault}"))?;
            let sink = Sink::new(&said.sink, TOKEN, "an officer's")?;
            Ok((Table::new(place)?, sink))
        },
        async |(table, sink)| {
            if order.kind == OrderKind::Release {
                let orders = table.orders().await?;
                if !orders.holds().any(|hold| hold.order.order == order.order) {
                    return Ok(None);
                }
            }
            let taken: Taken = sink.post("orders", order).await?;
            Ok(Some(table.arrival(order, taken.event_at).await?))
        },
        |at| match at {
            Some(at) => {
                let (id, at) = (&order.order, access::exact_time(at));
                let done = match order.kind {
                    OrderKind::Release => "released",
                    _ => "in force",
                };
                (format!("{id}: {done} since {at}\n"), 0)
            }
            None => ("no hold of this id is in force\n".to_owned(), 1),
        },
    )
}

fn list(arguments: &List) -> ExitCode {
    access::run(
        "gate hold list",
        || Table::new(&arguments.place),
        async |table| table.orders().await,
        |orders| {
            let text = if arguments.json {
                let holds: Vec<Value> = orders.holds().map(document).collect();
                format!("{}\n", json!({ "holds": holds }))
            } else {
                report(&orders)
            };
            (text, u8::from(orders.holds().next().is_none()))
        },
    )
}

fn report(orders: &Orders) -> String {
    let mut text = String::new();
    for hold in orders.holds() {
        let order = &hold.order;
        let shown = |text: &Option<String>, none: &str| plain(text.as_deref().unwrap_or(none));
        let _written = writeln!(
            text,
            "{}  {} ({}), {}\n  placed at {} by {}: {}",
            order.order,
            shown(&order.person, "nobody"),
            shown(&order.issuer, "any issuer"),
            span(order.from, order.to),
            access::exact_time(hold.received_at),
            plain(&hold.officer),
            shown(&order.reason, ""),
        )
        .is_ok();
    }
    if text.is_empty() {
        text.push_str("no hold is in force\n");
    }
    text
}

fn document(hold: &Recorded) -> Value {
    let order = &hold.order;
    json!({
        "order": order.order,
        "person": order.person,
        "issuer": order.issuer,
        "from": order.from.map(access::exact_time),
        "to": order.to.map(access::exact_time),
        "reason": order.reason,
        "officer": hold.officer,
        "placed_at": access::exact_time(hold.received_at),
    })
}
