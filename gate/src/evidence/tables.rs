//! What is counted and listed, as SQL on the views (pure).

use crate::verify::WITHIN;

/// A table of the evidence: a file, and a part of the page.
#[derive(Debug)]
pub(super) struct Table {
    /// Name of the file, without `.json`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What a reader should know of it.
    pub(super) hint: &'static str,
    /// `EXCHANGES` and `FINDINGS` stand for those of the time, `RECORDS` for the table of records and
    /// `WITHIN` for the time in it.
    sql: &'static str,
}

impl Table {
    /// The statement; `records` is the table, `between` a function of the views for the time.
    pub(super) fn statement(&self, between: impl Fn(&str) -> String, records: &str) -> String {
        let sql = (self.sql)
            .replace("EXCHANGES", &between("exchanges_between"))
            .replace("FINDINGS", &between("findings_between"))
            .replace("RECORDS", records)
            .replace("WITHIN", WITHIN);
        format!("{sql}\nLIMIT {}", MAX_ROWS + 1)
    }
}

/// Most rows of a table.
pub(super) const MAX_ROWS: usize = 10_000;

/// In the order of the page. No content is read by any of them.
pub(super) const TABLES: [Table; 11] = [
    Table {
        name: "days",
        title: "Exchanges by day",
        hint: "By the day on which the record arrived, in UTC.",
        sql: "SELECT STRING(DATE(received_at)) AS day, COUNT(*) AS exchanges,
  COUNT(DISTINCT CONCAT(issuer, ' ', person)) AS persons,
  COUNTIF(decision = 'mask') AS masked, COUNTIF(decision = 'deny') AS denied,
  SUM(findings_count) AS findings
FROM EXCHANGES
GROUP BY day ORDER BY day",
    },
    Table {
        name: "roles",
        title: "Decisions by role",
        hint: "mask: something was found and replaced. deny: policy. pending: an approval was \
               waited for. unidentified: nobody known. unreadable and unavailable: it could not be \
               checked, so it did not pass.",
        sql: "SELECT role, decision, COUNT(*) AS exchanges,
  COUNT(DISTINCT CONCAT(issuer, ' ', person)) AS persons
FROM EXCHANGES
GROUP BY role, decision ORDER BY exchanges DESC, role, decision",
    },
    Table {
        name: "detectors",
        title: "Secrets by detector",
        hint: "Secrets are counted by their fingerprints. action: what became of the value; allow, \
               pass, exempt and observe mean that it went on.",
        sql: "SELECT detector, direction, action, COUNT(*) AS found,
  COUNT(DISTINCT fingerprint) AS secrets,
  COUNT(DISTINCT CONCAT(issuer, ' ', person)) AS persons
FROM FINDINGS
GROUP BY detector, direction, action ORDER BY found DESC, detector, direction, action",
    },
    Table {
        name: "refusals",
        title: "What did not pass",
        hint: "",
        sql: "SELECT decision, reason, rule, COUNT(*) AS exchanges,
  COUNT(DISTINCT CONCAT(issuer, ' ', person)) AS persons
FROM EXCHANGES
WHERE decision IN ('deny', 'unidentified', 'unreadable', 'unavailable')
GROUP BY decision, reason, rule ORDER BY exchanges DESC, decision, reason, rule",
    },
    Table {
        name: "approvals",
        title: "Approvals",
        hint: "One row for each approval that exchanges of this time asked for or used. states: \
               where it stood, in one exchange after another. An empty approved_by: nobody has \
               decided, or others cover it.",
        sql: "SELECT approval_id, person, issuer, role, rule, MAX(approved_by) AS approved_by,
  STRING_AGG(DISTINCT approval_state, ', ' ORDER BY approval_state) AS states,
  MAX(approval_covers) AS covers, MAX(policy_digest) AS policy_digest,
  FORMAT_TIMESTAMP('%FT%TZ', MIN(event_at)) AS first_at,
  FORMAT_TIMESTAMP('%FT%TZ', MAX(event_at)) AS last_at,
  COUNT(*) AS exchanges, MAX(held_ms) AS longest_held_ms
FROM EXCHANGES WHERE approval_state IS NOT NULL
GROUP BY approval_id, person, issuer, role, rule ORDER BY first_at, approval_id",
    },
    Table {
        name: "policies",
        title: "Policies in force",
        hint: "By their digest; folder policies has each in full, as the workers recorded it at \
               their start.",
        sql: "SELECT policy_digest, COUNT(DISTINCT epoch) AS workers, COUNT(*) AS exchanges,
  FORMAT_TIMESTAMP('%FT%TZ', MIN(event_at)) AS first_at,
  FORMAT_TIMESTAMP('%FT%TZ', MAX(event_at)) AS last_at
FROM EXCHANGES WHERE policy_digest IS NOT NULL
GROUP BY policy_digest ORDER BY first_at, policy_digest",
    },
    Table {
        name: "models",
        title: "Use by role, feature and model",
        hint: "Tokens by the upstream's word.",
        sql: "SELECT role, endpoint, model, COUNT(*) AS exchanges,
  COUNT(DISTINCT CONCAT(issuer, ' ', person)) AS persons,
  SUM(input_tokens) AS tokens_asked, SUM(output_tokens) AS tokens_answered
FROM EXCHANGES WHERE decision IN ('allow', 'mask')
GROUP BY role, endpoint, model ORDER BY exchanges DESC, role, endpoint, model",
    },
    Table {
        name: "annotations",
        title: "What the upstream noted on answers",
        hint: "Public code with its licence, and weak code.",
        sql: "SELECT repository, JSON_VALUE(note, '$.kind') AS kind,
  JSON_VALUE(note, '$.license') AS license, JSON_VALUE(note, '$.type') AS weakness,
  COUNT(*) AS notes, COUNT(DISTINCT decision_id) AS answers
FROM EXCHANGES, UNNEST(JSON_QUERY_ARRAY(annotations)) AS note
GROUP BY repository, kind, license, weakness ORDER BY notes DESC, repository, kind",
    },
    Table {
        name: "unscanned",
        title: "What was passed on without a look",
        hint: "",
        sql: "SELECT JSON_VALUE(entry, '$.reason') AS reason,
  JSON_VALUE(entry, '$.direction') AS direction, endpoint, COUNT(*) AS times,
  SUM(CAST(JSON_VALUE(entry, '$.bytes') AS INT64)) AS bytes
FROM EXCHANGES, UNNEST(JSON_QUERY_ARRAY(unscanned)) AS entry
GROUP BY reason, direction, endpoint ORDER BY bytes DESC, reason, endpoint",
    },
    Table {
        name: "auditors",
        title: "Who asked the audit for secrets",
        hint: "Look-ups by the sink's records; who reads the tables themselves is in BigQuery's own \
               log.",
        sql: "SELECT person, decision, reason, COUNT(*) AS times,
  FORMAT_TIMESTAMP('%FT%TZ', MIN(event_at)) AS first_at,
  FORMAT_TIMESTAMP('%FT%TZ', MAX(event_at)) AS last_at
FROM RECORDS WHERE WITHIN AND kind = 'lookup'
GROUP BY person, decision, reason ORDER BY times DESC, person",
    },
    Table {
        name: "orders",
        title: "Orders over recorded content",
        hint: "Erasures (erased: how many rows lost content), holds and releases, with the officer who \
               gave them. Times that an order speaks of are in microseconds since 1970.",
        sql:
            "SELECT FORMAT_TIMESTAMP('%FT%TZ', event_at) AS ordered_at, person AS officer, decision,
  reason AS refused, JSON_VALUE(directive, '$.order') AS id,
  JSON_VALUE(directive, '$.person') AS whose, JSON_VALUE(directive, '$.issuer') AS issuer,
  JSON_VALUE(directive, '$.from') AS from_us, JSON_VALUE(directive, '$.to') AS to_us,
  JSON_VALUE(directive, '$.reason') AS why, JSON_VALUE(directive, '$.rows') AS row_count
FROM RECORDS WHERE WITHIN AND kind = 'order'
ORDER BY ordered_at, sink_id, sink_seq",
    },
];

/// The configurations of these policies, from the start of any worker that had them.
pub(super) fn policies(epochs: &str) -> String {
    format!(
        "SELECT policy_digest, ANY_VALUE(TO_JSON_STRING(policy)) AS policy FROM {epochs}\n\
         WHERE policy_digest IN UNNEST(@digests) AND policy IS NOT NULL GROUP BY policy_digest"
    )
}
