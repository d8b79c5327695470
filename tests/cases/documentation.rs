//! Every example in the documentation is run.

use std::{fs, path::PathBuf, process::Command};

use e2e::{sink::repository, world::World};

/// Pages for people, from the repository's root.
const PAGES: [&str; 16] = [
    "README.md",
    "ARCHITECTURE.md",
    "docs/operator.md",
    "docs/configuration.md",
    "docs/auditor.md",
    "docs/auditor-sql.md",
    "docs/clients.md",
    "docs/approver.md",
    "docs/developers.md",
    "docs/erasure.md",
    "docs/threat-model.md",
    "docs/performance.md",
    "docs/scan.md",
    "docs/detectors.md",
    "docs/sink.md",
    "docs/streaming.md",
];

/// An example: its page, its language, its text.
struct Example {
    page: &'static str,
    language: String,
    text: String,
}

fn page(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap()
}

fn examples(language: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    for name in PAGES {
        let text = page(name);
        // Every second part between fences is an example; its first line names its language.
        for block in text.split("```").skip(1).step_by(2) {
            let (first, rest) = block.split_once('\n').unwrap();
            if first == language {
                examples.push(Example {
                    page: name,
                    language: first.to_owned(),
                    text: rest.to_owned(),
                });
            }
        }
    }
    assert!(!examples.is_empty(), "no example in {language}");
    examples
}

fn program(name: &str) -> PathBuf {
    e2e::sink::program(name).unwrap()
}

#[test]
fn every_configuration_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for (number, example) in examples("yaml").iter().enumerate() {
        let file = folder.path().join(format!("{number}.yaml"));
        fs::write(&file, &example.text).unwrap();
        let gate = Command::new(program("gate"))
            .arg("check")
            .arg(&file)
            .output();
        let gate = gate.unwrap();
        let said = String::from_utf8_lossy(&gate.stdout).into_owned();
        assert!(gate.status.success(), "{}: {said}", example.page);
    }
}

#[test]
fn every_setting_is_json() {
    for example in examples("json") {
        let value = serde_json::from_str::<serde_json::Value>(&example.text);
        assert!(value.is_ok(), "{}: {value:?}", example.page);
    }
}

#[test]
fn every_command_is_one_that_there_is() {
    let makefile = page("Makefile");
    for example in examples("sh") {
        for line in example.text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match *words.as_slice() {
                ["make", target, ref variables @ ..] => {
                    let set = |word: &&str| word.split_once('=').is_some();
                    assert!(variables.iter().all(set), "{}: {line}", example.page);
                    let rule = format!("\n{target}:");
                    assert!(makefile.contains(&rule), "{}: {line}", example.page);
                }
                [
                    name @ ("gate" | "bigquery-sink" | "approvals"),
                    ref arguments @ ..,
                ] => {
                    let mut command = Command::new(program(name));
                    command.args(arguments).current_dir(repository());
                    let output = command.output().unwrap();
                    assert!(output.status.success(), "{}: {line}", example.page);
                }
                _ => panic!(
                    "{}: nobody knows {line} ({})",
                    example.page, example.language
                ),
            }
        }
    }
}

#[test]
fn every_target_and_file_that_is_named_is_there() {
    let makefile = page("Makefile");
    for name in PAGES {
        for part in page(name).split("`make ").skip(1) {
            let target: String = part
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            let there = target.is_empty() || makefile.contains(&format!("\n{target}:"));
            assert!(there, "{name}: make {target}");
        }
        let prose: String = page(name).split('`').step_by(2).collect(); // not what is in code
        for part in prose.split("](").skip(1) {
            let link = part.split(')').next().unwrap();
            let folder = repository().join(name);
            assert!(
                folder.parent().unwrap().join(link).exists(),
                "{name}: {link}"
            );
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_explained() {
    let text = page("docs/configuration.md");
    let raw = fs::read_to_string(repository().join("filter/core/src/config/raw.rs")).unwrap();
    let fields = raw.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("    pub ")?.split_once(": ")?;
        (!kind.is_empty()).then_some(name)
    });
    let mut count = 0;
    for field in fields {
        count += 1;
        assert!(
            text.contains(&format!("{field}`"))
                || text.contains(&format!("{field}."))
                || text.contains(&format!("{field}[]")),
            "{field}"
        );
    }
    assert!(count > 30, "{count}");
}

#[tokio::test]
async fn every_question_is_answered() {
    let world = World::builder().audit().lineage().start().await.unwrap();
    let secret = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");
    world
        .caller("ana")
        .chat(&format!("explain {secret} "))
        .await
        .unwrap();
    world
        .rows("SELECT seq FROM copilot_audit_views.exchanges")
        .await;
    for example in examples("sql") {
        let rows = world.query(&example.text).await;
        assert!(rows.is_ok(), "{}: {rows:?}: {}", example.page, example.text);
        if example.text.contains("person = 'ana'")
            || example.text.contains("COUNT(DISTINCT fingerprint)")
        {
            assert!(
                !rows.unwrap().rows.is_empty(),
                "{}: {}",
                example.page,
                example.text
            );
        }
    }
}
