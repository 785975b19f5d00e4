//! BERT with MiniLM's sizes: token ids in, one vector out. Every number is computed wholly in one place and in one order,
//! one text at a time, so that a vector is a function of its text alone.

use super::safetensors::{Safetensors, SafetensorsError};
use crate::kernels::{self, Isa, LANES, Lanes};

const LAYERS: usize = 6;
const HEADS: usize = 12;
const HEAD: usize = WIDTH / HEADS;
/// Numbers of a vector.
pub(super) const WIDTH: usize = 384;
const HIDDEN: usize = 1_536;
pub(super) const VOCABULARY: usize = 30_522;
/// Positions that the model has embeddings of.
const POSITIONS: usize = 512;
const EPSILON: f64 = 1e-12;
/// Rows that go through a matrix together.
const ROWS: usize = 8;

/// A row of activations.
type Row = Vec<f32>;

/// A matrix and what is added to its product; eight output rows side by side.
struct Linear {
    inputs: usize,
    weights: Vec<Lanes>,
    bias: Vec<f32>,
}

/// The scale and shift of a layer norm.
struct Norm {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    norm: Norm,
}

/// The weights.
pub(super) struct Network {
    isa: Isa,
    words: Vec<f32>,
    /// With the embedding of the one kind of token there is here.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

impl Network {
    pub(super) fn load(file: &[u8], isa: Isa) -> Result<Self, SafetensorsError> {
        let tensors = Safetensors::parse(file)?;
        let kind = tensors.floats("embeddings.token_type_embeddings.weight", 2 * WIDTH)?;
        let mut positions = tensors.floats("embeddings.position_embeddings.weight", POSITIONS * WIDTH)?;
        for position in positions.chunks_exact_mut(WIDTH) {
            add(position, &kind);
        }
        Ok(Self {
            isa,
            words: tensors.floats("embeddings.word_embeddings.weight", VOCABULARY * WIDTH)?,
            positions,
            norm: Norm::load(&tensors, "embeddings.LayerNorm")?,
            layers: (0..LAYERS).map(|i| Layer::load(&tensors, i)).collect::<Result<_, _>>()?,
        })
    }

    /// The mean of the last layer over all tokens, at length 1. Ids must be of the vocabulary, and not more than
    /// there are positions.
    pub(super) fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let mut rows = self.embeddings(ids);
        for layer in &self.layers {
            let mut attended = layer.output.apply(self.isa, &layer.attend(self.isa, &rows));
            layer.attention_norm.apply_to_sum(&mut attended, &rows);
            let mut hidden = layer.up.apply(self.isa, &attended);
            hidden.iter_mut().flatten().for_each(|x| *x = gelu(*x));
            rows = layer.down.apply(self.isa, &hidden);
            layer.norm.apply_to_sum(&mut rows, &attended);
        }
        pooled(&rows)
    }

    fn embeddings(&self, ids: &[u32]) -> Vec<Row> {
        let positions = self.positions.chunks_exact(WIDTH);
        let row = |(id, position): (&u32, &[f32])| {
            let at = usize::try_from(*id).unwrap_or(0) * WIDTH;
            let mut row = self.words[at..at + WIDTH].to_vec();
            add(&mut row, position);
            self.norm.apply(&mut row);
            row
        };
        ids.iter().zip(positions).map(row).collect()
    }
}

impl Layer {
    fn load(tensors: &Safetensors<'_>, index: usize) -> Result<Self, SafetensorsError> {
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let linear = |part: &str, inputs, outputs| Linear::load(tensors, &name(part), inputs, outputs);
        Ok(Self {
            query: linear("attention.self.query", WIDTH, WIDTH)?,
            key: linear("attention.self.key", WIDTH, WIDTH)?,
            value: linear("attention.self.value", WIDTH, WIDTH)?,
            output: linear("attention.output.dense", WIDTH, WIDTH)?,
            attention_norm: Norm::load(tensors, &name("attention.output.LayerNorm"))?,
            up: linear("intermediate.dense", WIDTH, HIDDEN)?,
            down: linear("output.dense", HIDDEN, WIDTH)?,
            norm: Norm::load(tensors, &name("output.LayerNorm"))?,
        })
    }

