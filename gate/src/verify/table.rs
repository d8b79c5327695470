//! What is asked of BigQuery.

use bigquery::{Client, Error, Parameter, Rows};
use contract::Column;

use super::{
    audit::{LeadIn, Place},
    epoch::Open,
    record::select,
};

/// The table of records.
pub(crate) struct Table {
    client: Client,
    /// In SQL.
    name: String,
    columns: String,
}

/// How many rows a sink has in an hour.
pub(crate) struct Hour {
    pub(crate) sink_id: String,
    pub(crate) start: i64,
    pub(crate) rows: u64,
}

impl Table {
    /// `name` is the table in SQL.
    pub(crate) fn new(client: Client, name: String, columns: &[Column]) -> Self {
        let columns: Vec<String> = columns.iter().map(select).collect();
        Self {
            client,
            name,
            columns: columns.join(", "),
        }
    }

    /// How many rows there are, hour by hour.
    pub(crate) async fn hours(&self, from: i64, to: i64) -> Result<Vec<Hour>, Error> {
        let sql = format!(
            "SELECT sink_id, UNIX_MICROS(TIMESTAMP_TRUNC(received_at, HOUR)) AS hour, \
             COUNT(*) AS number FROM {} WHERE {WITHIN} GROUP BY sink_id, hour ORDER BY hour, sink_id",
            self.name
        );
        let mut rows = self.ask("count the rows", &sql, &window(from, to)).await?;
        let mut hours = Vec::new();
        while let Some(row) = rows.next().await? {
            hours.push(Hour {
                sink_id: row.text("sink_id").unwrap_or_default().to_owned(),
                start: row.int64("hour").unwrap_or(from),
                rows: row.int64("number").unwrap_or(0).unsigned_abs(),
            });
        }
        Ok(hours)
    }

    /// All checkpoints of a time; with `last` only the last ones of each sink.
    pub(crate) async fn checkpoints(
        &self,
        from: i64,
        to: i64,
        last: Option<u32>,
        mut take: impl FnMut(&str, &Place),
    ) -> Result<(), Error> {
        let only = last.map_or(String::new(), |last| {
            format!(
                " QUALIFY ROW_NUMBER() OVER (PARTITION BY sink_id ORDER BY sink_seq DESC) <= {last}"
            )
        });
        let sql = format!(
            "SELECT sink_id, sink_seq, UNIX_MICROS(received_at) AS at_us, checkpoint FROM {} \
             WHERE {WITHIN} AND kind = 'checkpoint'{only} ORDER BY sink_id, sink_seq",
            self.name
        );
        let what = "read the checkpoints";
        let mut rows = self.ask(what, &sql, &window(from, to)).await?;
        while let Some(row) = rows.next().await? {
            let place = Place::Table {
                sink_id: row.text("sink_id").unwrap_or_default().to_owned(),
                sink_seq: row.int64("sink_seq").unwrap_or(0).unsigned_abs(),
                received_at: row.int64("at_us").unwrap_or(from),
            };
            take(row.text("checkpoint").unwrap_or_default(), &place);
        }
        Ok(())
    }

    /// The last row of a sink before a time.
    pub(crate) async fn before(&self, sink_id: &str, time: i64) -> Result<Option<u64>, Error> {
        let sql = format!(
            "SELECT MAX(sink_seq) AS last FROM {} WHERE {WITHIN} AND sink_id = @sink_id",
            self.name
        );
        let [from, to] = window(0, time);
        let parameters = [from, to, Parameter::String("sink_id", sink_id)];
        let mut rows = self.ask("find earlier rows", &sql, &parameters).await?;
        let row = rows.next().await?;
        let last = row.and_then(|row| row.int64("last"));
        Ok(last.and_then(|last| u64::try_from(last).ok()))
    }

