//! P9: `gate verify` finds what is missing or altered, and nothing where nothing is.

use std::{
    process::Command,
    time::{Duration, SystemTime},
};

use e2e::{
    sink,
    upstream::Answer,
    world::{PROJECT, World},
};
use serde_json::Value;

use crate::delivery::unfinished;

/// What a row needs to arrive, and to be signed, and a worker that died to be missed.
const SETTLED: Duration = Duration::from_secs(4);

pub(crate) struct Verified {
    pub(crate) status: i32,
    pub(crate) report: Value,
}

impl Verified {
    pub(crate) fn classes(&self) -> Vec<&str> {
        let findings = self.report["findings"].as_array().unwrap();
        let mut classes: Vec<&str> = findings
            .iter()
            .map(|finding| finding["class"].as_str().unwrap())
            .collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }
}

/// A command that verifies the world's rows from its start to now, with its JSON document.
pub(crate) fn verifying(command: &str, world: &mut World, began: SystemTime) -> Command {
    let time = |at| humantime::format_rfc3339_millis(at).to_string();
    let settings = world.sink().settings().clone();
    let log = world.sink().log();
    let key = log.split("public_keys=").nth(1).unwrap();
    let key = key.split_whitespace().next().unwrap().trim_matches('"');
    let mut gate = Command::new(sink::program("gate").unwrap());
    gate.args([command, "--json", "--project", PROJECT])
        .args(["--dataset", &settings.dataset])
        .args(["--from", &time(began), "--to", &time(SystemTime::now())])
        .args(["--settle", "3s", "--silence", "3s", "--key", key])
        .arg("--checkpoints")
        .arg(settings.checkpoints())
        .arg("--bigquery-rest")
        .arg(format!("http://{}", settings.rest))
        .env("GATE_SINK_KEYS", &settings.keys);
    gate
}

/// The world's rows from its start to now.
pub(crate) fn verify(world: &mut World, began: SystemTime) -> Verified {
    let gate = verifying("verify", world, began).output().unwrap();
    let said = String::from_utf8_lossy(&gate.stderr).into_owned();
    let report = serde_json::from_slice(&gate.stdout);
    Verified {
        status: gate.status.code().unwrap(),
        report: report.unwrap_or_else(|error| panic!("{error}: {said}")),
    }
}

pub(crate) async fn settle() {
    tokio::time::sleep(SETTLED).await;
}

#[tokio::test]
async fn p9_a_clean_run_with_restarts_is_complete() {
    let began = SystemTime::now();
    let mut world = World::with_audit().await;
    let ana = world.caller("ana");
    for kills in [true, false] {
        ana.chat("before").await.unwrap();
        if kills {
            world.sink().process().kill();
        } else {
            world.sink().process().stop();
        }
        ana.chat("meanwhile").await.unwrap();
        world.restart_sink().await.unwrap();
    }
    ana.chat("after").await.unwrap();
    world
        .stranger(e2e::caller::Http::Two)
        .chat("who?")
        .await
        .unwrap();
    let all = "SELECT seq FROM copilot_audit_views.exchanges WHERE kind = 'close'";
    world.rows_when(all, |rows| rows.len() >= 6).await;
    settle().await;
    let verified = verify(&mut world, began);
    assert_eq!(verified.classes(), [""; 0], "{:#}", verified.report);
    assert_eq!(verified.status, 0);
    world.envoy().stop();
    settle().await;
    let verified = verify(&mut world, began);
    assert_eq!(verified.classes(), [""; 0], "{:#}", verified.report);
    assert_eq!(verified.status, 0);
}

#[tokio::test]
async fn p9_what_was_open_when_a_worker_was_killed_is_told() {
    let began = SystemTime::now();
    let mut world = World::with_audit().await;
    let (row, asks) = unfinished(&world, "the last words").await;
    world.envoy().process().kill();
    let _cut = asks.await.unwrap();
    settle().await;
    let verified = verify(&mut world, began);
    assert_eq!(
        verified.classes(),
        ["ended_without_end", "open_without_close"],
        "{:#}",
        verified.report
    );
    assert_eq!(verified.status, 1);
    let report = verified.report.to_string();
    assert!(report.contains(row["decision_id"].as_str().unwrap()));
}

