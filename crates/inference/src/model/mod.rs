//! The llama architecture over quantized weights: loading and the forward step.

mod forward;
mod kv;
mod matrix;

pub(crate) use forward::{Buffers, Row};
pub(crate) use kv::{KvPool, PageShape, Sequence};

use crate::gguf::{Gguf, GgufError, Tensor, TensorType};
use crate::kernels::{Isa, LANES, Lanes};
use matrix::Matrix;

/// The head dimension the attention kernel is compiled for.
const HEAD_DIM: usize = 64;
/// A bound on every size read from a file, far above any model that runs here.
const MAX_SIZE: u64 = 1 << 20;

/// Why a GGUF file is not a model that this engine runs.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error("architecture `{0}` is not supported, only `llama` is")]
    Architecture(String),
    #[error("tensor `{name}` has a shape or type that the engine does not compute with")]
    Shape { name: String },
    #[error("{key} is {value}, which the engine does not support")]
    Size { key: &'static str, value: u64 },
}

/// Sizes of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) hidden: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: usize,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<Lanes>,
    /// Query, key and value rows stacked.
    qkv: Matrix,
    output: Matrix,
    ffn_norm: Vec<Lanes>,
    /// Gate and up rows stacked.
    gate_up: Matrix,
    down: Matrix,
}

/// A loaded model. Immutable; all state of a sequence lives in its [`Sequence`].
#[derive(Debug)]
pub(crate) struct Model {
    shape: Shape,
    isa: Isa,
    epsilon: f32,
    embedding: Matrix,
    head: Option<Matrix>,
    norm: Vec<Lanes>,
    layers: Vec<Layer>,
    /// Cosine and sine per position and pair of dimensions.
    rope: Vec<[f32; 2]>,
}

impl Model {
    pub(crate) fn load(gguf: &Gguf<'_>, isa: Isa) -> Result<Self, ModelError> {
        let architecture = gguf.string("general.architecture")?;
        if architecture != "llama" {
            return Err(ModelError::Architecture(architecture.to_owned()));
        }
        let shape = read_shape(gguf)?;
        let layers = (0..shape.layers).map(|i| load_layer(gguf, shape, i)).collect::<Result<_, _>>()?;
        let embedding = matrix(gguf, &["token_embd.weight"], shape.vocabulary, shape.width)?;
        let head = match gguf.tensor("output.weight") {
            Ok(_) => Some(matrix(gguf, &["output.weight"], shape.vocabulary, shape.width)?),
            Err(_) => None,
        };
        #[expect(clippy::cast_possible_truncation, reason = "the file stores it as f32")]
        let epsilon = gguf.float("llama.attention.layer_norm_rms_epsilon")? as f32;
        let base = gguf.float("llama.rope.freq_base").unwrap_or(10_000.0);
        Ok(Self {
            shape,
            isa,
            epsilon,
            embedding,
            head,
            norm: vector(gguf, "output_norm.weight", shape.width)?,
            layers,
            rope: rope_table(base, shape.context),
        })
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn page_shape(&self) -> PageShape {
        PageShape { layers: self.shape.layers, heads: self.shape.kv_heads, head_dim: HEAD_DIM }
    }
}

fn read_shape(gguf: &Gguf<'_>) -> Result<Shape, ModelError> {
    let size = |key: &'static str| -> Result<usize, ModelError> {
        let value = gguf.unsigned(key)?;
        match usize::try_from(value) {
            Ok(size) if (1..=MAX_SIZE).contains(&value) => Ok(size),
            _ => Err(ModelError::Size { key, value }),
        }
    };
    let embedding = gguf.tensor("token_embd.weight")?;
    let vocabulary = embedding.dims.get(1).copied().unwrap_or(0);
    let shape = Shape {
        layers: size("llama.block_count")?,
        width: size("llama.embedding_length")?,
        heads: size("llama.attention.head_count")?,
        kv_heads: size("llama.attention.head_count_kv").or_else(|_| size("llama.attention.head_count"))?,
        hidden: size("llama.feed_forward_length")?,
        vocabulary,
        context: size("llama.context_length")?,
    };
    if shape.heads * HEAD_DIM != shape.width {
        let value = u64::try_from(shape.heads).unwrap_or(u64::MAX);
        return Err(ModelError::Size { key: "llama.attention.head_count", value });
    }
    if !shape.heads.is_multiple_of(shape.kv_heads) {
        let value = u64::try_from(shape.kv_heads).unwrap_or(u64::MAX);
        return Err(ModelError::Size { key: "llama.attention.head_count_kv", value });
    }
    Ok(shape)
}

fn load_layer(gguf: &Gguf<'_>, shape: Shape, index: usize) -> Result<Layer, ModelError> {
    let name = |part: &str| format!("blk.{index}.{part}.weight");
    let (q, k, v) = (name("attn_q"), name("attn_k"), name("attn_v"));
    let (gate, up) = (name("ffn_gate"), name("ffn_up"));
    let kv = shape.kv_heads * HEAD_DIM;
    for (name, rows) in [(&q, shape.width), (&k, kv), (&v, kv), (&gate, shape.hidden), (&up, shape.hidden)] {
        if gguf.tensor(name)?.dims.get(1) != Some(&rows) {
            return Err(ModelError::Shape { name: name.clone() });
        }
    }
    Ok(Layer {
        attention_norm: vector(gguf, &name("attn_norm"), shape.width)?,
        qkv: matrix(gguf, &[&q, &k, &v], shape.width + 2 * kv, shape.width)?,
        output: matrix(gguf, &[&name("attn_output")], shape.width, shape.width)?,
        ffn_norm: vector(gguf, &name("ffn_norm"), shape.width)?,
        gate_up: matrix(gguf, &[&gate, &up], 2 * shape.hidden, shape.width)?,
        down: matrix(gguf, &[&name("ffn_down")], shape.width, shape.hidden)?,
    })
}

fn matrix(gguf: &Gguf<'_>, names: &[&str], rows: usize, columns: usize) -> Result<Matrix, ModelError> {
    let tensors: Vec<&Tensor<'_>> = names.iter().map(|name| gguf.tensor(name)).collect::<Result<_, _>>()?;
    let name = names.first().copied().unwrap_or_default();
    let matrix = Matrix::stack(name, &tensors)?;
    if matrix.rows() != rows || matrix.columns() != columns {
        return Err(ModelError::Shape { name: name.to_owned() });
    }
    Ok(matrix)
}

fn vector(gguf: &Gguf<'_>, name: &str, len: usize) -> Result<Vec<Lanes>, ModelError> {
    let tensor = gguf.tensor(name)?;
    if tensor.ty != TensorType::F32 || tensor.dims != [len] {
        return Err(ModelError::Shape { name: name.to_owned() });
    }
    let (words, _) = tensor.data.as_chunks::<4>();
    let numbers: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let (lanes, _) = numbers.as_chunks::<LANES>();
    Ok(lanes.to_vec())
}

/// Rotary angles in `f64` through `libm`, so that every platform has the same table.
fn rope_table(base: f64, context: usize) -> Vec<[f32; 2]> {
    let frequencies: Vec<f64> =
        (0..HEAD_DIM / 2).map(|i| 1.0 / libm::pow(base, 2.0 * i as f64 / HEAD_DIM as f64)).collect();
    let mut table = Vec::with_capacity(context * frequencies.len());
    for position in 0..context {
        for frequency in &frequencies {
            let angle = position as f64 * frequency;
            #[expect(clippy::cast_possible_truncation, reason = "the table is single precision")]
            table.push([libm::cos(angle) as f32, libm::sin(angle) as f32]);
        }
    }
    table
}
