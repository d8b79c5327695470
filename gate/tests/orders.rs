//! `gate erase` and `gate hold` against a sink and a table that are played here.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test code: a failure should stop it, at once and loudly"
)]

mod common;

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use common::{Seen, serve};

const TOKEN: &str = concat!("dpo-token-", "0123456789");

/// What the table has.
#[derive(Clone)]
struct Table {
    /// Kind, id and person of each order; they arrive at 1, 2, …
    orders: &'static [(&'static str, &'static str, &'static str)],
    /// Rows with content, and those of them that nobody holds.
    rows: (u64, u64),
    /// Of code; without, there is no table of them.
    fingerprints: Option<u64>,
    /// Whether it has not got the order when it is asked first.
    is_late: bool,
}

const TABLE: Table = Table {
    orders: &[("hold", "CASE-7", "ana"), ("hold", "CASE-8", "bo")],
    rows: (5, 3),
    fingerprints: Some(40),
    is_late: false,
};

fn page(names: &[&str], rows: &[Vec<String>]) -> Value {
    let cells = |cells: &Vec<String>| -> Vec<Value> {
        let cell = |cell: &String| match cell.as_str() {
            "NULL" => json!({ "v": null }),
            text => json!({ "v": text }),
        };
        cells.iter().map(cell).collect()
    };
    let fields: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    let rows: Vec<Value> = rows.iter().map(|row| json!({ "f": cells(row) })).collect();
    json!({
        "jobComplete": true,
        "jobReference": { "jobId": "j" },
        "schema": { "fields": fields },
        "rows": rows,
    })
}

impl Table {
    fn answer(&self, body: &Value) -> Value {
        let Some(sql) = body["query"].as_str() else {
            // whether there is table `lineage`
            return self.fingerprints.map_or(Value::Null, |_| json!({}));
        };
        assert!(sql.contains("received_at >= TIMESTAMP_MICROS("), "{sql}");
        let is_held_left_out = sql.contains("NOT EXISTS");
        if sql.contains("MIN(received_at)") {
            return page(&["received_us"], &[vec!["1800000000000000".to_owned()]]);
        }
        if sql.contains("ORDER BY received_us") {
            let row = |(place, (kind, id, person)): (usize, &(&str, &str, &str))| {
                let mut order = json!({ "kind": kind, "order": id });
                match *kind {
                    "erased" => order["rows"] = json!(1),
                    "release" => order["reason"] = json!("r"),
                    _ => {
                        order["person"] = json!(person);
                        order["reason"] = json!("r\u{1b}");
                    }
                }
                let at = (place + 1).to_string();
                vec!["dpo".into(), "s".into(), at.clone(), at, order.to_string()]
            };
            let rows: Vec<_> = self.orders.iter().enumerate().map(row).collect();
            let names = ["person", "sink_id", "sink_seq", "received_us", "directive"];
            return page(&names, &rows);
        }
        if sql.starts_with("UPDATE") {
            assert!(is_held_left_out, "{sql}");
            return json!({ "jobComplete": true, "numDmlAffectedRows": self.rows.1.to_string() });
        }
        if sql.contains("lineage") {
            assert!(is_held_left_out, "{sql}");
            let number = self.fingerprints.unwrap().to_string();
            return if sql.starts_with("DELETE") {
                json!({ "jobComplete": true, "numDmlAffectedRows": number })
            } else {
                page(&["number"], &[vec![number]])
            };
        }
        let rows = if is_held_left_out {
            self.rows.1
        } else {
            self.rows.0
        };
        page(
            &["number", "size"],
            &[vec![rows.to_string(), (rows * 10).to_string()]],
        )
    }

    fn serve(self) -> (u16, Seen) {
        let is_late = AtomicBool::new(self.is_late);
        serve(200, move |body| {
            let sql = body["query"].as_str().unwrap_or_default();
            if sql.contains("MIN(received_at)") && is_late.swap(false, Ordering::Relaxed) {
                return page(&["received_us"], &[vec!["NULL".to_owned()]]);
            }
            self.answer(body)
        })
    }
}

/// A sink that takes orders.
fn sink() -> (u16, Seen) {
    serve(200, |_| json!({ "event_at": 1_800_000_000_000_000_i64 }))
}

fn gate(words: &[&str], bigquery: u16, sink: Option<u16>, token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gate"));
    command
        .args(words)
        .args(["--project", "p"])
        .args(["--bigquery-rest", &format!("http://127.0.0.1:{bigquery}")])
        .env_remove("GATE_OFFICER_TOKEN");
    if let Some(sink) = sink {
        command.args(["--sink", &format!("http://127.0.0.1:{sink}")]);
    }
    if let Some(token) = token {
        command.env("GATE_OFFICER_TOKEN", token);
    }
    let output = command.output().unwrap();
    for said in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(said).contains(TOKEN));
    }
    output
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

