//! Recorded content goes by an officer's order, a hold is stronger, and `gate verify` tells both from
//! what nobody ordered.

use std::{process::Command, time::SystemTime};

use e2e::{
    sink,
    upstream::Answer,
    world::{OFFICER, PROJECT, World},
};
use serde_json::Value;

use crate::verify::{settle, verify};

const SUGGESTED: &str = "Here it is:\n```python\ndef merge_orders(left, right, limit):\n    \
     merged = []\n    while left and right and len(merged) < limit:\n        merged.append(left.pop(0))\n    \
     merged.extend(left or right)\n    return merged[:limit]\n```\n";

/// Status, and the JSON document or the text that the command prints.
fn gate(world: &mut World, words: &[&str]) -> (i32, Value) {
    let settings = world.sink().settings().clone();
    let mut command = Command::new(sink::program("gate").unwrap());
    command
        .args(words)
        .args(["--project", PROJECT, "--dataset", &settings.dataset])
        .arg("--bigquery-rest")
        .arg(format!("http://{}", settings.rest))
        .env("GATE_OFFICER_TOKEN", OFFICER);
    if !words.contains(&"list") {
        command
            .arg("--sink")
            .arg(format!("http://{}", settings.http));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    let document = serde_json::from_str(&text);
    let document = document.unwrap_or_else(|_| Value::String(format!("{text}{said}")));
    (output.status.code().unwrap(), document)
}

/// Whose rows have content, in the order of their arrival; and whose code has fingerprints.
async fn content(world: &World) -> (Vec<String>, Vec<String>) {
    let text = |rows: Vec<e2e::bigquery::Row>, name: &str| -> Vec<String> {
        let text = |row: &e2e::bigquery::Row| row[name].as_str().unwrap().to_owned();
        rows.iter().map(text).collect()
    };
    let sql = "SELECT person, kind FROM copilot_audit.records \
               WHERE request_content IS NOT NULL OR response_content IS NOT NULL \
               ORDER BY received_at, sink_seq";
    let content = world.query(sql).await.unwrap().rows;
    let sql = "SELECT person, decision_id FROM copilot_audit.lineage \
               GROUP BY person, decision_id ORDER BY MIN(sink_seq)";
    let code = world.query(sql).await.unwrap().rows;
    (text(content, "person"), text(code, "person"))
}

#[tokio::test]
async fn content_goes_by_order_and_stays_where_it_is_held() {
    let began = SystemTime::now();
    let mut world = World::builder().audit().lineage().start().await.unwrap();
    let mut between = String::new();
    for (number, person) in ["ana", "ana", "bo"].into_iter().enumerate() {
        world.upstream().script(Answer::text(SUGGESTED));
        let asked = format!("question {number}: merge them");
        world.caller(person).chat(&asked).await.unwrap();
        let seen = "SELECT decision_id FROM copilot_audit.lineage GROUP BY decision_id";
        world.rows_when(seen, |rows| rows.len() > number).await;
        if number == 0 {
            between = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        }
    }
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let all = names(&["ana", "ana", "ana", "ana", "bo", "bo"]); // open and close
    assert_eq!(content(&world).await, (all, names(&["ana", "ana", "bo"])));

    let hold = ["--order", "CASE-7", "--reason", "court order"];
    let place = ["hold", "place", "--person", "ana", "--to", &between];
    let (status, said) = gate(&mut world, &[&place[..], &hold].concat());
    assert_eq!(status, 0, "{said}");
    let (status, said) = gate(&mut world, &["hold", "list", "--json"]);
    assert_eq!(
        (status, &said["holds"][0]["order"]),
        (0, &"CASE-7".into()),
        "{said}"
    );

    let erase = ["erase", "--person", "ana", "--json"];
    let order = ["--order", "DPO-1", "--reason", "asked for", "--yes"];
    let ordered = [&erase[..], &order].concat();
    let (status, said) = gate(&mut world, &erase);
    assert_eq!(status, 0, "{said}");
    assert_eq!(
        (&said["to_erase"]["rows"], &said["held"]["rows"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        content(&world).await.0.len(),
        6,
        "a dry run changes nothing"
    );
    let (status, said) = gate(&mut world, &ordered);
    assert_eq!(status, 0, "{said}");
    assert_eq!(
        (&said["erased"]["rows"], &said["holds"][0]),
        (&2.into(), &"CASE-7".into())
    );
    let left = names(&["ana", "ana", "bo", "bo"]);
    assert_eq!(content(&world).await, (left, names(&["ana", "bo"])));
    assert_eq!(gate(&mut world, &ordered).0, 1, "the rest is held");
    let orders =
        "SELECT decision FROM copilot_audit.records WHERE kind = 'order' ORDER BY sink_seq";
    world.rows_when(orders, |rows| rows.len() == 3).await;
    settle().await;
    let verified = verify(&mut world, began);
    assert_eq!(verified.classes(), [""; 0], "{:#}", verified.report);
    assert_eq!(verified.report["counts"]["erased"], 2);

    let release = [&["hold", "release"][..], &hold].concat();
    assert_eq!(gate(&mut world, &release).0, 0);
    assert_eq!(gate(&mut world, &release).0, 1, "once");
    assert_eq!(gate(&mut world, &["hold", "list"]).0, 1);
    assert_eq!(gate(&mut world, &ordered).0, 0);
    let bo = (names(&["bo", "bo"]), names(&["bo"]));
    assert_eq!(content(&world).await, bo);
    settle().await;
    let verified = verify(&mut world, began);
    assert_eq!(verified.classes(), [""; 0], "{:#}", verified.report);
    assert_eq!(verified.report["counts"]["erased"], 4);

    let by_hand = "UPDATE copilot_audit.records SET request_content = NULL WHERE person = 'bo'";
    world.query(by_hand).await.unwrap();
    let verified = verify(&mut world, began);
    assert_eq!((verified.status, verified.classes()), (1, vec!["altered"]));
    let report = verified.report.to_string();
    assert!(report.contains("without an order"), "{report}");
}
