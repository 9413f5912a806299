//! The model file: magic, version, the hash of what follows, then everything in the order of [`Model`]; little-endian.
//!
//! It is read strictly: what is missing, too much, not finite or out of range is an error that says what; sizes are known before
//! anything is allocated.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use super::{Calibration, Head, KNOWN, Kind, Length, Model, NODES, Reference, TERMS, Terms, Tree, terms::KNOTS};
use crate::{
    RouterError,
    features::{BUCKET_BITS, COUNTS},
};

const MAGIC: &[u8; 8] = b"ccrouter";
/// Of the format, and of the features: a file of another version would be read as nonsense.
const VERSION: u16 = 2;
const HASH_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + 2 + HASH_BYTES;
const TREES_MAX: usize = 1_000;
const REFERENCE_MAX: usize = 2_000;
/// Of a prompt, and of an answer.
pub(crate) const TOKENS_MAX: u32 = 10_000_000;
/// No number in the file is larger: predictions are finite because of it.
const NUMBER_MAX: f32 = 1e6;

pub(crate) fn encode(model: &Model) -> Vec<u8> {
    let mut body = Writer(Vec::new());
    body.terms(&model.terms);
    body.head(&model.small);
    body.head(&model.large);
    body.floats(&model.length.offsets);
    body.floats(model.length.weights.as_flattened());
    for Calibration { offset, small, large } in model.calibration {
        body.floats(&[offset, small, large]);
    }
    model.known.iter().for_each(|word| body.0.extend(word.to_le_bytes()));
    body.floats(&[model.kind.bias]);
    body.trees(&model.kind.trees);
    body.count(model.reference.len());
    for Reference { logits, input_tokens, output_tokens } in &model.reference {
        body.floats(logits);
        body.0.extend(input_tokens.to_le_bytes());
        body.0.extend(output_tokens.iter().flat_map(|tokens| tokens.to_le_bytes()));
    }
    let hash = Sha256::digest(&body.0);
    [MAGIC.as_slice(), &VERSION.to_le_bytes(), &hash, &body.0].concat()
}

/// The hash of the file's content, as far as people want to read it.
pub(crate) fn version_of(file: &[u8]) -> String {
    let hash = &file[HEADER_BYTES - HASH_BYTES..HEADER_BYTES];
    format!("{:012x}", u64::from_be_bytes(std::array::from_fn(|at| hash[at])) >> 16)
}

pub(crate) fn decode(file: &[u8]) -> Result<Model, RouterError> {
    let mut reader = Reader { rest: file };
    if reader.take(MAGIC.len(), "the magic bytes")? != MAGIC {
        return Err(broken("does not begin with the magic bytes of a router model"));
    }
    let version = u16::from_le_bytes(reader.array("the version")?);
    if version != VERSION {
        return Err(broken(format!("has version {version}, and this program reads version {VERSION}")));
    }
    let hash: [u8; HASH_BYTES] = reader.array("the hash")?;
    if Sha256::digest(reader.rest)[..] != hash {
        return Err(broken("is not what was written: its content has another hash"));
    }
    let model = reader.model()?;
    match reader.rest.len() {
        0 => Ok(model),
        more => Err(broken(format!("has {more} bytes too many at its end"))),
    }
}

fn broken(what: impl Into<String>) -> RouterError {
    RouterError::File(what.into())
}

struct Writer(Vec<u8>);

