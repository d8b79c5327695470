//! What the sink makes of the options of tables, by the requests that it sends: the emulator drops
//! most of it.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    fake::Fake,
    world::{Filter, PROJECT, Sink, eventually},
};

const TAG: &str = "projects/test-project/locations/eu/taxonomies/12/policyTags/34";
const KEY: &str = "projects/test-project/locations/eu/keyRings/ring/cryptoKeys/audit";

const ALL: [&str; 7] = [
    "--lineage",
    "--content-policy-tag",
    TAG,
    "--kms-key",
    KEY,
    "--retention",
    "400",
];

const CONTENT: [&str; 2] = ["request_content", "response_content"];

fn ms(days: u64) -> String {
    (days * 86_400_000).to_string()
}

/// Bodies of the requests with this method whose path ends so.
fn sent(fake: &Fake, method: &Method, end: &str) -> Vec<Value> {
    let world = fake.world();
    let found = world
        .rest
        .iter()
        .filter(|(its, path, _)| its == method && path.ends_with(end));
    found.map(|(_, _, body)| body.clone()).collect()
}

/// The tag of each column that has one.
fn tags(fields: &Value) -> Vec<(&str, &str)> {
    let fields = fields.as_array().unwrap().iter();
    fields
        .filter_map(|field| {
            let tag = field.pointer("/policyTags/names/0")?.as_str()?;
            Some((field["name"].as_str()?, tag))
        })
        .collect()
}

/// Rows go in with no option; then the sink is started with `more`.
async fn restarted(before: &[&str], change: impl Fn(&mut Value), more: &[&str]) -> (Fake, Sink) {
    let fake = Fake::start().await;
    let mut sink = Sink::start(fake.rest, fake.grpc, "audit", before).await;
    sink.send(Filter::new(1).records(3)).await.unwrap();
    sink.drained(3.0).await;
    assert!(sink.stop().await.success());
    {
        let mut world = fake.world();
        world.tables.values_mut().for_each(change);
        world.rest.clear();
    }
    let mut sink = sink.with(more);
    sink.try_run();
    (fake, sink)
}

#[tokio::test]
async fn tables_are_made_with_the_options() {
    let fake = Fake::start().await;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &ALL).await;
    sink.send(Filter::new(1).records(3)).await.unwrap();
    sink.drained(3.0).await;
    let made = eventually("both tables are made", async || {
        let made = sent(&fake, &Method::POST, "/tables");
        (made.len() == 2).then_some(made)
    })
    .await;
    for table in &made {
        let partitioning = json!({"type": "DAY", "field": "received_at", "expirationMs": ms(400)});
        assert_eq!(table["timePartitioning"], partitioning);
        assert_eq!(
            table["encryptionConfiguration"],
            json!({ "kmsKeyName": KEY })
        );
        assert_eq!(table["requirePartitionFilter"], true);
    }
    assert_eq!(
        tags(&made[0]["schema"]["fields"]),
        CONTENT.map(|name| (name, TAG))
    );
    assert_eq!(tags(&made[1]["schema"]["fields"]), []);
    assert_eq!(
        sent(&fake, &Method::PATCH, "/tables/records"),
        [Value::Null; 0]
    );
}

#[tokio::test]
async fn without_options_nothing_is_asked_for_or_taken_away() {
    let tagged = |table: &mut Value| {
        table["timePartitioning"]["expirationMs"] = json!(ms(90));
        table["encryptionConfiguration"] = json!({ "kmsKeyName": KEY });
        let fields = table["schema"]["fields"].as_array_mut().unwrap();
        fields[0]["policyTags"] = json!({ "names": ["theirs"] });
        fields.retain(|field| field["name"] != "initiator");
    };
    let (fake, sink) = restarted(&[], tagged, &[]).await;
    sink.until_ready().await;
    let patches = sent(&fake, &Method::PATCH, "/tables/records");
    assert_eq!(patches.len(), 1, "the column that was gone");
    assert_eq!(patches[0].as_object().unwrap().len(), 1, "only the columns");
    let fields = &patches[0]["schema"]["fields"];
    let first = fields[0]["name"].as_str().unwrap();
    assert_eq!(tags(fields), [(first, "theirs")], "others' tags stay");
}

#[tokio::test]
async fn tables_are_brought_up_to_date_once() {
    let shorter = |table: &mut Value| {
        table["timePartitioning"]["expirationMs"] = json!(ms(30));
        table["encryptionConfiguration"] =
            json!({ "kmsKeyName": format!("{KEY}/cryptoKeyVersions/1") });
    };
    let (fake, mut sink) = restarted(&[], shorter, &ALL).await;
    sink.until_ready().await;
    let patches = sent(&fake, &Method::PATCH, "/tables/records");
    assert_eq!(patches.len(), 1);
    assert_eq!(
        tags(&patches[0]["schema"]["fields"]),
        CONTENT.map(|name| (name, TAG))
    );
    let partitioning = json!({"type": "DAY", "field": "received_at", "expirationMs": ms(400)});
    assert_eq!(patches[0]["timePartitioning"], partitioning);
    let columns = patches[0]["schema"]["fields"].as_array().unwrap();
    assert_eq!(columns.len(), contract::columns().len());

    assert!(sink.stop().await.success());
    sink.run().await;
    sink.until_ready().await;
    let patches = sent(&fake, &Method::PATCH, "/tables/records");
    assert_eq!(patches.len(), 1, "the second time there is nothing to do");
}

