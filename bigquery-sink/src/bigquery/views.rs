//! The views that auditors read (pure), in SQL that BigQuery and the emulator share.
//!
//! Table `records` demands a filter on its partition. The views bring one that always holds, so
//! that they can be queried as they are. They look for repeated rows, and join, over all the time that
//! there is: whatever is filtered outside, BigQuery reads all days of the columns in question. The
//! functions `…_between` are the same for a time, and read the days of it.

use contract::ColumnKind;

use super::{Target, schema};

/// A view, or a function that gives a table.
pub(super) struct View {
    pub(super) name: &'static str,
    /// Takes a first moment and one past the last.
    pub(super) is_function: bool,
    /// Makes it.
    pub(super) sql: String,
}

/// All of them, in the order in which they have to be made.
pub(super) fn all(target: &Target) -> Vec<View> {
    let view = |name: &'static str, query: String| View {
        name,
        is_function: false,
        sql: format!(
            "CREATE OR REPLACE VIEW {} AS\n{query}",
            target.view_sql(name)
        ),
    };
    let function = |name: &'static str, query: String| View {
        name,
        is_function: true,
        sql: format!(
            "CREATE OR REPLACE TABLE FUNCTION {}(since TIMESTAMP, before TIMESTAMP) AS\n{query}",
            target.view_sql(name)
        ),
    };
    let between = format!("{}(since, before)", target.view_sql("exchanges_between"));
    vec![
        view("exchanges", exchanges(target, ALWAYS)),
        function("exchanges_between", exchanges_between(target)),
        view("findings", findings(&target.view_sql("exchanges"))),
        function("findings_between", findings(&between)),
        view("repeats", repeats(target)),
        view("gaps", gaps(target)),
        view("epochs", epochs(target)),
        view("policies", policies(target)),
        view("approvals", approvals(target)),
    ]
}

/// The exchanges whose row arrived in a time. Their other rows did so within a day.
fn exchanges_between(target: &Target) -> String {
    let days = "received_at >= TIMESTAMP_SUB(since, INTERVAL 1 DAY) \
                AND received_at < TIMESTAMP_ADD(before, INTERVAL 1 DAY)";
    let exchanges = exchanges(target, days);
    format!("SELECT * FROM (\n{exchanges})\nWHERE received_at >= since AND received_at < before")
}

/// One row for each exchange, also if two sinks took its records: its close record with the content
/// of its open record, or the open record alone as long as there is no other.
fn exchanges(target: &Target, within: &str) -> String {
    let columns: Vec<String> = contract::columns()
        .into_iter()
        .filter(|column| {
            column.kind != ColumnKind::Bytes
                && ![
                    "mac_key_id",
                    "unacknowledged",
                    "checkpoint",
                    "policy",
                    "directive",
                ]
                .contains(&column.name.as_str())
        })
        .map(|column| column.name)
        .collect();
    let of = |record: &str| {
        let named = columns.iter().map(|column| match column.as_str() {
            "request_content" => "COALESCE(close.request_content, open.request_content) \
                                  AS request_content"
                .to_owned(),
            _ => format!("{record}.{column}"),
        });
        named.collect::<Vec<_>>().join(", ")
    };
    let (closed, opened) = (of("close"), of("open"));
    format!(
        "WITH one AS (\n  SELECT {}\n  FROM {}\n  \
         WHERE {within} AND kind IN ('open', 'close', 'bare')\n  \
         QUALIFY ROW_NUMBER() OVER (\n    \
         PARTITION BY COALESCE(epoch, sink_id), COALESCE(seq, sink_seq)\n    \
         ORDER BY received_at, sink_id, sink_seq) = 1)\n\
         SELECT {closed}\nFROM one AS close\nLEFT JOIN one AS open \
         ON open.kind = 'open' AND open.epoch = close.epoch AND open.seq = close.open_seq\n\
         WHERE close.kind IN ('close', 'bare')\n\
         UNION ALL\n\
         SELECT {opened}\nFROM one AS open\nLEFT JOIN one AS close \
         ON close.kind = 'close' AND close.epoch = open.epoch AND close.open_seq = open.seq\n\
         WHERE open.kind = 'open' AND close.seq IS NULL",
        columns.join(", "),
        target.table_sql(),
    )
}

/// One row for each finding of these exchanges.
fn findings(exchanges: &str) -> String {
    let text = |name: &str| format!("JSON_VALUE(finding, '$.{name}') AS {name}");
    let number = |name: &str| {
        format!("SAFE_CAST(JSON_VALUE(finding, '$.{name}') AS INT64) AS finding_{name}")
    };
    let columns = [
        text("detector"),
        text("direction"),
        text("channel"),
        text("fingerprint"),
        text("action"),
        "JSON_VALUE(finding, '$.rule') AS finding_rule".to_owned(),
        text("confidence"),
        "SAFE_CAST(JSON_VALUE(finding, '$.checksum') AS BOOL) AS checksum".to_owned(),
        number("offset"),
        number("length"),
    ];
    format!(
        "SELECT received_at, event_at, deployment, decision_id, person, issuer, endpoint, model, \
         repository, decision, rule, epoch, seq, sink_id, sink_seq,\n  {}\n\
         FROM {exchanges}, UNNEST(JSON_QUERY_ARRAY(findings)) AS finding",
        columns.join(", "),
    )
}

