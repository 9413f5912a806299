//! Prompts with outcomes, read from a folder: `manifest.json` names the sources and their models, each source is a file of JSON lines.
//! The format is told in docs/router.md. The only part of this crate that reads files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::RouterError;

/// Characters of an answer that make a token, where a source tells characters only.
const CHARS_PER_TOKEN: f64 = 3.3;

/// All that a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// In the order of their names.
    pub sources: Vec<Source>,
    /// What the manifest and the folder disagree on. It is left out.
    pub notes: Vec<String>,
}

/// Prompts of one origin.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's name, without its ending.
    pub name: String,
    /// In the order of the marks.
    pub models: Vec<String>,
    /// The prompts.
    pub rows: Vec<Row>,
}

/// One prompt.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// Prompts of one group are variants of each other, in whatever source: what is learned from one is never tried on another.
    pub group: String,
    /// The prompt.
    pub prompt: String,
    /// Whether each model was right; `None` where it was not asked.
    pub marks: Vec<Option<bool>>,
    /// Tokens of each model's answer, as far as they are known.
    pub output_tokens: BTreeMap<String, f64>,
    /// Tokens of the prompt, where they were counted.
    pub input_tokens: Option<f64>,
    /// What its author thinks is the right tier.
    pub tier: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    models: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    group: String,
    prompt: String,
    #[serde(default)]
    marks: String,
    #[serde(default)]
    out_chars: BTreeMap<String, f64>,
    #[serde(default)]
    out_tokens: BTreeMap<String, f64>,
    tok: Option<Tokens>,
    tier: Option<String>,
}

/// Input and output tokens, of the row or of each model.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tokens {
    One([f64; 2]),
    Each(BTreeMap<String, [f64; 2]>),
}

impl Folder {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`RouterError::Data`] with the file, the line and what is wrong there.
    pub fn read(folder: &Path) -> Result<Self, RouterError> {
        let manifest = folder.join("manifest.json");
        let listed: BTreeMap<String, Listed> = serde_json::from_str(&text(&manifest)?)
            .map_err(|error| wrong(&manifest, Some(error.line()), error.to_string()))?;
        let mut read = Self { sources: Vec::new(), notes: unlisted(folder, &listed)? };
        for (name, Listed { models }) in listed {
            let path = folder.join(format!("{name}.jsonl"));
            if path.exists() {
                let rows = rows(&path, models.len())?;
                read.sources.push(Source { name, models, rows });
            } else {
                read.notes.push(format!("{name} is in the manifest, and there is no {name}.jsonl"));
            }
        }
        Ok(read)
    }
}

/// Says which files of rows the manifest does not know, and so nobody can read.
fn unlisted(folder: &Path, listed: &BTreeMap<String, Listed>) -> Result<Vec<String>, RouterError> {
    let entries = std::fs::read_dir(folder).map_err(|error| wrong(folder, None, error.to_string()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let unknown = |name: &String| name.strip_suffix(".jsonl").is_some_and(|name| !listed.contains_key(name));
    let mut unknown: Vec<String> = names.filter(unknown).collect();
    unknown.sort();
    Ok(unknown.into_iter().map(|name| format!("{name} is not in the manifest")).collect())
}

fn text(path: &Path) -> Result<String, RouterError> {
    std::fs::read_to_string(path).map_err(|error| wrong(path, None, error.to_string()))
}

fn wrong(path: &Path, line: Option<usize>, what: impl Into<String>) -> RouterError {
    RouterError::Data { path: PathBuf::from(path), line, what: what.into() }
}

fn rows(path: &Path, models: usize) -> Result<Vec<Row>, RouterError> {
    let text = text(path)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| row(line, models).map_err(|what| wrong(path, Some(number), what))).collect()
}

fn row(line: &str, models: usize) -> Result<Row, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let marks: Vec<Option<bool>> = line.marks.chars().map(mark).collect::<Result<_, _>>()?;
    if !marks.is_empty() && marks.len() != models {
        return Err(format!("{} marks, and the manifest names {models} models", marks.len()));
    }
    let chars = line.out_chars.into_iter().map(|(model, chars)| (model, chars / CHARS_PER_TOKEN));
    let mut output_tokens: BTreeMap<String, f64> = chars.chain(line.out_tokens).collect();
    let mut input_tokens = None;
    match line.tok {
        None => {}
        Some(Tokens::One([input, output])) => {
            input_tokens = Some(input);
            output_tokens.insert(String::new(), output);
        }
        Some(Tokens::Each(each)) => {
            input_tokens = each.values().next().map(|[input, _]| *input);
            output_tokens.extend(each.into_iter().map(|(model, [_, output])| (model, output)));
        }
    }
    let (id, group, prompt, tier) = (line.id, line.group, line.prompt, line.tier);
    Ok(Row { id, group, prompt, marks, output_tokens, input_tokens, tier })
}

fn mark(mark: char) -> Result<Option<bool>, String> {
    match mark {
        '1' => Ok(Some(true)),
        '0' => Ok(Some(false)),
        '-' => Ok(None),
        other => Err(format!("a mark is 1, 0 or -; there is {other:?}")),
    }
}
