//! Training, judging and calibrating, on a small world and, where it is, on the data that the shipped router was trained on.
#![allow(clippy::float_cmp, reason = "what is compared is exact")]

mod common;

use std::path::PathBuf;

use claude_code_api_router::{
    Facts, Router, RouterError, Tier,
    bench::{self, Prices, Subject},
    calibrate::{Judged, calibrate},
    data::Folder,
    train::train,
};

const PRICES: Prices = Prices { input: [0.1, 2.0, 4.0], output: [0.5, 10.0, 20.0] };

#[test]
fn the_same_folder_makes_the_same_file_and_the_file_says_what_its_router_said() {
    let folder = common::folder(400);
    let trained = train(&folder).expect("there is enough");
    let file = trained.to_bytes();
    assert!(file == train(&folder).expect("as above").to_bytes(), "the second training made another file");
    let read = Router::parse(&file).expect("it was just written");
    assert_eq!(read.version(), trained.version());
    for row in &folder.sources[0].rows[..20] {
        assert_eq!(read.read(&row.prompt, &Facts::default()), trained.read(&row.prompt, &Facts::default()));
    }
}

#[test]
fn what_was_hard_in_training_is_expected_to_be_hard_and_long() {
    let router = train(&common::folder(400)).expect("there is enough");
    let read = |prompt| router.read(prompt, &Facts::default());
    let hard = read("Prove that every prime above 9 satisfies the lemma about residues modulo 41.");
    let easy = read("List the colours of flag 3, and name the animal on it.");
    assert!(hard.right[0] + 0.3 < easy.right[0], "{hard:?} {easy:?}");
    assert!(hard.output_tokens[0] > 3.0 * easy.output_tokens[0], "{hard:?} {easy:?}");
    assert!(hard.reasons.iter().any(|reason| reason.starts_with("harder: ")), "{hard:?}");
}

#[test]
fn training_judged_on_unseen_groups_ranks_better_than_a_coin_flip_and_is_calibrated() {
    let report = bench::run(&common::folder(600), Subject::CrossValidated, &PRICES).expect("there is enough");
    let ranking = report.rankings.iter().find(|ranking| ranking.pair.contains("opus")).expect("Claude has answered");
    assert_eq!(ranking.prompts, 600);
    let apgr = ranking.curves[0].expect("opus is better").apgr;
    assert!(apgr > 0.6, "{apgr}");
    let haiku = report.levels.iter().find(|level| level.tier == "haiku").expect("Claude has answered");
    assert!(haiku.level.error < 0.08, "{haiku:?}");
    assert!(report.savings[0].router > report.savings[0].mix, "{:?}", report.savings);
    assert!(report.to_string().contains("| Claude 3 haiku → opus | world | 600 |"), "{report}");
}

#[test]
fn a_folder_without_outcomes_of_claude_is_refused_and_says_how_many_there_are() {
    let mut folder = common::folder(50);
    let error = train(&folder).expect_err("fifty are too few").to_string();
    assert!(error.contains("50 outcomes of claude-3-haiku"), "{error}");
    folder.sources.clear();
    assert!(matches!(train(&folder), Err(RouterError::TooLittle(_))));
    for subject in [Subject::CrossValidated, Subject::SourcesApart] {
        assert!(matches!(bench::run(&folder, subject, &PRICES), Err(RouterError::TooLittle(_))), "{subject:?}");
    }
    bench::run(&folder, Subject::Router(Router::shipped()), &PRICES).expect("a router as it is needs no outcomes");
}

#[test]
fn a_folder_of_one_group_is_refused_and_a_number_out_of_range_is_held_to_it() {
    let mut folder = common::folder(200);
    folder.sources[0].rows[0].input_tokens = Some(1e12);
    let file = train(&folder).expect("there is enough").to_bytes();
    Router::parse(&file).expect("what training writes can be read");
    folder.sources[0].rows.iter_mut().for_each(|row| row.group = "all".to_owned());
    let error = train(&folder).expect_err("nothing is left to try it on").to_string();
    assert!(error.contains("too few groups"), "{error}");
}

fn outcomes(count: usize, right: bool) -> Vec<Judged> {
    let prompt = |number: usize| format!("List the colours of flag {number}, and name the animal on it.");
    (0..count).map(|number| Judged { prompt: prompt(number), tier: Tier::Haiku, right }).collect()
}

#[test]
fn an_operators_outcomes_move_the_tier_that_they_are_of_towards_them() {
    let router = train(&common::folder(400)).expect("there is enough");
    let prompt = &outcomes(1, true)[0].prompt;
    let before = router.read(prompt, &Facts::default()).right;
    let after = calibrate(&router, &outcomes(300, false)).expect("enough").read(prompt, &Facts::default()).right;
    assert!(after[0] < 0.3 && before[0] > 0.6, "haiku: {} → {}", before[0], after[0]);
    assert!((after[2] - before[2]).abs() < 0.01, "opus has no outcomes: {before:?} → {after:?}");
}

#[test]
fn fewer_than_a_hundred_outcomes_are_refused_and_counted() {
    let error = calibrate(&train(&common::folder(400)).expect("there is enough"), &outcomes(99, true));
    let error = error.expect_err("one is missing").to_string();
    assert_eq!(error, "there are 99 outcomes, and calibrating takes 100 or more");
}

#[test]
fn an_outcome_is_a_line_of_json() {
    let read = |line: &str| serde_json::from_str::<Judged>(line).map_err(|error| error.to_string());
    for right in ["1", "true"] {
        let line = format!(r#"{{"prompt": "p", "tier": "opus", "right": {right}}}"#);
        assert_eq!(read(&line), Ok(Judged { prompt: "p".to_owned(), tier: Tier::Opus, right: true }));
    }
    for (line, says) in [
        (r#"{"prompt": "p", "tier": "gpt", "right": 1}"#, "haiku, sonnet or opus"),
        (r#"{"prompt": "p", "tier": "opus", "right": 2}"#, "1, 0, true or false"),
        (r#"{"prompt": "p", "tier": "opus"}"#, "missing field `right`"),
    ] {
        let error = read(line).expect_err(line);
        assert!(error.contains(says), "{error}");
    }
}

/// Set `ROUTER_DATA` to the folder that docs/router.md describes.
#[test]
fn the_shipped_router_is_what_its_data_makes() {
    #[allow(clippy::disallowed_methods, reason = "a test that needs what the project does not hold")]
    let Some(data) = std::env::var_os("ROUTER_DATA").map(PathBuf::from) else {
        println!("NOT RUN: ROUTER_DATA names no folder, and the project holds no copy of the data");
        return;
    };
    let folder = Folder::read(&data).expect("ROUTER_DATA names a folder of training data");
    let trained = train(&folder).expect("there is enough");
    assert_eq!(trained.version(), Router::shipped().version());
}
