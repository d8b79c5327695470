//! What an auditor asks by command: for a secret, for a conversation, for evidence of a time.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::SystemTime,
};

use e2e::{
    ports::free,
    sink,
    upstream::Answer,
    world::{AUDITOR_TOKEN, PROJECT, Ports, World},
};
use serde_json::Value;

use crate::{
    approvals::{TOKEN, rules},
    verify::{settle, verifying},
};

/// Runs `gate` on the world's views; gives its exit status and its JSON document.
fn ask(world: &mut World, arguments: &[&str], input: &str) -> (i32, Value) {
    let settings = world.sink().settings().clone();
    let mut gate = Command::new(sink::program("gate").unwrap())
        .args(arguments)
        .args(["--json", "--project", PROJECT])
        .args(["--views-dataset", &settings.views])
        .arg("--bigquery-rest")
        .arg(format!("http://{}", settings.rest))
        .env("GATE_AUDITOR_TOKEN", AUDITOR_TOKEN)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = gate.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = gate.wait_with_output().unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), document)
}

/// Ana's risky question is approved by Bo; gives the world, and when it began.
async fn approved() -> (World, SystemTime) {
    let began = SystemTime::now();
    let approvals = free().unwrap();
    let ports = Ports {
        approvals,
        ..Ports::default()
    };
    let world = World::builder().desk().audit().ports(ports);
    let world = world.configure(rules("content", "50s", approvals));
    let world = world.start().await.unwrap();
    let (ana, bo) = (world.caller("ana"), world.approver("bo"));
    world.upstream().script(Answer::text("Here you are."));
    let risky = format!("what is {TOKEN} for?");
    let (answer, granted) = tokio::join!(ana.chat(&risky), bo.grant_next());
    granted.unwrap();
    assert_eq!(answer.unwrap().status, 200);
    let all = "SELECT seq FROM copilot_audit_views.exchanges WHERE kind = 'close'";
    world.rows_when(all, |rows| rows.len() == 1).await;
    (world, began)
}

#[tokio::test]
async fn who_sent_a_secret_and_in_which_conversation() {
    let (mut world, _) = approved().await;
    let sink = format!("http://{}", world.sink().settings().http);
    let (status, found) = ask(&mut world, &["lookup", "secret", "--sink", &sink], TOKEN);
    assert_eq!(status, 0, "{found:#}");
    let exposure = &found["exposures"][0];
    assert_eq!(exposure["person"], "ana", "{found:#}");
    assert_eq!(exposure["detector"], "github-pat", "{found:#}");
    let id = exposure["decision_ids"][0].as_str().unwrap().to_owned();
    let other = TOKEN.replace('Z', "Y");
    let (status, found) = ask(&mut world, &["lookup", "secret", "--sink", &sink], &other);
    assert_eq!(status, 1, "{found:#}");
    let asked = "SELECT person, findings_count FROM copilot_audit.records WHERE kind = 'lookup'";
    let asked = world.rows_when(asked, |rows| rows.len() == 2).await;
    assert_eq!(asked[0]["person"], "kim");

    let (status, session) = ask(&mut world, &["session", &id, "--content"], "");
    assert_eq!(status, 0, "{session:#}");
    let said = session.to_string();
    assert!(
        said.contains("Here you are.") && said.contains("what is "),
        "{said}"
    );
    let (status, _) = ask(
        &mut world,
        &["session", "gd_aaaaaaaaaaaaaaaaaaaaaaaaaa"],
        "",
    );
    assert_eq!(status, 1);
    assert_eq!(world.leaks(TOKEN).await, Vec::<String>::new());
}

#[tokio::test]
async fn evidence_of_a_time_is_a_folder_to_hand_on() {
    let (mut world, began) = approved().await;
    settle().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("evidence");
    let views = world.sink().settings().views.clone();
    let mut gate = verifying("evidence", &mut world, began);
    let output = gate
        .args(["--views-dataset", &views])
        .arg("--out")
        .arg(&out);
    let output = output.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: Value = serde_json::from_slice(&output.stdout).expect(&said);
    assert_eq!(told["verify"]["verdict"], "complete", "{told:#}");
    assert_eq!(output.status.code(), Some(0));

    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(&out)
        .status();
    assert!(checked.unwrap().success());
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let row = |name: &str| -> Value {
        let document: Value = serde_json::from_str(&read(&format!("{name}.json"))).unwrap();
        document["rows"][0].clone()
    };
    let approval = row("approvals");
    assert_eq!(approval["person"], "ana", "{approval}");
    let by = approval["approved_by"].as_str().unwrap();
    assert!(by.ends_with("#bo"), "{approval}");
    assert_eq!(approval["states"], "granted", "{approval}");
    let secret = row("detectors");
    assert_eq!(secret["detector"], "github-pat", "{secret}");
    let policy = row("policies");
    assert_eq!(policy["policy_digest"], approval["policy_digest"]);
    let digest = policy["policy_digest"].as_str().unwrap();
    let policy: Value = serde_json::from_str(&read(&format!("policies/{digest}.json"))).unwrap();
    assert_eq!(policy["rules"][0]["name"], "secrets");
    let page = read("index.html");
    for words in ["Complete: nothing is missing", "github-pat", digest] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let sums = read("SHA256SUMS");
    for name in sums.lines().map(|line| line.split_once("  ").unwrap().1) {
        let text = read(name);
        assert!(
            !text.contains("Here you are") && !text.contains(TOKEN),
            "{name}"
        );
    }

    let mut again = verifying("evidence", &mut world, began);
    let output = again.arg("--out").arg(&out).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
}