    /// Every token looks at every token.
    fn attend(&self, isa: Isa, rows: &[Row]) -> Vec<Row> {
        let (queries, keys, values) =
            (self.query.apply(isa, rows), self.key.apply(isa, rows), self.value.apply(isa, rows));
        let mut out = vec![vec![0.0; WIDTH]; rows.len()];
        for head in 0..HEADS {
            let part = head * HEAD..(head + 1) * HEAD;
            let slice =
                |rows: &[Row]| rows.iter().map(|row| row[part.clone()].to_vec()).collect::<Vec<Row>>();
            // Keys as the rows of a matrix give scores; values as its columns give their weighted sum.
            let keys = Linear::of_rows(&slice(&keys));
            let values = Linear::of_columns(&slice(&values));
            let mut scores = keys.apply(isa, &slice(&queries));
            scores.iter_mut().for_each(|row| softmax(row));
            for (out, row) in out.iter_mut().zip(values.apply(isa, &scores)) {
                out[part.clone()].copy_from_slice(&row);
            }
        }
        out
    }
}

impl Linear {
    fn load(
        tensors: &Safetensors<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self, SafetensorsError> {
        let weights = tensors.floats(&format!("{name}.weight"), inputs * outputs)?;
        let bias = tensors.floats(&format!("{name}.bias"), outputs)?;
        Ok(Self::new(inputs, bias, |output, input| weights[output * inputs + input]))
    }

    fn new(inputs: usize, bias: Vec<f32>, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut weights = Vec::with_capacity(bias.len().div_ceil(LANES) * inputs);
        for group in (0..bias.len()).step_by(LANES) {
            for input in 0..inputs {
                let lane = |lane| if group + lane < bias.len() { weight(group + lane, input) } else { 0.0 };
                weights.push(std::array::from_fn(lane));
            }
        }
        Self { inputs, weights, bias }
    }

    fn of_rows(rows: &[Row]) -> Self {
        Self::new(HEAD, vec![0.0; rows.len()], |output, input| rows[output][input])
    }

    fn of_columns(rows: &[Row]) -> Self {
        Self::new(rows.len(), vec![0.0; HEAD], |output, input| rows[input][output])
    }

    fn apply(&self, isa: Isa, rows: &[Row]) -> Vec<Row> {
        let nothing = vec![0.0; self.inputs];
        let mut out = vec![vec![0.0; self.bias.len()]; rows.len()];
        for (rows, out) in rows.chunks(ROWS).zip(out.chunks_mut(ROWS)) {
            let inputs: [&[f32]; ROWS] =
                std::array::from_fn(|r| rows.get(r).map_or(nothing.as_slice(), Vec::as_slice));
            for (group, weights) in self.weights.chunks_exact(self.inputs).enumerate() {
                let products = kernels::dense(isa, weights, &inputs);
                for (out, products) in out.iter_mut().zip(products) {
                    let at = group * LANES;
                    for (i, product) in products.iter().enumerate().take(self.bias.len() - at) {
                        out[at + i] = product + self.bias[at + i];
                    }
                }
            }
        }
        out
    }
}

impl Norm {
    fn load(tensors: &Safetensors<'_>, name: &str) -> Result<Self, SafetensorsError> {
        Ok(Self {
            scale: tensors.floats(&format!("{name}.weight"), WIDTH)?,
            shift: tensors.floats(&format!("{name}.bias"), WIDTH)?,
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest float")]
    fn apply(&self, row: &mut [f32]) {
        let width = WIDTH as f64;
        let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width;
        let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width;
        let factor = 1.0 / (variance + EPSILON).sqrt();
        for ((x, scale), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
            *x = ((f64::from(*x) - mean) * factor) as f32 * scale + shift;
        }
    }

    fn apply_to_sum(&self, rows: &mut [Row], others: &[Row]) {
        for (row, other) in rows.iter_mut().zip(others) {
            add(row, other);
            self.apply(row);
        }
    }
}

fn add(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x += y;
    }
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Scores, still to be scaled, to weights whose sum is 1.
fn softmax(row: &mut [f32]) {
    let scale = 1.0 / (HEAD as f32).sqrt();
    let largest = row.iter().fold(f32::NEG_INFINITY, |largest, x| if *x > largest { *x } else { largest });
    let mut total = 0.0;
    for x in row.iter_mut() {
        *x = libm::expf((*x - largest) * scale);
        total += *x;
    }
    row.iter_mut().for_each(|x| *x /= total);
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest float")]
fn pooled(rows: &[Row]) -> Vec<f32> {
    let mut mean = vec![0.0f64; WIDTH];
    for row in rows {
        for (sum, x) in mean.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    // The mean points where the sum does, and only its direction is left.
    let length = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    mean.iter().map(|x| (x / length) as f32).collect()
}
