//! How well edited suggestions are found again, and how often other code is taken for one.
//!
//! Packages are dealt by their owners into three heaps: suggestions are cut from the first, other code
//! from the second, and what packages of several owners of the third have is common. A false match is
//! a piece of 30 lines from the second heap for which any suggestion is named. Pairs that have four
//! long lines in common, or are of two versions of one file, are counted apart as copies, which real
//! code has. Files that say that a program wrote them are left out.
//!
//! ```text
//! cargo run --release -p lineage --example measure -- --language rust FOLDER…
//! ```

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program for people who measure"
)]

mod edit;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use clap::Parser;
use lineage::{Limit, Query, Row, SCHEMES, Suggestion};
use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};

use crate::edit::{KINDS, Language};

#[derive(Debug, Parser)]
struct Arguments {
    /// python, rust, javascript, typescript, go, java or c
    #[arg(long)]
    language: String,
    /// Suggestions in the store
    #[arg(long, default_value_t = 500)]
    suggestions: usize,
    /// Pieces of other code
    #[arg(long, default_value_t = 3000)]
    others: usize,
    /// Files that tell what is common
    #[arg(long, default_value_t = 1000)]
    files: usize,
    /// A fingerprint in these files of so many families is common; 0: none is
    #[arg(long, default_value_t = 3)]
    common: usize,
    /// Common is what this library says, and not what is found
    #[arg(long)]
    shipped: bool,
    /// Adds the most common fingerprints of the third heap to a file, at most so many, and ends
    #[arg(long, value_name = "FILE")]
    write_common: Option<PathBuf>,
    #[arg(long, default_value_t = 20_000)]
    at_most: usize,
    /// Lines of a suggestion, least and most
    #[arg(long, default_value_t = 8)]
    least: usize,
    #[arg(long, default_value_t = 30)]
    most: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Another limit, such as shape12.1=5:0.5
    #[arg(long, value_parser = limit)]
    limit: Vec<Limit>,
    /// Only packages of one half, 0 or 1: limits are found on one and judged on the other
    #[arg(long)]
    half: Option<u64>,
    /// Prints so many false matches
    #[arg(long, default_value_t = 0)]
    print: usize,
    /// Folders with code
    folders: Vec<PathBuf>,
}