/// One row for each text of a request that stands in an earlier record. The request's content has
/// `seen:EPOCH:SEQ:START+LENGTH` in its place, counted in characters.
fn repeats(target: &Target) -> String {
    let exchanges = target.view_sql("exchanges");
    let number = |pattern: &str| format!("CAST(REGEXP_EXTRACT(reference, r'{pattern}') AS INT64)");
    let seq = number("[0-9a-f]{32}:([0-9]+)");
    let (start, length) = (number("([0-9]+)[+]"), number("[+]([0-9]+)"));
    format!(
        "SELECT again.received_at, again.event_at, again.decision_id, again.person, again.issuer,\n  \
         reference, told.decision_id AS told_decision_id, told.event_at AS told_at,\n  \
         SUBSTR(told.request_content, {start} + 1, {length}) AS text\n\
         FROM {exchanges} AS again\nCROSS JOIN UNNEST(REGEXP_EXTRACT_ALL(again.request_content, \
         r'\"(seen:[0-9a-f]{{32}}:[0-9]+:[0-9]+[+][0-9]+)\"')) AS reference\n\
         LEFT JOIN {exchanges} AS told ON told.epoch = again.epoch\n  \
         AND COALESCE(told.open_seq, told.seq) = {seq}\n  \
         AND told.person = again.person AND told.issuer = again.issuer"
    )
}

/// One row for each start and end of a worker; with the policy at its start.
fn epochs(target: &Target) -> String {
    format!(
        "SELECT received_at, event_at, deployment, epoch, seq, reason, policy_digest, policy\n\
         FROM {}\nWHERE {ALWAYS} AND kind = 'epoch'\n\
         QUALIFY ROW_NUMBER() OVER (\n  \
         PARTITION BY epoch, seq ORDER BY received_at, sink_id, sink_seq) = 1",
        target.table_sql(),
    )
}

/// One row for each policy that a worker of a deployment started with.
fn policies(target: &Target) -> String {
    format!(
        "SELECT deployment, policy_digest, ANY_VALUE(policy) AS policy, \
         MIN(event_at) AS first_start, MAX(event_at) AS last_start, \
         COUNT(DISTINCT epoch) AS workers\nFROM {}\nWHERE reason = 'start'\n\
         GROUP BY deployment, policy_digest",
        target.view_sql("epochs"),
    )
}

/// One row for each approval that exchanges asked for or used.
fn approvals(target: &Target) -> String {
    format!(
        "SELECT approval_id, person, issuer, role, rule, policy_digest, \
         MAX(approved_by) AS approved_by, MAX(approval_covers) AS covers,\n  \
         STRING_AGG(DISTINCT approval_state, ', ' ORDER BY approval_state) AS states,\n  \
         MIN(event_at) AS first_use, MAX(event_at) AS last_use, COUNT(*) AS exchanges, \
         MAX(held_ms) AS longest_held_ms\nFROM {}\nWHERE approval_id IS NOT NULL\n\
         GROUP BY approval_id, person, issuer, role, rule, policy_digest",
        target.view_sql("exchanges"),
    )
}

/// What is missing: records of an epoch that no sink took, rows of a sink that did not arrive. What
/// is missing at the end of either cannot be seen here.
fn gaps(target: &Target) -> String {
    let part = |kind: &str, source: &str, place: &str| {
        format!(
            "SELECT '{kind}' AS kind, source, place_before + 1 AS first_missing, \
             place - 1 AS last_missing, place - place_before - 1 AS missing\nFROM (\n  \
             SELECT source, place, LAG(place, 1, -1) OVER (PARTITION BY source ORDER BY place) \
             AS place_before\n  FROM (\n    SELECT DISTINCT {source} AS source, {place} AS place\n    \
             FROM {} WHERE {ALWAYS} AND {source} IS NOT NULL AND {place} IS NOT NULL))\n\
             WHERE place - place_before > 1",
            target.table_sql(),
        )
    };
    format!(
        "{}\nUNION ALL\n{}",
        part("epoch", "epoch", "seq"),
        part("sink", "sink_id", "sink_seq"),
    )
}

/// A filter on the partition that all rows pass.
const ALWAYS: &str = "received_at >= TIMESTAMP '2020-01-01 00:00:00+00'";

/// The last row of a sink that is in the table. Parameters: `sink_id`, and `oldest` in microseconds
/// since 1970, when the oldest row in question arrived.
pub(super) fn watermark(target: &Target) -> String {
    format!(
        "SELECT MAX(sink_seq) AS sink_seq FROM {} \
         WHERE received_at >= TIMESTAMP_MICROS(@oldest) AND sink_id = @sink_id",
        target.table_sql(),
    )
}

/// Adds a column if it is not there.
pub(super) fn add_column(target: &Target, column: &contract::Column) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}",
        target.table_sql(),
        column.name,
        schema::sql_type(column.kind),
    )
}
