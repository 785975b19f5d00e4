//! Quantized weight matrices and activations, and their product.

use rayon::prelude::*;

use crate::gguf::{Tensor, TensorType};
use crate::kernels::{self, ActRow, ActRowMut, BLOCK, Isa, LANES, Lanes, Q4Block, Q8Block, f16_to_f32};
use crate::model::ModelError;

/// Activation rows that one pass over a weight group serves; what the registers hold.
const TILE: usize = 4;

/// A row-major weight matrix, packed for the kernels in groups of eight rows.
#[derive(Debug)]
pub(crate) struct Matrix {
    groups: Groups,
    rows: usize,
    blocks: usize,
}

#[derive(Debug)]
enum Groups {
    Q4(Vec<Q4Block>),
    Q8(Vec<Q8Block>),
}

impl Matrix {
    /// Stacks tensors of one type and width on top of each other, so that one product serves all.
    pub(crate) fn stack(name: &str, tensors: &[&Tensor<'_>]) -> Result<Self, ModelError> {
        let shape = || ModelError::Shape { name: name.to_owned() };
        let [first, ..] = tensors else { return Err(shape()) };
        let columns = *first.dims.first().ok_or_else(shape)?;
        if columns == 0 || columns % BLOCK != 0 {
            return Err(shape());
        }
        let blocks = columns / BLOCK;
        let mut rows = 0;
        let mut groups = match first.ty {
            TensorType::Q4_1 => Groups::Q4(Vec::new()),
            TensorType::Q8_0 => Groups::Q8(Vec::new()),
            TensorType::F32 => return Err(shape()),
        };
        for tensor in tensors {
            if tensor.dims.len() != 2 || tensor.dims[0] != columns || tensor.dims[1] % LANES != 0 {
                return Err(shape());
            }
            rows += tensor.dims[1];
            match (&mut groups, tensor.ty) {
                (Groups::Q4(out), TensorType::Q4_1) => pack(out, tensor.data, blocks, pack_q4),
                (Groups::Q8(out), TensorType::Q8_0) => pack(out, tensor.data, blocks, pack_q8),
                _ => return Err(shape()),
            }
        }
        Ok(Self { groups, rows, blocks })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.blocks * BLOCK
    }

    /// Row `index` as floats, for the embedding lookup.
    pub(crate) fn row(&self, index: usize, out: &mut [Lanes]) {
        let (start, lane) = ((index / LANES) * self.blocks, index % LANES);
        let (chunks, _) = out.as_chunks_mut::<{ BLOCK / LANES }>();
        for (b, chunk) in chunks.iter_mut().enumerate() {
            for (i, value) in chunk.as_flattened_mut().iter_mut().enumerate() {
                *value = match &self.groups {
                    Groups::Q4(groups) => groups[start + b].weight(lane, i),
                    Groups::Q8(groups) => groups[start + b].weight(lane, i),
                };
            }
        }
    }

    /// `out[g · acts.rows() + r]` becomes the products of weight rows `8g .. 8g+8` with activation row `r`.
    ///
    /// Each task owns whole weight groups, so the number of threads cannot change any result.
    pub(crate) fn multiply(&self, isa: Isa, threads: usize, acts: &Acts, out: &mut Vec<Lanes>) {
        let count = acts.rows();
        let groups = self.rows / LANES;
        out.clear();
        out.resize(groups * count, [0.0; LANES]);
        if count == 0 {
            return;
        }
        let task = |(g, out): (usize, &mut [Lanes])| match &self.groups {
            Groups::Q4(all) => {
                let weights = &all[g * self.blocks..(g + 1) * self.blocks];
                tiles(acts, out, |a| kernels::q4_dot(isa, weights, a), |a| kernels::q4_dot(isa, weights, a));
            }
            Groups::Q8(all) => {
                let weights = &all[g * self.blocks..(g + 1) * self.blocks];
                tiles(acts, out, |a| kernels::q8_dot(isa, weights, a), |a| kernels::q8_dot(isa, weights, a));
            }
        };
        if threads == 1 {
            out.chunks_mut(count).enumerate().for_each(task);
        } else {
            let least = (groups / (threads * 4)).max(4);
            out.par_chunks_mut(count).enumerate().with_min_len(least).for_each(task);
        }
    }
}

fn tiles(
    acts: &Acts,
    out: &mut [Lanes],
    many: impl Fn(&[ActRow<'_>; TILE]) -> [Lanes; TILE],
    single: impl Fn(&[ActRow<'_>; 1]) -> [Lanes; 1],
) {
    let (full, rest) = out.as_chunks_mut::<TILE>();
    for (t, tile) in full.iter_mut().enumerate() {
        *tile = many(&std::array::from_fn(|i| acts.row(t * TILE + i)));
    }
    for (i, out) in rest.iter_mut().enumerate() {
        [*out] = single(&[acts.row(full.len() * TILE + i)]);
    }
}

/// Packs whole groups of eight rows; `one` turns the eight rows' bytes of one block into a packed block.
fn pack<B>(out: &mut Vec<B>, data: &[u8], blocks: usize, one: fn(&[&[u8]; LANES]) -> B) {
    let groups = data.chunks_exact(blocks * LANES * block_bytes::<B>());
    for group in groups {
        let rows: Vec<&[u8]> = group.chunks_exact(blocks * block_bytes::<B>()).collect();
        for b in 0..blocks {
            let at = b * block_bytes::<B>();
            out.push(one(&std::array::from_fn(|lane| &rows[lane][at..at + block_bytes::<B>()])));
        }
    }
}

/// Bytes of one row's block in the file, by the type it is packed into.
const fn block_bytes<B>() -> usize {
    if size_of::<B>() == size_of::<Q4Block>() { 20 } else { 34 }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn pack_q4(rows: &[&[u8]; LANES]) -> Q4Block {
    let mut block = Q4Block {
        nibbles: [[0; 32]; 4],
        scale: rows.map(|row| half(row, 0)),
        min: rows.map(|row| half(row, 2)),
    };
    for (lane, row) in rows.iter().enumerate() {
        for g in 0..4 {
            block.nibbles[g][4 * lane..4 * lane + 4].copy_from_slice(&row[4 + 4 * g..8 + 4 * g]);
        }
    }
    block
}

fn pack_q8(rows: &[&[u8]; LANES]) -> Q8Block {
    let mut block = Q8Block { bytes: [[0; 32]; 8], scale: rows.map(|row| half(row, 0)) };
    for (lane, row) in rows.iter().enumerate() {
        for g in 0..8 {
            for j in 0..4 {
                block.bytes[g][4 * lane + j] = row[2 + 4 * g + j].cast_signed();
            }
        }
    }
    block
}

impl Q4Block {
    pub(crate) fn weight(&self, lane: usize, column: usize) -> f32 {
        let byte = self.nibbles[column % 16 / 4][4 * lane + column % 4];
        let nibble = if column < 16 { byte & 15 } else { byte >> 4 };
        f32::from(nibble) * self.scale[lane] + self.min[lane]
    }
}

impl Q8Block {
    pub(crate) fn weight(&self, lane: usize, column: usize) -> f32 {
        f32::from(self.bytes[column / 4][4 * lane + column % 4]) * self.scale[lane]
    }
}

/// Quantized activation rows; the buffers are reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    q: Vec<[i8; BLOCK]>,
    scale: Vec<f32>,
    sum: Vec<f32>,
    blocks: usize,
}

impl Acts {
    /// Resizes to `rows` of `columns` and fills each row with `fill(row, target)`.
    pub(crate) fn fill(
        &mut self,
        threads: usize,
        rows: usize,
        columns: usize,
        fill: impl Fn(usize, ActRowMut<'_>) + Sync,
    ) {
        self.blocks = columns / BLOCK;
        let len = rows * self.blocks;
        self.q.resize(len, [0; BLOCK]);
        self.scale.resize(len, 0.0);
        self.sum.resize(len, 0.0);
        let width = self.blocks.max(1);
        if threads == 1 || rows < 8 {
            let parts = self.q.chunks_mut(width).zip(self.scale.chunks_mut(width));
            for (r, ((q, scale), sum)) in parts.zip(self.sum.chunks_mut(width)).enumerate() {
                fill(r, ActRowMut { q, scale, sum });
            }
        } else {
            let parts = self.q.par_chunks_mut(width).zip(self.scale.par_chunks_mut(width));
            parts
                .zip(self.sum.par_chunks_mut(width))
                .enumerate()
                .with_min_len(4)
                .for_each(|(r, ((q, scale), sum))| fill(r, ActRowMut { q, scale, sum }));
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.scale.len().checked_div(self.blocks).unwrap_or(0)
    }

    fn row(&self, index: usize) -> ActRow<'_> {
        let range = index * self.blocks..(index + 1) * self.blocks;
        ActRow { q: &self.q[range.clone()], scale: &self.scale[range.clone()], sum: &self.sum[range] }
    }
}
