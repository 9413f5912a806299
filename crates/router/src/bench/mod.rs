//! Judges a router on a folder of prompts with outcomes: how it ranks, what it saves, how far its chances are off, how fast and how steady
//! it is.

mod aside;
mod curve;
mod level;
mod pairs;
mod predict;
mod robust;
mod saving;
mod table;

use serde::Serialize;

pub use aside::{Lengths, Opinion};
pub use curve::Curve;
pub use level::Level;
pub use robust::{Flips, Latency};
pub use saving::{Saving, Turned};

use crate::{
    Dial, Router, RouterError,
    data::Folder,
    train::{self, Example},
};
use curve::Trial;
use pairs::{PAIRS, keyword_score, length_score};
use predict::{Predicted, Predictions};
use saving::Call;

/// US dollars per million tokens, haiku first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Of the input.
    pub input: [f64; 3],
    /// Of the output.
    pub output: [f64; 3],
}

impl Prices {
    fn costs(&self, input_tokens: f64, output_tokens: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|tier| (self.input[tier] * input_tokens + self.output[tier] * output_tokens[tier]) / 1e6)
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A router as it is. On prompts that it was trained on that is no test.
    Router(&'a Router),
    /// The way of training: each fifth of the folder by a router trained on the rest.
    CrossValidated,
    /// The same with whole sources instead of fifths.
    SourcesApart,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was judged, in words.
    pub subject: String,
    /// What of the folder was left out.
    pub notes: Vec<String>,
    /// How well prompts are ranked.
    pub rankings: Vec<Ranking>,
    /// What is saved.
    pub savings: Vec<Saving>,
    /// What the dials do.
    pub dials: Vec<Turned>,
    /// How far the chances are off, by source (or all of them) and tier.
    pub levels: Vec<SourceLevel>,
    /// How well lengths of answers are expected.
    pub lengths: Vec<Lengths>,
    /// What authors think.
    pub opinions: Vec<Opinion>,
    /// How steady choices are.
    pub flips: Vec<Flips>,
    /// How fast.
    pub latencies: Vec<Latency>,
}

/// A ranking of one source, or of all.
#[derive(Clone, Debug, Serialize)]
pub struct Ranking {
    /// The weak model and the strong one.
    pub pair: &'static str,
    /// The source; `all` for all together.
    pub source: String,
    /// Prompts that both have answered.
    pub prompts: usize,
    /// How often the weak one and the strong one are right.
    pub right: [f64; 2],
    /// By the router, by length, by keywords.
    pub curves: [Option<Curve>; 3],
}

/// The calibration of a tier on a source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceLevel {
    /// The source; `all` for all together.
    pub source: String,
    /// The tier.
    pub tier: &'static str,
    /// The figures.
    pub level: Level,
}

/// Judges.
///
/// # Errors
/// What [`train::train`] fails with, where training is judged.
pub fn run(folder: &Folder, subject: Subject<'_>, prices: &Prices) -> Result<Report, RouterError> {
    let examples = train::examples(folder);
    let predictions = match subject {
        Subject::Router(router) => predict::by(router, folder),
        Subject::CrossValidated => predict::crossed(folder, &examples)?,
        Subject::SourcesApart => predict::apart(folder, &examples)?,
    };
    let all = Judged { folder, examples: &examples, predictions: &predictions };
    let calls = all.calls(prices);
    let prompts: Vec<&str> =
        folder.sources.iter().flat_map(|source| &source.rows).map(|row| row.prompt.as_str()).collect();
    let sample: Vec<&str> = prompts.iter().copied().step_by(prompts.len() / 2_000 + 1).collect();
    let only: Vec<Call> = calls.iter().map(|(call, _)| *call).collect();
    Ok(Report {
        subject: told(subject),
        notes: folder.notes.clone(),
        rankings: all.rankings(),
        savings: [0.95, 0.97, 0.99]
            .into_iter()
            .filter(|_| !only.is_empty())
            .map(|share| saving::saving(&only, share))
            .collect(),
        dials: all.dials(&calls, prices),
        levels: all.levels(),
        lengths: all.lengths(),
        opinions: all.opinions(),
        flips: robust::flips(&predictions.routers[0], &sample, prices),
        latencies: robust::latencies(&predictions.routers[0], &sample),
    })
}

fn told(subject: Subject<'_>) -> String {
    match subject {
        Subject::Router(router) => format!("the router {}, as it is", router.version()),
        Subject::CrossValidated => format!("training, cross-validated in {} parts by group", predict::FOLDS),
        Subject::SourcesApart => "training, each source by a router that has seen nothing of it".to_owned(),
    }
}

