//! Predictions for the rows of a folder, each by a router that has not seen the row's group.

use crate::{
    Facts, Reading, Router, RouterError,
    data::Folder,
    math::chance,
    model::Model,
    train::{self, Example},
};

pub(super) const FOLDS: u64 = 5;

/// A prediction for each row, and the router that has made it.
pub(super) struct Predictions {
    pub(super) routers: Vec<Router>,
    /// By source and row.
    pub(super) readings: Vec<Vec<Option<Predicted>>>,
}

pub(super) struct Predicted {
    pub(super) reading: Reading,
    /// The chances of a small and of a large model.
    pub(super) heads: [f64; 2],
    /// Its place in `routers`.
    pub(super) router: usize,
}

/// By one router.
pub(super) fn by(router: &Router, folder: &Folder) -> Predictions {
    let routers = vec![router.clone()];
    let readings = folder
        .sources
        .iter()
        .map(|source| source.rows.iter().map(|row| Some(predict(&routers, 0, &row.prompt))).collect());
    Predictions { readings: readings.collect(), routers }
}

fn predict(routers: &[Router], router: usize, prompt: &str) -> Predicted {
    let heads = routers[router].logits(prompt).map(chance);
    Predicted { reading: routers[router].read(prompt, &Facts::default()), heads, router }
}

/// Each of five parts by a router trained on the other four.
pub(super) fn crossed(folder: &Folder, examples: &[Vec<Example>]) -> Result<Predictions, RouterError> {
    let part = |fold: u64| {
        let seen = examples.iter().flatten().filter(|example| example.fold(FOLDS) != fold).collect::<Vec<_>>();
        train::fit(&seen)
    };
    let models = each(FOLDS as usize, |fold| part(fold as u64))?;
    let place = |_: usize, example: &Example| Some(example.fold(FOLDS) as usize);
    Ok(predictions(folder, examples, models, place))
}

/// Each source by a router trained on the others, without the prompts that it shares with them.
pub(super) fn apart(folder: &Folder, examples: &[Vec<Example>]) -> Result<Predictions, RouterError> {
    let judged: Vec<usize> = (0..examples.len()).filter(|source| is_judged(&examples[*source])).collect();
    if judged.is_empty() {
        return Err(RouterError::TooLittle("no outcomes of any model".to_owned()));
    }
    let models = each(judged.len(), |at| {
        let mut own: Vec<u64> = examples[judged[at]].iter().map(|example| example.group).collect();
        own.sort_unstable();
        let others = (0..examples.len()).filter(|source| *source != judged[at]).flat_map(|source| &examples[source]);
        train::fit(&others.filter(|example| own.binary_search(&example.group).is_err()).collect::<Vec<_>>())
    })?;
    let place = |source: usize, _: &Example| judged.iter().position(|judged| *judged == source);
    Ok(predictions(folder, examples, models, place))
}

fn is_judged(examples: &[Example]) -> bool {
    examples.iter().any(|example| example.targets.iter().any(|target| target.weight > 0.0))
}

fn predictions(
    folder: &Folder,
    examples: &[Vec<Example>],
    models: Vec<Model>,
    place: impl Fn(usize, &Example) -> Option<usize>,
) -> Predictions {
    let routers: Vec<Router> = models.into_iter().map(Router::of).collect();
    let readings = folder.sources.iter().zip(examples).enumerate().map(|(at, (source, examples))| {
        let rows = source.rows.iter().zip(examples);
        rows.map(|(row, example)| place(at, example).map(|router| predict(&routers, router, &row.prompt))).collect()
    });
    Predictions { readings: readings.collect(), routers }
}

/// Fits that do not depend on each other, on two threads.
fn each(count: usize, fit: impl Fn(usize) -> Result<Model, RouterError> + Sync) -> Result<Vec<Model>, RouterError> {
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let fit = &fit;
            scope.spawn(move || (half..count).step_by(2).map(fit).collect::<Vec<_>>())
        });
        let mut halves = halves.map(|half| half.join().expect("training does not panic").into_iter());
        (0..count).map(|at| halves[at % 2].next().expect("every second is in this half")).collect()
    })
}
