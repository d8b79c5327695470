//! What is asked of BigQuery for orders, and what they make it do.

use std::time::Duration;

use anyhow::{Context, bail};
use bigquery::{Client, Error, Method, Parameter, Row};
use contract::{Order, OrderKind};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Orders, Place, Recorded};

/// Tables `records` and `lineage`.
pub(super) struct Table {
    client: Client,
    dataset: String,
    /// In SQL.
    records: String,
    lineage: String,
}

/// Whose content of which time is concerned; times in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) person: &'a str,
    pub(super) issuer: Option<&'a str>,
    /// First moment.
    pub(super) from: i64,
    /// One past the last.
    pub(super) to: i64,
    /// When it was ordered: a release counts if it came before. Holds always count.
    pub(super) ordered: i64,
}

/// How much content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Table {
    /// Checks where it is; to be called once.
    pub(super) fn new(place: &Place) -> anyhow::Result<Self> {
        let (access, dataset) = (&place.access, &place.dataset);
        Ok(Self {
            client: access.client("--dataset", dataset)?,
            dataset: dataset.clone(),
            records: access.sql(dataset, "records"),
            lineage: access.sql(dataset, "lineage"),
        })
    }

    /// All orders that there are, the first one first.
    pub(super) async fn orders(&self) -> anyhow::Result<Orders> {
        let sql = format!(
            "SELECT person, sink_id, sink_seq, UNIX_MICROS(received_at) AS received_us, \
             TO_JSON_STRING(directive) AS directive FROM {} \
             WHERE received_at >= TIMESTAMP_MICROS(0) AND kind = 'order' AND decision != 'deny' \
             ORDER BY received_us, sink_id, sink_seq",
            self.records
        );
        let what = "read the orders";
        let mut rows = self.client.query(what, &sql, &[], PAGE_ROWS).await?;
        let mut orders = Vec::new();
        while let Some(row) = rows.next().await? {
            orders.push(recorded(&row).ok_or(Error::Strange(what))?);
        }
        Ok(orders.into_iter().collect())
    }

    /// Waits until BigQuery has an order that a sink took at `event_at`; gives when it arrived. What
    /// that sink took before is there then, too.
    pub(super) async fn arrival(&self, order: &Order, event_at: i64) -> anyhow::Result<i64> {
        let sql = format!(
            "SELECT UNIX_MICROS(MIN(received_at)) AS received_us FROM {} \
             WHERE received_at >= TIMESTAMP_MICROS(@since) AND kind = 'order' \
             AND decision = @decision AND event_at = TIMESTAMP_MICROS(@event) \
             AND JSON_VALUE(directive, '$.order') = @id",
            self.records
        );
        let parameters = [
            Parameter::Int64("since", event_at.saturating_sub(A_MINUTE)),
            Parameter::Int64("event", event_at),
            Parameter::String("decision", order.kind.name()),
            Parameter::String("id", &order.order),
        ];
        let end = Instant::now() + PATIENCE;
        loop {
            let what = "wait for the order";
            let mut rows = self.client.query(what, &sql, &parameters, 1).await?;
            let row = rows.next().await?;
            if let Some(at) = row.and_then(|row| row.int64("received_us")) {
                return Ok(at);
            }
            if Instant::now() > end {
                bail!(
                    "the sink has the order, and BigQuery has not got it yet: see whether the sink loads"
                );
            }
            sleep(PAUSE).await;
        }
    }

    /// How much content there is, of what is held and what is not.
    pub(super) async fn amounts(&self, scope: &Scope<'_>) -> anyhow::Result<(Amount, Amount)> {
        let sql = |more: &str| {
            format!(
                "SELECT COUNT(*) AS number, COALESCE(SUM({}), 0) AS size FROM {} AS r WHERE {}{more}",
                content("COALESCE(BYTE_LENGTH(r.", "), 0)", " + "),
                self.records,
                concerned(scope, &content("r.", " IS NOT NULL", " OR ")),
            )
        };
        let amount = async |sql: &str| {
            let what = "count the content";
            let parameters = parameters(scope);
            let mut rows = self.client.query(what, sql, &parameters, 1).await?;
            let row = rows.next().await?.ok_or(Error::Strange(what))?;
            let of = |name: &str| {
                row.int64(name)
                    .and_then(|number| u64::try_from(number).ok())
            };
            let (rows, bytes) = of("number").zip(of("size")).ok_or(Error::Strange(what))?;
            Ok::<_, Error>(Amount { rows, bytes })
        };
        let all = amount(&sql("")).await?;
        let free = amount(&sql(&format!(" AND {}", self.not_held()))).await?;
        let held = Amount {
            rows: all.rows.saturating_sub(free.rows),
            bytes: all.bytes.saturating_sub(free.bytes),
        };
        Ok((free, held))
    }

    /// How many fingerprints of code there are that are not held; `None` without table `lineage`.
    pub(super) async fn fingerprints(&self, scope: &Scope<'_>) -> anyhow::Result<Option<u64>> {
        let what = "look for table lineage";
        let path = ["datasets", &self.dataset, "tables", "lineage"];
        let found = self
            .client
            .call(what, Method::GET, &path, &[], None)
            .await?;
        if found.is_none() {
            return Ok(None);
        }
        let sql = format!(
            "SELECT COUNT(*) AS number FROM {} AS r WHERE {} AND {}",
            self.lineage,
            concerned(scope, "TRUE"),
            self.not_held()
        );
        let what = "count the fingerprints";
        let parameters = parameters(scope);
        let mut rows = self.client.query(what, &sql, &parameters, 1).await?;
        let row = rows.next().await?.ok_or(Error::Strange(what))?;
        let number = row
            .int64("number")
            .and_then(|number| u64::try_from(number).ok());
        Ok(Some(number.ok_or(Error::Strange(what))?))
    }

    /// Takes away all content that is not held; says of how many rows.
    pub(super) async fn erase(&self, scope: &Scope<'_>) -> anyhow::Result<u64> {
        let sql = format!(
            "UPDATE {} AS r SET {} WHERE {} AND {}",
            self.records,
            content("", " = NULL", ", "),
            concerned(scope, &content("r.", " IS NOT NULL", " OR ")),
            self.not_held()
        );
        self.change("erase the content", &sql, scope).await
    }

    /// Takes away the fingerprints of code in that content; says how many.
    pub(super) async fn erase_fingerprints(&self, scope: &Scope<'_>) -> anyhow::Result<u64> {
        let sql = format!(
            "DELETE FROM {} AS r WHERE {} AND {}",
            self.lineage,
            concerned(scope, "TRUE"),
            self.not_held()
        );
        self.change("erase the fingerprints", &sql, scope).await
    }

    async fn change(
        &self,
        what: &'static str,
        sql: &str,
        scope: &Scope<'_>,
    ) -> anyhow::Result<u64> {
        let answer = self.client.run(what, sql, &parameters(scope)).await;
        let answer = answer.context("not finished: give the same command again")?;
        let changed = answer.get("numDmlAffectedRows").and_then(Value::as_str);
        let changed = changed.and_then(|number| number.parse().ok());
        Ok(changed.ok_or(Error::Strange(what))?)
    }

    /// That no hold in force speaks of row `r`, as [`Orders`] has it.
    fn not_held(&self) -> String {
        let of = |name: &str| format!("JSON_VALUE(placed.directive, '$.{name}')");
        let time = |name: &str| format!("SAFE_CAST({} AS INT64)", of(name));
        format!(
            "NOT EXISTS (SELECT 1 FROM (SELECT {person} AS person, {issuer} AS issuer, \
             {from} AS from_us, {to} AS to_us FROM {records} AS placed \
             LEFT JOIN (SELECT JSON_VALUE(directive, '$.order') AS id, MAX(received_at) AS released_at \
             FROM {records} WHERE received_at >= TIMESTAMP_MICROS(0) \
             AND received_at <= TIMESTAMP_MICROS(@ordered) \
             AND kind = 'order' AND decision = '{release}' GROUP BY id) AS released \
             ON released.id = {id} \
             WHERE placed.received_at >= TIMESTAMP_MICROS(0) AND placed.kind = 'order' \
             AND placed.decision = '{hold}' AND (released.released_at IS NULL \
             OR released.released_at < placed.received_at)) AS held \
             WHERE held.person = r.person \
             AND (held.issuer IS NULL OR held.issuer = r.issuer) \
             AND (held.from_us IS NULL OR held.from_us <= UNIX_MICROS(r.received_at)) \
             AND (held.to_us IS NULL OR UNIX_MICROS(r.received_at) < held.to_us))",
            person = of("person"),
            issuer = of("issuer"),
            from = time("from"),
            to = time("to"),
            id = of("order"),
            records = self.records,
            release = OrderKind::Release.name(),
            hold = OrderKind::Hold.name(),
        )
    }
}