#[tokio::test]
async fn p9_what_was_done_to_the_table_is_found() {
    let began = SystemTime::now();
    let mut world = World::with_audit().await;
    let ana = world.caller("ana");
    for _ in 0..6 {
        ana.chat("hello").await.unwrap();
    }
    let closed = "SELECT seq FROM copilot_audit_views.exchanges WHERE kind = 'close' ORDER BY seq";
    let rows = world.rows_when(closed, |rows| rows.len() >= 6).await;
    settle().await;
    let seq = |row: usize| rows[row]["seq"].as_i64().unwrap();
    // content goes, everything else stays; nobody ordered it
    let erased = "UPDATE copilot_audit.records SET request_content = NULL, response_content = NULL \
                  WHERE seq < 4";
    let steps = [
        (erased.to_owned(), vec!["altered"]),
        (
            format!(
                "UPDATE copilot_audit.records SET person = 'bo' WHERE seq = {}",
                seq(1)
            ),
            vec!["altered"],
        ),
        (
            format!("DELETE FROM copilot_audit.records WHERE seq = {}", seq(2)),
            vec!["altered", "gap"],
        ),
        (
            format!(
                "DELETE FROM copilot_audit.records WHERE sink_seq >= (SELECT MIN(sink_seq) \
                 FROM copilot_audit.records WHERE seq = {})",
                seq(5)
            ),
            vec!["altered", "gap", "truncated"],
        ),
    ];
    for (sql, classes) in steps {
        world.query(&sql).await.unwrap();
        let verified = verify(&mut world, began);
        for class in &classes {
            assert!(
                verified.classes().contains(class),
                "{sql}: {:#}",
                verified.report
            );
        }
        assert_eq!(
            verified.status,
            i32::from(!classes.is_empty()),
            "{sql}: {:#}",
            verified.report
        );
    }
}

/// An answer with code, and the same code with other names.
const SUGGESTED: &str = "Here it is:\n```python\ndef merge_orders(left, right, limit):\n    \
     merged = []\n    while left and right and len(merged) < limit:\n        if left[0].total <= \
     right[0].total:\n            merged.append(left.pop(0))\n        else:\n            \
     merged.append(right.pop(0))\n    merged.extend(left or right)\n    for order in merged:\n        \
     if order.total < 0:\n            raise ValueError(order)\n        order.seen = True\n    return \
     merged[:limit]\n```\n";

#[tokio::test]
async fn code_that_was_suggested_is_found_again_with_other_names() {
    let mut world = World::builder().audit().lineage().start().await.unwrap();
    world.upstream().script(Answer::text(SUGGESTED));
    world.caller("ana").chat("merge them").await.unwrap();
    world
        .rows("SELECT fingerprint FROM copilot_audit.lineage")
        .await;
    let code: String = SUGGESTED
        .split("```")
        .nth(1)
        .unwrap()
        .replace("python\n", "");
    let renamed = [
        ("merged", "all_of_them"),
        ("left", "a"),
        ("right", "b"),
        ("order", "item"),
    ]
    .iter()
    .fold(code, |code, (from, to)| code.replace(from, to));
    let file = world.folder().join("renamed.py");
    std::fs::write(&file, renamed).unwrap();
    let settings = world.sink().settings().clone();
    let lookup = |file: &std::path::Path| {
        let gate = Command::new(sink::program("gate").unwrap())
            .args(["lookup", "code", "--json", "--project", PROJECT])
            .args(["--dataset", &settings.dataset])
            .arg("--bigquery-rest")
            .arg(format!("http://{}", settings.rest))
            .arg(file)
            .output()
            .unwrap();
        (
            gate.status.code().unwrap(),
            String::from_utf8_lossy(&gate.stdout).into_owned(),
        )
    };
    let (status, said) = lookup(&file);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("\"ana\"") && said.contains("gd_"), "{said}");
    let (status, said) = lookup(&sink::repository().join("tests/cases/verify.rs"));
    assert_eq!(status, 1, "{said}");
}
