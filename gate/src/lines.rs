//! JSON lines in, JSON lines out.

use std::io::{BufRead, Write};

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Answers each line of `input`; an empty one is passed over.
///
/// # Errors
///
/// Names the first line that is not what it must be, never what stands in it.
pub(crate) fn answer<T: DeserializeOwned>(
    input: impl BufRead,
    mut out: impl Write,
    wanted: &str,
    mut answer: impl FnMut(T) -> Value,
) -> anyhow::Result<()> {
    for (number, line) in input.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read line {}", number + 1))?;
        if line.trim().is_empty() {
            continue;
        }
        let Ok(question) = serde_json::from_str(&line) else {
            return Err(anyhow!("line {} is not {wanted}", number + 1));
        };
        writeln!(out, "{}", answer(question)).context("cannot write")?;
    }
    Ok(())
}