const ORDER: [&str; 4] = ["--order", "DPO-1", "--reason", "asked"];

fn erase(table: &Table, more: &[&str]) -> (Output, Vec<Value>, Vec<String>) {
    let (bigquery, queries) = table.clone().serve();
    let (sink, posted) = sink();
    let words = [&["erase", "--person", "ana"], &ORDER[..], more].concat();
    let output = gate(&words, bigquery, Some(sink), Some(TOKEN));
    let posted = posted.lock().unwrap();
    for (head, _) in posted.iter() {
        assert!(head.starts_with("POST /v1/orders "), "{head}");
        assert!(head.contains(&format!("Bearer {TOKEN}")), "{head}");
    }
    let posted = posted.iter().map(|(_, body)| body.clone()).collect();
    let queries = queries.lock().unwrap();
    let sql = queries
        .iter()
        .filter_map(|(_, body)| body["query"].as_str());
    (output, posted, sql.map(str::to_owned).collect())
}

fn is_change(sql: &str) -> bool {
    sql.starts_with("UPDATE") || sql.starts_with("DELETE")
}

#[test]
fn without_yes_it_only_says_what_there_is() {
    for more in [&[][..], &["--dry-run"]] {
        let (output, posted, sql) = erase(&TABLE, more);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        for part in [
            "ana (any issuer), from the beginning to ",
            "held: 2 rows with 20 bytes of content (CASE-7)",
            "to erase: 3 rows with 30 bytes of content, and 40 fingerprints of code; nothing was",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(posted.is_empty() && !sql.iter().any(|sql| is_change(sql)));
    }
}

#[test]
fn the_order_is_written_down_before_and_after() {
    let more = [
        "--issuer",
        "https://i",
        "--from",
        "2026-01-01",
        "--to",
        "2026-02-01",
        "--yes",
        "--json",
    ];
    let late = Table {
        is_late: true,
        ..TABLE
    };
    let (output, posted, sql) = erase(&late, &more);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["erased"], json!({ "rows": 3, "fingerprints": 40 }));
    assert_eq!(document["held"], json!({ "rows": 2, "bytes": 20 }));
    let expected = [
        json!({
            "kind": "erase", "order": "DPO-1", "person": "ana", "issuer": "https://i",
            "from": 1_767_225_600_000_000_i64, "to": 1_769_904_000_000_000_i64, "reason": "asked",
        }),
        json!({ "kind": "erased", "order": "DPO-1", "rows": 3 }),
    ];
    assert_eq!(posted, expected);
    let waits = sql.iter().filter(|sql| sql.contains("MIN(received_at)"));
    assert_eq!(waits.count(), 3); // twice for the order, once for what was done
    let arrived = sql
        .iter()
        .position(|sql| sql.contains("MIN(received_at)"))
        .unwrap();
    let changed: Vec<usize> = (0..sql.len())
        .filter(|place| is_change(&sql[*place]))
        .collect();
    assert_eq!(changed, [arrived + 2, arrived + 3], "{sql:#?}");
    let update = &sql[changed[0]];
    for part in [
        "UPDATE `p.copilot_audit.records` AS r SET request_content = NULL, response_content = NULL",
        "r.received_at < TIMESTAMP_MICROS(@to)",
        "r.person = @person AND r.issuer = @issuer",
    ] {
        assert!(update.contains(part), "{part}: {update}");
    }
}

#[test]
fn what_broke_off_is_finished_and_what_is_done_is_not_done_again() {
    let done = Table {
        rows: (2, 0),
        fingerprints: Some(0),
        ..TABLE
    };
    let cases = [
        ("all of it is held", done.clone(), 1),
        (
            "nothing",
            Table {
                rows: (0, 0),
                fingerprints: None,
                ..TABLE
            },
            1,
        ),
        (
            "code alone",
            Table {
                fingerprints: Some(1),
                ..done.clone()
            },
            0,
        ),
        (
            "begun",
            Table {
                orders: &[("erase", "DPO-1", "ana")],
                ..done.clone()
            },
            0,
        ),
        (
            "begun for another",
            Table {
                orders: &[("erase", "DPO-1", "bo")],
                ..done.clone()
            },
            1,
        ),
        (
            "finished",
            Table {
                orders: &[("erase", "DPO-1", "ana"), ("erased", "DPO-1", "")],
                ..done
            },
            1,
        ),
    ];
    for (name, table, status) in cases {
        let (output, posted, sql) = erase(&table, &["--yes"]);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{name}: {}",
            said(&output)
        );
        let expected = if status == 0 { 2 } else { 0 };
        assert_eq!(posted.len(), expected, "{name}");
        assert_eq!(sql.iter().any(|sql| is_change(sql)), status == 0, "{name}");
    }
}