struct Judged<'a> {
    folder: &'a Folder,
    examples: &'a [Vec<Example>],
    predictions: &'a Predictions,
}

impl Judged<'_> {
    /// Source, row and what was predicted, for all rows with a prediction.
    fn rows(&self, source: usize) -> impl Iterator<Item = (usize, &Example, &Predicted)> {
        let rows = self.examples[source].iter().zip(&self.predictions.readings[source]).enumerate();
        rows.filter_map(|(row, (example, predicted))| Some((row, example, predicted.as_ref()?)))
    }

    fn rankings(&self) -> Vec<Ranking> {
        let mut rankings = Vec::new();
        for pair in &PAIRS {
            let mut all: [Vec<Trial>; 3] = Default::default();
            let mut sources = 0;
            for (at, source) in self.folder.sources.iter().enumerate() {
                let mut trials: [Vec<Trial>; 3] = Default::default();
                for (row, example, predicted) in self.rows(at) {
                    let row = &source.rows[row];
                    let Some(trial) = pair.trial(source, row, example, predicted) else { continue };
                    trials[0].push(trial);
                    trials[1].push(Trial { score: length_score(&row.prompt), ..trial });
                    trials[2].push(Trial { score: keyword_score(&row.prompt), ..trial });
                }
                if !trials[0].is_empty() {
                    sources += 1;
                    rankings.push(ranking(pair.name, &source.name, &trials));
                    all.iter_mut().zip(trials).for_each(|(all, trials)| all.extend(trials));
                }
            }
            if sources > 1 {
                rankings.push(ranking(pair.name, "all", &all));
            }
        }
        rankings
    }

    fn calls(&self, prices: &Prices) -> Vec<(Call, usize)> {
        let sources = 0..self.folder.sources.len();
        let rows = sources.flat_map(|source| self.rows(source));
        rows.filter(|(_, example, _)| example.right[0].is_some() && example.right[2].is_some())
            .map(|(_, example, Predicted { reading, router, .. })| {
                let tokens: [f64; 3] =
                    std::array::from_fn(|tier| example.output_tokens[tier].unwrap_or(reading.output_tokens[tier]));
                let call = Call {
                    right: reading.right,
                    cost: prices.costs(example.input_tokens, reading.output_tokens),
                    was_right: example.right,
                    was_cost: prices.costs(example.input_tokens, tokens),
                };
                (call, *router)
            })
            .collect()
    }

    fn dials(&self, calls: &[(Call, usize)], prices: &Prices) -> Vec<Turned> {
        let dials = [Dial::ECONOMY, Dial::BALANCED, Dial::QUALITY].into_iter().filter(|_| !calls.is_empty());
        dials
            .map(|dial| {
                let cost = |row: &crate::ReferenceRow| prices.costs(row.input_tokens as f64, row.output_tokens);
                let lambdas: Vec<f64> =
                    self.predictions.routers.iter().map(|router| router.lambda(dial, cost)).collect();
                let calls: Vec<(Call, f64)> = calls.iter().map(|(call, router)| (*call, lambdas[*router])).collect();
                saving::turned(&calls, dial.loss())
            })
            .collect()
    }

    fn levels(&self) -> Vec<SourceLevel> {
        let mut levels = Vec::new();
        for (tier, name) in ["haiku", "sonnet", "opus"].into_iter().enumerate() {
            let mut all = Vec::new();
            for (at, source) in self.folder.sources.iter().enumerate() {
                let of_row = |(_, example, predicted): (usize, &Example, &Predicted)| {
                    example.right[tier].map(|right| (predicted.reading.right[tier], right))
                };
                let outcomes: Vec<(f64, bool)> = self.rows(at).filter_map(of_row).collect();
                let of_source = level::level(&outcomes);
                levels.extend(of_source.map(|level| SourceLevel { source: source.name.clone(), tier: name, level }));
                all.extend(outcomes);
            }
            levels.extend(level::level(&all).map(|level| SourceLevel { source: "all".to_owned(), tier: name, level }));
        }
        levels
    }
}

fn ranking(pair: &'static str, source: &str, trials: &[Vec<Trial>; 3]) -> Ranking {
    let prompts = trials[0].len();
    let mean = |of: fn(&Trial) -> f64| trials[0].iter().map(of).sum::<f64>() / prompts as f64;
    Ranking {
        pair,
        source: source.to_owned(),
        prompts,
        right: [mean(|trial| trial.weak), mean(|trial| trial.strong)],
        curves: trials.each_ref().map(|trials| curve::curve(trials)),
    }
}