impl Writer {
    fn floats(&mut self, values: &[f32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    fn count(&mut self, count: usize) {
        self.0.extend(u16::try_from(count).expect("training keeps to the limits of the file").to_le_bytes());
    }

    fn terms(&mut self, terms: &Terms) {
        self.floats(terms.knots.as_flattened());
        self.floats(terms.means.as_flattened());
        self.floats(terms.scales.as_flattened());
    }

    fn head(&mut self, head: &Head) {
        self.floats(&[head.bias, head.tree_bias, head.gram_scale]);
        self.floats(head.weights.as_flattened());
        self.0.extend(head.grams.iter().map(|weight| weight.cast_unsigned()));
        self.trees(&head.trees);
    }

    fn trees(&mut self, trees: &[Tree]) {
        self.count(trees.len());
        for tree in trees {
            self.0.extend(tree.counts);
            self.floats(&tree.thresholds);
            self.floats(&tree.values);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize, what: &str) -> Result<&'a [u8], RouterError> {
        let (taken, rest) =
            self.rest.split_at_checked(bytes).ok_or_else(|| broken(format!("ends in the middle of {what}")))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], RouterError> {
        Ok(self.take(N, what)?.try_into().expect("as many were taken"))
    }

    fn float(&mut self, what: &str) -> Result<f32, RouterError> {
        let value = f32::from_le_bytes(self.array(what)?);
        if value.abs() <= NUMBER_MAX { Ok(value) } else { Err(broken(format!("holds {value} in {what}"))) }
    }

    fn floats<const N: usize>(&mut self, what: &str) -> Result<[f32; N], RouterError> {
        let mut values = [0.0; N];
        for value in &mut values {
            *value = self.float(what)?;
        }
        Ok(values)
    }

    fn rows<const N: usize, const R: usize>(&mut self, what: &str) -> Result<[[f32; N]; R], RouterError> {
        let mut rows = [[0.0; N]; R];
        for row in &mut rows {
            *row = self.floats(what)?;
        }
        Ok(rows)
    }

    fn tokens(&mut self, what: &str) -> Result<u32, RouterError> {
        let tokens = u32::from_le_bytes(self.array(what)?);
        if tokens <= TOKENS_MAX { Ok(tokens) } else { Err(broken(format!("holds {tokens} tokens in {what}"))) }
    }

    fn count(&mut self, within: RangeInclusive<usize>, what: &str) -> Result<usize, RouterError> {
        let count = usize::from(u16::from_le_bytes(self.array(what)?));
        if within.contains(&count) {
            return Ok(count);
        }
        let (least, most) = within.into_inner();
        Err(broken(format!("says that it holds {count} {what}, where {least} to {most} may be")))
    }

    fn model(&mut self) -> Result<Model, RouterError> {
        Ok(Model {
            terms: self.terms()?,
            small: self.head("the small head")?,
            large: self.head("the large head")?,
            length: Length { offsets: self.floats("the lengths")?, weights: self.rows("the lengths")? },
            calibration: [self.calibration()?, self.calibration()?, self.calibration()?],
            known: self.known()?,
            kind: Kind { bias: self.float("the kind")?, trees: self.trees(0)? },
            reference: self.reference()?,
        })
    }

    fn terms(&mut self) -> Result<Terms, RouterError> {
        let knots = self.rows::<KNOTS, COUNTS>("the knots")?;
        let means = self.rows::<TERMS, COUNTS>("the means")?;
        Ok(Terms { knots, means, scales: self.rows("the scales")? })
    }

    fn head(&mut self, what: &str) -> Result<Head, RouterError> {
        let [bias, tree_bias, gram_scale] = self.floats(what)?;
        let weights = self.rows(what)?;
        let grams = self.take(1 << BUCKET_BITS, what)?.iter().map(|weight| weight.cast_signed()).collect();
        Ok(Head { bias, weights, gram_scale, grams, tree_bias, trees: self.trees(1)? })
    }

    fn trees(&mut self, least: usize) -> Result<Vec<Tree>, RouterError> {
        (0..self.count(least..=TREES_MAX, "trees")?).map(|_| self.tree()).collect()
    }

    fn tree(&mut self) -> Result<Tree, RouterError> {
        let counts: [u8; NODES] = self.array("a tree")?;
        if let Some(count) = counts.iter().find(|count| usize::from(**count) >= COUNTS) {
            return Err(broken(format!("asks for count {count} in a tree, and there are {COUNTS}")));
        }

        Ok(Tree { counts, thresholds: self.floats("a tree")?, values: self.floats("a tree")? })
    }

    fn calibration(&mut self) -> Result<Calibration, RouterError> {
        let [offset, small, large] = self.floats("the calibration")?;
        Ok(Calibration { offset, small, large })
    }

    fn known(&mut self) -> Result<Box<[u64; KNOWN]>, RouterError> {
        let mut known = Box::new([0; KNOWN]);
        for word in known.iter_mut() {
            *word = u64::from_le_bytes(self.array("the known words")?);
        }
        Ok(known)
    }

    fn reference(&mut self) -> Result<Vec<Reference>, RouterError> {
        let rows = self.count(1..=REFERENCE_MAX, "reference rows")?;
        let what = "a reference row";
        (0..rows)
            .map(|_| {
                let logits = self.floats(what)?;
                let input_tokens = self.tokens(what)?;
                let output_tokens = [self.tokens(what)?, self.tokens(what)?, self.tokens(what)?];
                Ok(Reference { logits, input_tokens, output_tokens })
            })
            .collect()
    }
}
