//! `gate check`: a configuration, alone or inside an Envoy bootstrap.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use filter_core::config::{Config, Fault};
use serde_json::{Value, json};

/// `root_id` of the filter's plugin in a bootstrap.
const ROOT_ID: &str = "gate";

/// What to check.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILE is YAML or JSON: the filter's configuration alone, or a whole Envoy bootstrap or listener, in
which every plugin with `root_id: gate` is checked.

Example: gate check envoy/gateway.yaml")]
pub(crate) struct Arguments {
    /// The file to check
    file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One configuration that was found, and what came of it.
struct Checked {
    place: String,
    result: Result<Config, Vec<Fault>>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let checked = match check(&arguments.file) {
        Ok(checked) => checked,
        Err(error) => return crate::report("gate check", &error),
    };
    let good = checked.iter().all(|checked| checked.result.is_ok());
    let text = if arguments.json {
        format!("{}\n", document(&checked, good))
    } else {
        report(&arguments.file, &checked)
    };
    if out.write_all(text.as_bytes()).is_err() {
        return ExitCode::from(crate::UNDECIDED);
    }
    ExitCode::from(if good { 0 } else { 2 })
}

fn check(file: &Path) -> anyhow::Result<Vec<Checked>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let tree: Value = serde_saphyr::from_str(&text)
        .with_context(|| format!("{} is neither YAML nor JSON", file.display()))?;
    if tree.get("version").is_some() || tree.get("deployment").is_some() {
        let result = Config::from_value(tree);
        let place = "configuration".to_owned();
        return Ok(vec![Checked { place, result }]);
    }
    let mut found = Vec::new();
    plugins(&tree, "", &mut found);
    if found.is_empty() {
        bail!(
            "{} is neither a configuration (it has no `version`) nor an Envoy file with a plugin \
             of `root_id: {ROOT_ID}`",
            file.display()
        );
    }
    Ok(found)
}

/// Finds the filter's plugins in a tree, wherever they stand.
fn plugins(tree: &Value, path: &str, found: &mut Vec<Checked>) {
    match tree {
        Value::Object(map) => {
            if map.get("root_id").and_then(Value::as_str) == Some(ROOT_ID)
                && map.contains_key("vm_config")
            {
                found.push(Checked {
                    place: path.trim_start_matches('.').to_owned(),
                    result: plugin(map.get("configuration")),
                });
            }
            for (key, value) in map {
                plugins(value, &format!("{path}.{key}"), found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                plugins(value, &format!("{path}[{index}]"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The configuration of one plugin: a `StringValue` that holds JSON, or a `Struct`.
fn plugin(configuration: Option<&Value>) -> Result<Config, Vec<Fault>> {
    let value = configuration.and_then(|any| any.get("value"));
    match value {
        Some(Value::String(text)) => Config::from_bytes(text.as_bytes()),
        Some(tree) => Config::from_value(tree.clone()),
        None => Err(vec![Fault {
            path: "configuration".to_owned(),
            reason: "missing: neither a google.protobuf.Struct nor a StringValue".to_owned(),
        }]),
    }
}

fn report(file: &Path, checked: &[Checked]) -> String {
    let lines = checked.iter().map(|checked| match &checked.result {
        Ok(config) => format!(
            "{}: good\n  {}\n  deployment {}, {} role(s), {} rule(s), policy {}\n",
            file.display(),
            checked.place,
            config.deployment,
            config.roles.len(),
            config.rules.len(),
            config.policy_digest
        ),
        Err(faults) => {
            let head = format!("{}: refused\n  {}\n", file.display(), checked.place);
            faults
                .iter()
                .fold(head, |text, fault| format!("{text}    {fault}\n"))
        }
    });
    lines.collect()
}

fn document(checked: &[Checked], good: bool) -> Value {
    let configurations = checked.iter().map(|checked| match &checked.result {
        Ok(config) => json!({
            "place": checked.place,
            "good": true,
            "deployment": config.deployment,
            "policy_digest": config.policy_digest,
            "faults": [],
        }),
        Err(faults) => json!({
            "place": checked.place,
            "good": false,
            "faults": faults
                .iter()
                .map(|fault| json!({ "path": fault.path, "reason": fault.reason }))
                .collect::<Vec<_>>(),
        }),
    });
    json!({ "good": good, "configurations": configurations.collect::<Vec<_>>() })
}