fn main() {
    let arguments = Arguments::parse();
    let language = Language::of(&arguments.language);
    let mut random = StdRng::seed_from_u64(arguments.seed);
    let mut heaps: [Vec<(PathBuf, String)>; 3] = Default::default();
    let mut families: HashMap<PathBuf, String> = HashMap::new();
    for folder in &arguments.folders {
        for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
            let Ok(entry) = entry else { continue };
            if entry.file_type().is_file() && is_code(entry.path(), &language) {
                let package = package_of(folder, entry.path());
                let family = families
                    .entry(package)
                    .or_insert_with_key(|package| family_of(package));
                let (heap, half) = heap_of(family);
                if heap == 2 || arguments.half.is_none_or(|wanted| wanted == half) {
                    heaps[heap].push((entry.into_path(), family.clone()));
                }
            }
        }
    }
    let files = if arguments.shipped {
        0
    } else {
        arguments.files
    };
    let texts = [600, 600, files];
    let mut take = |heap: usize| -> Vec<File> {
        heaps[heap].shuffle(&mut random);
        let texts_of_heap = heaps[heap].iter().filter_map(File::read);
        texts_of_heap.take(texts[heap]).collect::<Vec<_>>()
    };
    let (first, second, third) = (take(0), take(1), take(2));
    let mut cut = |files: &[File], count: usize, least: usize, most: usize| {
        let mut pieces = Vec::new();
        while pieces.len() < count {
            let file = random.random_range(0..files.len());
            let lines: Vec<&str> = files[file].text.lines().collect();
            let length = random.random_range(least..=most).min(lines.len());
            let start = random.random_range(0..=lines.len() - length);
            let piece = lines[start..start + length].join("\n");
            let bytes: usize = piece.split_whitespace().map(str::len).sum();
            if bytes >= 12 * least {
                let before = lines[..start].join("\n");
                pieces.push(Piece {
                    file,
                    inside: edit::inside(&before, &language),
                    text: piece,
                });
            }
        }
        pieces
    };
    let suggestions = cut(
        &first,
        arguments.suggestions,
        arguments.least,
        arguments.most,
    );
    let others = cut(&second, arguments.others, 30, 30);

    let mut families_with: HashMap<i64, HashSet<&str>> = HashMap::new();
    for file in &third {
        let mut query = Query::default();
        query.add(&file.text);
        for value in query.fingerprints() {
            families_with.entry(value).or_default().insert(&file.family);
        }
    }
    let common = families_with.into_iter();
    let common = common.map(|(value, families)| (value, families.len()));
    let common =
        common.filter(|(_, families)| arguments.common > 0 && *families >= arguments.common);
    if let Some(file) = &arguments.write_common {
        return write_common(file, common.collect(), arguments.at_most);
    }
    let common: HashSet<i64> = if arguments.shipped {
        lineage::common()
    } else {
        common.map(|(value, _)| value).collect()
    };
    // The first that is found counts.
    let limits = arguments.limit.iter().copied().chain(Limit::ALL).collect();
    let store = Store::of(&suggestions, common, limits);
    let bytes: usize = suggestions.iter().map(|piece| piece.text.len()).sum();
    let owners = |files: &[File]| {
        let families: HashSet<&str> = files.iter().map(|file| file.family.as_str()).collect();
        families.len()
    };
    println!("owners of packages {} {}", owners(&first), owners(&second));
    println!(
        "{}: files {} {} {}, {} suggestions of {} bytes, {} fingerprints per KB, {} common",
        arguments.language,
        first.len(),
        second.len(),
        third.len(),
        suggestions.len(),
        bytes / suggestions.len(),
        store.rows.values().map(Vec::len).sum::<usize>() * 1024 / bytes,
        store.common.len(),
    );

    let mut names: Vec<Vec<&str>> = SCHEMES.iter().map(|scheme| vec![scheme.name]).collect();
    names.push(SCHEMES.iter().map(|scheme| scheme.name).collect());
    let mut context = |edited: &str| {
        let lines: Vec<&str> = second.choose(&mut random).unwrap().text.lines().collect();
        let middle = random.random_range(0..lines.len());
        let (before, after) = lines.split_at(middle);
        let before = &before[middle.saturating_sub(100)..];
        let after = &after[..after.len().min(100)];
        format!("{}\n{edited}\n{}", before.join("\n"), after.join("\n"))
    };
    let mut table: Vec<(String, Vec<Vec<usize>>)> = Vec::new();
    let mut edits = StdRng::seed_from_u64(arguments.seed + 1000);
    for kind in KINDS {
        let edited = suggestions
            .iter()
            .map(|piece| edit::apply(kind, &piece.text, piece.inside, &language, &mut edits));
        let edited: Vec<String> = edited.collect();
        table.push((
            (*kind).to_owned(),
            edited
                .iter()
                .map(|code| store.ask(code))
                .flat_map(|found| per_scheme(&found))
                .collect(),
        ));
        if *kind == "all names" {
            let within = edited.iter().map(|code| context(code));
            let found = within
                .map(|code| store.ask(&code))
                .flat_map(|found| per_scheme(&found));
            table.push(("all names, within a file".to_owned(), found.collect()));
        }
    }
    let sets = names.len();
    print!("{:28}", "% found");
    for name in &names {
        print!("{:>11}", if name.len() == 1 { name[0] } else { "together" });
    }
    println!();
    for (kind, found) in &table {
        print!("{kind:28}");
        for set in 0..sets {
            let right = found.iter().skip(set).step_by(sets).enumerate();
            let right = right
                .filter(|(number, found)| found.contains(number))
                .count();
            print!("{:>11.1}", right as f64 * 100.0 / suggestions.len() as f64);
        }
        println!();
    }
    let lines: Vec<HashSet<String>> = suggestions
        .iter()
        .map(|piece| long_lines(&piece.text))
        .collect();
    let mut wrong = vec![(0, 0); sets];
    let mut printed = 0;
    for other in &others {
        let own = long_lines(&other.text);
        let copied = |number: &usize| {
            let of = &first[suggestions[*number].file];
            lines[*number].intersection(&own).count() >= 4 || of.is_copy_of(&second[other.file])
        };
        let named = store.ask(&other.text);
        for (set, found) in per_scheme(&named).into_iter().enumerate() {
            wrong[set].0 += usize::from(found.iter().any(|number| !copied(number)));
            wrong[set].1 += usize::from(found.iter().any(copied));
        }
        for (number, by) in named.iter().filter(|(number, _)| !copied(number)) {
            if printed < arguments.print {
                printed += 1;
                let piece = &suggestions[*number];
                let (of, other_of) = (&first[piece.file].path, &second[other.file].path);
                println!("=== {by:?} {}\n{}", of.display(), piece.text);
                println!("--- {}\n{}", other_of.display(), other.text);
            }
        }
    }
    for (what, of) in [("% false", 0), ("% copies", 1)] {
        print!("{what:28}");
        for wrong in &wrong {
            let count = if of == 0 { wrong.0 } else { wrong.1 };
            print!(
                "{:>11.2}",
                f64::from(count_of(count)) * 100.0 / others.len() as f64
            );
        }
        println!();
    }
}