/// Rows `r` that the scope speaks of, and of which `more` holds.
fn concerned(scope: &Scope<'_>, more: &str) -> String {
    let issuer = scope.issuer.map_or("", |_| " AND r.issuer = @issuer");
    format!(
        "r.received_at >= TIMESTAMP_MICROS(@from) AND r.received_at < TIMESTAMP_MICROS(@to) \
         AND r.person = @person{issuer} AND ({more})"
    )
}

fn parameters<'a>(scope: &Scope<'a>) -> Vec<Parameter<'a>> {
    let mut parameters = vec![
        Parameter::Int64("from", scope.from),
        Parameter::Int64("to", scope.to),
        Parameter::Int64("ordered", scope.ordered),
        Parameter::String("person", scope.person),
    ];
    parameters.extend(
        scope
            .issuer
            .map(|issuer| Parameter::String("issuer", issuer)),
    );
    parameters
}

/// The columns of content, each between two texts.
fn content(before: &str, behind: &str, between: &str) -> String {
    let columns = contract::columns().into_iter();
    let columns = columns.filter(|column| column.content);
    let columns: Vec<String> = columns
        .map(|column| format!("{before}{}{behind}", column.name))
        .collect();
    columns.join(between)
}

fn recorded(row: &Row) -> Option<Recorded> {
    Some(Recorded {
        order: serde_json::from_str(row.text("directive")?).ok()?,
        officer: row.text("person").unwrap_or_default().to_owned(),
        received_at: row.int64("received_us")?,
        sink_id: row.text("sink_id")?.to_owned(),
        sink_seq: u64::try_from(row.int64("sink_seq")?).ok()?,
    })
}

/// How long a sink may take to load an order.
const PATIENCE: Duration = Duration::from_mins(2);

const PAUSE: Duration = Duration::from_millis(500);

/// In microseconds: how much earlier than it was ordered an order may have arrived, by a clock that
/// was set.
const A_MINUTE: i64 = 60_000_000;

const PAGE_ROWS: u32 = 10_000;
