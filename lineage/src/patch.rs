//! The lines that a patch adds.

/// Lines that stand together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// File as the patch names it; empty if it does not.
    pub file: String,
    /// Number of each line in the file as it becomes, from 1; 0 if the patch does not say.
    pub lines: Vec<u32>,
    /// The lines.
    pub text: String,
}

/// The added lines of each hunk of a unified diff, or of a patch as models write it
/// (`*** Begin Patch`). Hunks that only take away give nothing.
pub fn added(patch: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut now = Part::default();
    let mut left: Option<Hunk> = None;
    for line in patch.lines() {
        if let Some(hunk) = &mut left {
            let added = hunk.take(line);
            if hunk.old == 0 && hunk.new == 0 {
                left = None;
            }
            if let Some((number, text)) = added {
                push(&mut now, number, text);
            }
        } else if let Some(name) = file_of(line) {
            finish(&mut parts, &mut now);
            now.file = name;
        } else if line.starts_with("@@") {
            finish(&mut parts, &mut now);
            left = hunk_of(line);
        } else if let Some(text) = line.strip_prefix('+') {
            push(&mut now, 0, text);
        }
    }
    finish(&mut parts, &mut now);
    parts
}

/// Lines of a hunk that are still to come.
struct Hunk {
    old: u32,
    new: u32,
    /// Number of the next new line.
    number: u32,
}

impl Hunk {
    /// Takes a line; gives it with its number if it is added.
    fn take<'l>(&mut self, line: &'l str) -> Option<(u32, &'l str)> {
        let number = self.number;
        let (takes_old, takes_new) = match line.chars().next() {
            Some('+') => (0, 1),
            Some('-') => (1, 0),
            Some('\\') => (0, 0),
            _ => (1, 1),
        };
        self.old = self.old.saturating_sub(takes_old);
        self.new = self.new.saturating_sub(takes_new);
        self.number = self.number.saturating_add(takes_new);
        Some((number, line.strip_prefix('+')?))
    }
}

fn push(part: &mut Part, number: u32, text: &str) {
    part.text.push_str(text);
    part.text.push('\n');
    part.lines.push(number);
}

fn finish(parts: &mut Vec<Part>, now: &mut Part) {
    let file = now.file.clone();
    let done = std::mem::take(now);
    now.file = file;
    if !done.text.trim().is_empty() {
        parts.push(done);
    }
}

fn file_of(line: &str) -> Option<String> {
    let name = FILES.iter().find_map(|mark| line.strip_prefix(mark))?;
    let name = name.split('\t').next().unwrap_or_default();
    Some(name.strip_prefix("b/").unwrap_or(name).to_owned())
}

/// Reads `@@ -1,2 +3,4 @@`.
fn hunk_of(line: &str) -> Option<Hunk> {
    let mut words = line.split(' ').skip(1);
    let mut range = |sign: char| {
        let range = words.next()?.strip_prefix(sign)?;
        let (first, count) = range.split_once(',').unwrap_or((range, "1"));
        Some((first.parse::<u32>().ok()?, count.parse::<u32>().ok()?))
    };
    let ((_, old), (number, new)) = (range('-')?, range('+')?);
    Some(Hunk { old, new, number })
}

const FILES: &[&str] = &["+++ ", "*** Add File: ", "*** Update File: "];

#[cfg(test)]
mod tests {
    use super::*;

    fn part(file: &str, lines: &[u32], text: &str) -> Part {
        Part {
            file: file.to_owned(),
            lines: lines.to_vec(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_hunk_gives_its_added_lines() {
        let diff = "diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,3 @@ def f():\n a\n-b\n+c\n+++ d\n@@ -9,1 +10,0 @@\n-e\n--- a/y\n+++ b/y\n@@ -0,0 +1 @@\n+f\n";
        assert_eq!(
            added(diff),
            [part("x.py", &[2, 3], "c\n++ d\n"), part("y", &[1], "f\n")]
        );
    }

    #[test]
    fn a_models_patch_is_read_too() {
        let patch = "*** Begin Patch\n*** Update File: a.rs\n@@ fn main()\n one\n-two\n+three\n*** Add File: b.rs\n+four\n*** End Patch";
        assert_eq!(
            added(patch),
            [part("a.rs", &[0], "three\n"), part("b.rs", &[0], "four\n")]
        );
    }
}