/// The file is a list of sorted numbers, each of 8 bytes, the least first.
fn write_common(file: &Path, mut common: Vec<(i64, usize)>, at_most: usize) {
    common.sort_by_key(|(value, families)| (std::cmp::Reverse(*families), *value));
    let before = std::fs::read(file).unwrap_or_default();
    let (before, _) = before.as_chunks::<8>();
    let mut all: Vec<i64> = before
        .iter()
        .map(|bytes| i64::from_le_bytes(*bytes))
        .collect();
    all.extend(common.into_iter().take(at_most).map(|(value, _)| value));
    all.sort_unstable();
    all.dedup();
    let bytes: Vec<u8> = all.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(file, bytes).unwrap();
}

fn limit(text: &str) -> Result<Limit, String> {
    let (name, limits) = text.split_once('=').ok_or("not name=hits:share")?;
    let (hits, share) = limits.split_once(':').ok_or("not name=hits:share")?;
    let scheme = SCHEMES
        .iter()
        .find(|scheme| scheme.name == name)
        .ok_or("no such scheme")?;
    Ok(Limit {
        scheme: scheme.name,
        hits: hits.parse().map_err(|_| "hits: not a number")?,
        share: share.parse().map_err(|_| "share: not a number")?,
    })
}

fn count_of(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}

struct Store {
    rows: HashMap<i64, Vec<Row<usize>>>,
    common: HashSet<i64>,
    limits: Vec<Limit>,
}

impl Store {
    fn of(suggestions: &[Piece], common: HashSet<i64>, limits: Vec<Limit>) -> Self {
        let mut rows: HashMap<i64, Vec<Row<usize>>> = HashMap::new();
        for (number, piece) in suggestions.iter().enumerate() {
            let text = piece.text.clone();
            for (scheme, values) in (Suggestion { text }).fingerprints() {
                for fingerprint in &values {
                    rows.entry(*fingerprint).or_default().push(Row {
                        suggestion: number,
                        person: "ana".into(),
                        scheme: scheme.name.into(),
                        fingerprint: *fingerprint,
                        fingerprints: values.len() as u64,
                    });
                }
            }
        }
        Self {
            rows,
            common,
            limits,
        }
    }

    /// Suggestions that are named for a code, with the schemes that name them.
    fn ask(&self, code: &str) -> Vec<(usize, Vec<&'static str>)> {
        let mut query = Query::default();
        query.add(code);
        let rows = query.fingerprints();
        let rows = rows
            .iter()
            .filter_map(|value| self.rows.get(value))
            .flatten();
        let rows: Vec<Row<usize>> = rows.cloned().collect();
        let found = query.rank(&rows, &self.common, &self.limits).into_iter();
        found
            .map(|found| {
                let schemes = found.evidence.iter().map(|evidence| evidence.scheme);
                (found.suggestion, schemes.collect())
            })
            .collect()
    }
}

