//! `gate detectors`: what the gateway masks, from the table that masks it.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use filter_core::mask::{Class, Description, descriptions};
use serde_json::json;

/// How to show the table.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows every detector: its name in findings and placeholders, what it looks for, what a value must
pass besides, and the most bytes that a stream keeps back for it.

Example: gate detectors | grep aws")]
pub(crate) struct Arguments {
    /// Print the page of the documentation
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let text = if arguments.markdown {
        page()
    } else if arguments.json {
        document()
    } else {
        table()
    };
    let written = io::stdout().write_all(text.as_bytes());
    ExitCode::from(if written.is_ok() { 0 } else { 3 })
}

/// One line for each detector.
fn table() -> String {
    let width = descriptions().map(|it| it.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for it in descriptions() {
        let (name, class, form) = (it.name, it.class.words(), it.form.replace('`', ""));
        let pack = it.pack.name();
        let _written = writeln!(text, "{name:width$}  {pack:10}  {class:15}  {form}");
    }
    text
}

fn document() -> String {
    let detectors = descriptions().map(|it| {
        json!({
            "name": it.name,
            "class": it.class.words(),
            "pack": it.pack.name(),
            "form": it.form.replace('`', ""),
            "check": it.check.replace('`', ""),
            "held_bytes": it.held_bytes,
        })
    });
    let document = json!({ "detectors": detectors.collect::<Vec<_>>() });
    format!("{document:#}\n")
}

const HEAD: &str = "\
# What is masked

This page is written by `gate detectors --markdown`. It lists every detector of the gateway, in the
order in which they are tried. A finding carries the detector's name; a placeholder carries it in
upper case, as in `MASKED_GITHUB_PAT_…`. It belongs to a *pack*, which `masking.packs` turns on and
off; `pii` is off unless it is asked for. *Held* is the most bytes of a stream that wait until the
detector has decided; what follows in the same alphabet belongs to the value and waits for nothing.

Whatever the form, these are never values: placeholders (`<token>`, `xxxx`, `changeme`), references
(`${TOKEN}`, `{{ token }}`, `process.env.TOKEN`), published examples, and names or words.
";

const CLASSES: [(Class, &str); 4] = [
    (
        Class::VendorToken,
        "\n## Vendors' tokens\n\nThese show themselves by their form, wherever they stand.\n",
    ),
    (
        Class::Structure,
        "\n## Structures\n\nForms that no vendor owns.\n",
    ),
    (
        Class::NamedValue,
        "\n## Named values\n\nWhat stands behind a key name: `name = \"…\"`, `name: …`, `--name …`, \
         `\"name\": \"…\"`,\n`<name>…</name>` and the like. A name counts in every spelling and with \
         words before it:\n`apikey` is also `API_KEY`, `apiKey` and `MAPS_API_KEY_2`. The first row \
         that has the name takes it.\n",
    ),
    (
        Class::PersonalNumber,
        "\n## Personal numbers\n\nOf people and their accounts, told by their check digits; not in \
         longer numbers, words or paths, and\nnot those that are published for tests. An id of a nation \
         must stand behind its name, in code or prose:\n`ssn` is also `customerSSN`, `user_ssn` and \
         *my SSN number is*; the next of a list needs no name.\n",
    ),
];

fn page() -> String {
    let mut text = HEAD.to_owned();
    for (class, head) in CLASSES {
        text.push_str(head);
        text.push_str(
            "\n| Detector | Pack | Looks for | Checked | Held |\n| --- | --- | --- | --- | --- |\n",
        );
        for it in descriptions().filter(|it| it.class == class) {
            text.push_str(&row(&it));
        }
    }
    text
}

fn row(it: &Description) -> String {
    let (name, pack, check, held) = (it.name, it.pack.name(), it.check, it.held_bytes);
    let form = it.form.replace('|', "\\|").replace('\n', "\\n");
    format!("| {name} | {pack} | {form} | {check} | {held} |\n")
}