#[tokio::test]
async fn what_would_delete_rows_or_cannot_be_ends_the_start() {
    let keeps = |days: Option<u64>| {
        move |table: &mut Value| {
            table["timePartitioning"]["expirationMs"] = json!(days.map(ms));
        }
    };
    let retention = ["--retention", "400"];
    for (days, words) in [(None, "for ever"), (Some(401), "for 401 days")] {
        let (fake, mut sink) = restarted(&[], keeps(days), &retention).await;
        let ended = eventually("it ends", async || sink.ended()).await;
        assert_eq!(ended.code(), Some(2));
        let log = sink.log();
        assert!(
            log.contains(words) && log.contains("--shorten-retention"),
            "{log}"
        );
        assert_eq!(
            sent(&fake, &Method::PATCH, "/tables/records"),
            [Value::Null; 0]
        );

        let mut sink = sink.with(&["--shorten-retention"]);
        sink.run().await;
        sink.until_ready().await;
        let patches = sent(&fake, &Method::PATCH, "/tables/records");
        assert_eq!(patches.len(), 1);
        assert_eq!(patches[0]["timePartitioning"]["expirationMs"], ms(400));
        assert!(sink.log().contains("rows are kept for less time"));
    }
    for found in [Value::Null, json!({ "kmsKeyName": "projects/p/other" })] {
        let of_another = |table: &mut Value| table["encryptionConfiguration"] = found.clone();
        let (fake, mut sink) = restarted(&[], of_another, &["--kms-key", KEY]).await;
        let ended = eventually("it ends", async || sink.ended()).await;
        assert_eq!(ended.code(), Some(2));
        assert!(sink.log().contains("give --kms-key the table's key"));
        assert_eq!(
            sent(&fake, &Method::PATCH, "/tables/records"),
            [Value::Null; 0]
        );
    }
}

#[tokio::test]
async fn a_conflict_that_comes_later_ends_nothing() {
    let fake = Fake::start().await;
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &["--retention", "400"]).await;
    sink.until_ready().await;
    {
        let mut world = fake.world();
        let table = world.tables.get_mut("records").unwrap();
        table["timePartitioning"]["expirationMs"] = json!(ms(500));
        table["schema"]["fields"].as_array_mut().unwrap().pop();
    }
    sink.send(Filter::new(1).records(3)).await.unwrap();
    eventually("it says so", async || {
        sink.log().contains("for 500 days").then_some(())
    })
    .await;
    fake.world().tables.get_mut("records").unwrap()["timePartitioning"]["expirationMs"] =
        json!(ms(400));
    sink.drained(3.0).await;
}

#[tokio::test]
async fn views_are_authorized_and_all_other_entries_stay() {
    let fake = Fake::start().await;
    let theirs = json!([
        { "role": "OWNER", "specialGroup": "projectOwners" },
        { "role": "READER", "userByEmail": "a@example.com",
          "condition": { "expression": "request.time < timestamp('2030-01-01T00:00:00Z')" } },
        { "view": { "projectId": "p", "datasetId": "other", "tableId": "exchanges" } },
    ]);
    {
        let mut world = fake.world();
        world.dataset("audit", &json!({ "access": theirs }));
        world.meddle = 2;
    }
    let mut sink = Sink::start(fake.rest, fake.grpc, "audit", &[]).await;
    sink.until_ready().await;
    let authorized = || fake.world().datasets["audit"]["access"].clone();
    let mut expected = theirs.as_array().unwrap().clone();
    for who in ["1@example.com", "0@example.com"] {
        expected.push(json!({ "role": "READER", "userByEmail": who }));
    }
    for (kind, id, name) in [
        ("view", "tableId", "exchanges"),
        ("routine", "routineId", "exchanges_between"),
        ("view", "tableId", "findings"),
        ("routine", "routineId", "findings_between"),
        ("view", "tableId", "repeats"),
        ("view", "tableId", "gaps"),
        ("view", "tableId", "epochs"),
        ("view", "tableId", "policies"),
        ("view", "tableId", "approvals"),
    ] {
        let view = json!({ "projectId": PROJECT, "datasetId": "audit_views", id: name });
        expected.push(json!({ kind: view }));
    }
    assert_eq!(authorized(), json!(expected));
    assert_eq!(sent(&fake, &Method::PATCH, "/datasets/audit").len(), 3);
    assert!(sink.stop().await.success());
    sink.run().await;
    sink.until_ready().await;
    assert_eq!(
        sent(&fake, &Method::PATCH, "/datasets/audit").len(),
        3,
        "nothing is left to do"
    );
    assert_eq!(fake.world().violations, [""; 0]);
}

#[tokio::test]
async fn rows_are_loaded_also_without_the_right_to_authorize_views() {
    let fake = Fake::start().await;
    fake.world().refuse_access = Some("accessDenied");
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &[]).await;
    sink.send(Filter::new(1).records(3)).await.unwrap();
    sink.drained(3.0).await;
    assert!(sink.log().contains("bigquery.datasets.update"));
    // A list that cannot be read is not written.
    let fake = Fake::start().await;
    fake.world().dataset("audit", &json!({ "access": 0 }));
    let sink = Sink::start(fake.rest, fake.grpc, "audit", &[]).await;
    sink.until_ready().await;
    assert!(sink.log().contains("authorize each view there yourself"));
    assert_eq!(
        sent(&fake, &Method::PATCH, "/datasets/audit"),
        [Value::Null; 0]
    );
}