#[test]
fn without_a_record_of_the_order_nothing_is_erased() {
    let words = [&["erase", "--person", "ana", "--yes"], &ORDER[..]].concat();
    let (refusing, _) = serve(401, |_| json!("not an officer's token"));
    for (name, sink) in [("refused", refusing), ("no sink", 1)] {
        let (bigquery, queries) = TABLE.serve();
        let output = gate(&words, bigquery, Some(sink), Some(TOKEN));
        assert_eq!(output.status.code(), Some(3), "{name}: {}", said(&output));
        let queries = queries.lock().unwrap();
        let mut sql = queries
            .iter()
            .filter_map(|(_, body)| body["query"].as_str());
        assert!(!sql.any(is_change), "{name}");
    }
    let output = gate(&words, 1, Some(refusing), Some(TOKEN));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}

#[test]
fn holds_are_placed_released_and_listed() {
    let give = |words: &[&str], table: &Table| {
        let (bigquery, _) = table.clone().serve();
        let (sink, posted) = sink();
        let output = gate(words, bigquery, Some(sink), Some(TOKEN));
        let posted = posted.lock().unwrap();
        let posted: Vec<Value> = posted.iter().map(|(_, body)| body.clone()).collect();
        (output.status.code(), said(&output), posted)
    };
    let case = ["--order", "CASE-7", "--reason", "court"];
    let place = [
        &["hold", "place", "--person", "ana", "--to", "2026-01-01"],
        &case[..],
    ]
    .concat();
    let (status, text, posted) = give(&place, &TABLE);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.starts_with("CASE-7: in force since 2027-"), "{text}");
    let expected = json!({
        "kind": "hold", "order": "CASE-7", "person": "ana", "to": 1_767_225_600_000_000_i64,
        "reason": "court",
    });
    assert_eq!(posted, [expected]);

    let release = [&["hold", "release"], &case[..]].concat();
    let (status, text, posted) = give(&release, &TABLE);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(
        posted,
        [json!({ "kind": "release", "order": "CASE-7", "reason": "court" })]
    );
    let released = Table {
        orders: &[("hold", "CASE-7", "ana"), ("release", "CASE-7", "")],
        ..TABLE
    };
    let (status, text, posted) = give(&release, &released);
    assert_eq!((status, posted.len()), (Some(1), 0), "{text}");

    let list = |table: Table, more: &[&str]| {
        let (bigquery, _) = table.serve();
        gate(&[&["hold", "list"], more].concat(), bigquery, None, None)
    };
    let output = list(TABLE, &[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "CASE-7  ana (any issuer), from the beginning to the end\n",
        "CASE-8  bo",
        "placed at 1970-01-01T00:00:00.000001Z by dpo: r \n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let output = list(TABLE, &["--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["holds"].as_array().unwrap().len(), 2);
    assert_eq!(list(released, &[]).status.code(), Some(1));
}

#[test]
fn wrong_usage_ends_with_2() {
    let yes = [&["erase", "--person", "ana", "--yes"], &ORDER[..]].concat();
    let place = ["hold", "place", "--person", "ana"];
    let with = |words: &[&'static str], more: &[&'static str]| [words, more].concat();
    let cases = [
        (vec!["erase"], Some(TOKEN), "--person"),
        (
            vec!["erase", "--person", "ana", "--yes"],
            Some(TOKEN),
            "--order",
        ),
        (with(&yes, &["--dry-run"]), Some(TOKEN), "--dry-run"),
        (yes.clone(), None, "GATE_OFFICER_TOKEN"),
        (yes.clone(), Some("a b"), "GATE_OFFICER_TOKEN"),
        (with(&yes, &["--dataset", "a`b"]), Some(TOKEN), "--dataset"),
        (with(&yes, &["--from", "9998-01-01"]), Some(TOKEN), "--from"),
        (vec!["erase", "--person", ""], Some(TOKEN), "--person"),
        (
            vec!["erase", "--person", "ana", "--order", "a b"],
            Some(TOKEN),
            "--order",
        ),
        (vec!["hold"], Some(TOKEN), "Usage"),
        (place.to_vec(), Some(TOKEN), "--order"),
        (with(&place, &ORDER), None, "GATE_OFFICER_TOKEN"),
        (
            with(&place, &["--order", "a/b", "--reason", "r"]),
            Some(TOKEN),
            "--order",
        ),
        (
            vec!["hold", "release", "--order", "a", "--reason", ""],
            Some(TOKEN),
            "--reason",
        ),
    ];
    for (words, token, word) in cases {
        let output = gate(&words, 1, Some(1), token);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {text}");
        assert!(text.contains(word), "{word}: {text}");
    }
}