/// The same for each scheme alone, and for all together.
fn per_scheme(found: &[(usize, Vec<&'static str>)]) -> Vec<Vec<usize>> {
    let of = |scheme: Option<&str>| {
        let found = found
            .iter()
            .filter(|(_, by)| scheme.is_none_or(|scheme| by.contains(&scheme)));
        found.map(|(number, _)| *number).collect()
    };
    let mut sets: Vec<Vec<usize>> = SCHEMES.iter().map(|scheme| of(Some(scheme.name))).collect();
    sets.push(of(None));
    sets
}

/// Lines that hardly two people write alike.
fn long_lines(text: &str) -> HashSet<String> {
    let letters = |line: &str| -> String { line.chars().filter(|c| c.is_alphanumeric()).collect() };
    text.lines()
        .map(letters)
        .filter(|line| line.len() >= 10)
        .collect()
}

fn is_code(path: &Path, language: &Language) -> bool {
    let name = path.to_string_lossy();
    let ours = language
        .extensions
        .iter()
        .any(|end| name.ends_with(&format!(".{end}")));
    ours && !GENERATED.iter().any(|word| name.contains(word))
}

/// The folder of the package that a file is of.
fn package_of(folder: &Path, path: &Path) -> PathBuf {
    let inside = path.strip_prefix(folder).unwrap();
    let parts: Vec<_> = inside.iter().collect();
    let modules = parts.iter().rposition(|part| *part == "node_modules");
    let at = modules.map_or(0, |at| at + 1);
    let scoped = parts[at].to_string_lossy().starts_with('@');
    let end = (at + 1 + usize::from(scoped)).min(parts.len());
    folder.join(parts[..end].iter().collect::<PathBuf>())
}

/// Who a package is of: the owner of its repository, and if that is not told the first word of its
/// name. What one owner writes twice is of one origin.
fn family_of(package: &Path) -> String {
    let manifests = ["Cargo.toml", "package.json", "METADATA"].into_iter();
    let text: String = manifests
        .filter_map(|name| std::fs::read_to_string(package.join(name)).ok())
        .collect();
    let owner = text.match_indices("github.com").find_map(|(at, mark)| {
        let rest = text[at + mark.len()..].trim_start_matches(['/', ':']);
        let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '-'))?;
        let (owner, rest) = rest.split_at(end);
        (rest.starts_with('/') && owner != "sponsors").then_some(owner)
    });
    let name = package.file_name().unwrap().to_string_lossy();
    let word = name.split(|letter: char| !letter.is_alphabetic()).next();
    owner.or(word).unwrap_or_default().to_lowercase()
}

/// The heap of a family and its half.
fn heap_of(family: &str) -> (usize, u64) {
    let hash = family.bytes().fold(7_u64, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let number = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let heap = match number % 10 {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    (heap, number / 10 % 2)
}

/// A file of code.
struct File {
    path: PathBuf,
    /// Who its package is of.
    family: String,
    text: String,
    /// Its long lines.
    lines: HashSet<String>,
}

/// Lines of a file.
struct Piece {
    file: usize,
    text: String,
    /// In what comment or quoted text of the file it begins.
    inside: &'static str,
}

impl File {
    /// A file, if people may have written it.
    fn read((path, family): &(PathBuf, String)) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let written = text.lines().count() >= 35 && text.len() < 2_000_000;
        let head: Vec<&str> = text.lines().take(20).collect();
        let head = head.join("\n").to_lowercase();
        let generated = GENERATED_HEADS.iter().any(|word| head.contains(word));
        (written && !generated && text.lines().all(|line| line.len() < 400)).then(|| Self {
            path: path.clone(),
            family: family.clone(),
            lines: long_lines(&text),
            text,
        })
    }

    /// Whether both are versions of one file: packages hold each other's files.
    fn is_copy_of(&self, other: &Self) -> bool {
        let both = self.lines.intersection(&other.lines).count();
        self.path.file_name() == other.path.file_name()
            && both * 2 >= self.lines.len().min(other.lines.len())
    }
}

/// Parts of paths of generated and of test code.
const GENERATED: &[&str] = &[
    ".min.",
    "/dist/",
    "/encodings/",
    "/generated",
    "/tables",
    "/test/",
    "/tests/",
    "/third_party/",
    "/vendor/",
    "bindgen",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "windows",
];

/// What generated files say of themselves.
const GENERATED_HEADS: &[&str] = &[
    "@generated",
    "auto-generated",
    "autogenerated",
    "automatically generated",
    "code generated",
    "do not edit",
    "generated by",
    "generated from",
];