    /// The last records of epochs before a time; the names are to be hex.
    pub(crate) async fn epochs_before(
        &self,
        names: &[String],
        from: i64,
        to: i64,
    ) -> Result<Vec<(String, i64)>, Error> {
        let hex = |name: &&String| name.chars().all(|letter| letter.is_ascii_hexdigit());
        let names = names.iter().filter(hex).map(|name| format!("'{name}'"));
        let names: Vec<String> = names.collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT epoch, MAX(seq) AS last FROM {} WHERE {WITHIN} AND epoch IN ({}) GROUP BY epoch",
            self.name,
            names.join(", ")
        );
        let what = "find earlier records";
        let mut rows = self.ask(what, &sql, &window(from, to)).await?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().await? {
            if let (Some(name), Some(last)) = (row.text("epoch"), row.int64("last")) {
                found.push((name.to_owned(), last));
            }
        }
        Ok(found)
    }

    /// Exchanges that began in a time and did not end in it.
    pub(crate) async fn open(
        &self,
        from: i64,
        to: i64,
        mut take: impl FnMut(&str, i64, Open),
    ) -> Result<(), Error> {
        let sql = format!(
            "SELECT began.epoch AS epoch, began.seq AS seq, began.decision_id AS decision_id, \
             began.person AS person, UNIX_MICROS(began.event_at) AS at_us \
             FROM (SELECT epoch, seq, decision_id, person, event_at FROM {table} \
             WHERE {WITHIN} AND kind = 'open') AS began \
             LEFT JOIN (SELECT epoch, open_seq FROM {table} \
             WHERE {WITHIN} AND kind = 'close' AND open_seq IS NOT NULL) AS ended \
             ON ended.epoch = began.epoch AND ended.open_seq = began.seq \
             WHERE ended.epoch IS NULL",
            table = self.name
        );
        let what = "find exchanges that began before";
        let mut rows = self.ask(what, &sql, &window(from, to)).await?;
        while let Some(row) = rows.next().await? {
            let (Some(epoch), Some(seq)) = (row.text("epoch"), row.int64("seq")) else {
                continue;
            };
            let text = |name: &str| row.text(name).unwrap_or_default().to_owned();
            let open = Open {
                decision_id: text("decision_id"),
                person: text("person"),
                event_at: row.int64("at_us").unwrap_or(from),
            };
            take(epoch, seq, open);
        }
        Ok(())
    }

    /// All orders up to a time: holds may be older than what is verified.
    pub(crate) async fn orders(&self, to: i64) -> Result<Rows, Error> {
        let sql = format!(
            "SELECT {} FROM {} AS r WHERE {WITHIN} AND r.kind = 'order' \
             ORDER BY r.received_at, r.sink_id, r.sink_seq",
            self.columns, self.name
        );
        self.ask("read the orders", &sql, &window(0, to)).await
    }

    /// Rows of all sinks in the order of their numbers.
    pub(crate) async fn rows(&self, from: i64, to: i64) -> Result<Rows, Error> {
        let sql = format!(
            "SELECT {} FROM {} AS r WHERE {WITHIN} ORDER BY r.sink_id, r.sink_seq",
            self.columns, self.name
        );
        self.ask("read the rows", &sql, &window(from, to)).await
    }

    /// Rows of one sink before a time.
    pub(crate) async fn lead_in(&self, lead_in: &LeadIn, to: i64) -> Result<Rows, Error> {
        let sql = format!(
            "SELECT {} FROM {} AS r WHERE {WITHIN} AND sink_id = @sink_id AND sink_seq >= @first \
             ORDER BY r.sink_id, r.sink_seq",
            self.columns, self.name
        );
        let [from, to] = window(lead_in.received_at, to);
        let first = i64::try_from(lead_in.sink_seq).unwrap_or(i64::MAX);
        let parameters = [
            from,
            to,
            Parameter::String("sink_id", &lead_in.sink_id),
            Parameter::Int64("first", first),
        ];
        self.ask("read the rows before", &sql, &parameters).await
    }

    async fn ask(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Rows, Error> {
        self.client.query(what, sql, parameters, PAGE_ROWS).await
    }
}

fn window(from: i64, to: i64) -> [Parameter<'static>; 2] {
    [Parameter::Int64("from", from), Parameter::Int64("to", to)]
}

/// The filter on the partition.
pub(crate) const WITHIN: &str =
    "received_at >= TIMESTAMP_MICROS(@from) AND received_at < TIMESTAMP_MICROS(@to)";

/// Rows of an answer, without their content some kilobytes each.
const PAGE_ROWS: u32 = 2000;
