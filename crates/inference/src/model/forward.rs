//! One step of continuous batching: rows of any sequences through the whole network.

use rayon::prelude::*;

use super::matrix::Acts;
use super::{HEAD_DIM, Layer, Model, Sequence};
use crate::kernels::{self, LANES, Lanes};

const HEAD_LANES: usize = HEAD_DIM / LANES;
/// Score evaluations below which attention is not worth spreading over threads.
const PARALLEL_ATTENTION: usize = 2048;

/// One token to feed: which of the step's sequences, and whether its logits are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) sequence: usize,
    pub(crate) token: u32,
    pub(crate) logits: bool,
}

/// Memory that steps reuse.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    hidden: Vec<Lanes>,
    acts: Acts,
    product: Vec<Lanes>,
    attention: Vec<Lanes>,
    positions: Vec<usize>,
    logits: Vec<f32>,
}

impl Model {
    /// Feeds `rows` (those of one sequence in order) and returns the wanted rows' logits, one after the other.
    ///
    /// Every sequence must have pages for its new length. What a row yields depends on its own sequence alone.
    pub(crate) fn step<'b>(
        &self,
        threads: usize,
        sequences: &mut [&mut Sequence],
        rows: &[Row],
        buffers: &'b mut Buffers,
    ) -> &'b [f32] {
        self.place(sequences, rows, buffers);
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(index, layer, threads, sequences, rows, buffers);
            self.feed_forward(layer, threads, rows.len(), buffers);
        }
        for row in rows {
            sequences[row.sequence].advance(1);
        }
        self.logits(threads, rows, buffers);
        &buffers.logits
    }

    /// Looks up embeddings and positions.
    fn place(&self, sequences: &[&mut Sequence], rows: &[Row], buffers: &mut Buffers) {
        let width = self.shape.width / LANES;
        buffers.hidden.resize(rows.len() * width, [0.0; LANES]);
        buffers.positions.clear();
        let mut next: Vec<usize> = sequences.iter().map(|sequence| sequence.len()).collect();
        for (row, hidden) in rows.iter().zip(buffers.hidden.chunks_mut(width)) {
            buffers.positions.push(next[row.sequence]);
            next[row.sequence] += 1;
            let token = usize::try_from(row.token).unwrap_or(0).min(self.shape.vocabulary - 1);
            self.embedding.row(token, hidden);
        }
    }

    fn attention(
        &self,
        index: usize,
        layer: &Layer,
        threads: usize,
        sequences: &mut [&mut Sequence],
        rows: &[Row],
        buffers: &mut Buffers,
    ) {
        let Buffers { hidden, acts, product, attention, positions, .. } = buffers;
        let width = self.shape.width / LANES;
        let (isa, epsilon, count) = (self.isa, self.epsilon, rows.len());
        acts.fill(threads, count, self.shape.width, |r, out| {
            let x = &hidden[r * width..(r + 1) * width];
            kernels::norm_quantize(isa, x, &layer.attention_norm, epsilon, out);
        });
        layer.qkv.multiply(isa, threads, acts, product);
        for (r, row) in rows.iter().enumerate() {
            self.store(index, sequences[row.sequence], product, count, r, positions[r]);
        }
        let sequences: &[&mut Sequence] = sequences;
        let group = self.shape.heads / self.shape.kv_heads;
        attention.resize(count * width, [0.0; LANES]);
        let task = |scratch: &mut Vec<Lanes>, (i, out): (usize, &mut [Lanes])| {
            let (r, kv_head) = (i / self.shape.kv_heads, i % self.shape.kv_heads);
            let slabs: Vec<_> = sequences[rows[r].sequence].slabs(index, kv_head).collect();
            let (heads, _) = out.as_chunks_mut::<HEAD_LANES>();
            for (h, out) in heads.iter_mut().enumerate() {
                let query = self.rotated(product, count, r, kv_head * group + h, positions[r]);
                kernels::attend(isa, &query, &slabs, positions[r] + 1, scratch, out);
            }
        };
        let chunk = group * HEAD_LANES;
        let work: usize = positions.iter().map(|position| (position + 1) * self.shape.heads).sum();
        if threads == 1 || work < PARALLEL_ATTENTION {
            let mut scratch = Vec::new();
            attention.chunks_mut(chunk).enumerate().for_each(|part| task(&mut scratch, part));
        } else {
            attention.par_chunks_mut(chunk).enumerate().for_each_init(Vec::new, task);
        }
        acts.fill(threads, count, self.shape.width, |r, out| {
            kernels::quantize(isa, &attention[r * width..(r + 1) * width], out);
        });
        layer.output.multiply(isa, threads, acts, product);
        add(hidden, product, count, width);
    }

    /// Head `head` of row `r` of a product, rotated to its position.
    fn rotated(
        &self,
        product: &[Lanes],
        count: usize,
        r: usize,
        head: usize,
        position: usize,
    ) -> [Lanes; HEAD_LANES] {
        let mut out: [Lanes; HEAD_LANES] =
            std::array::from_fn(|i| product[(head * HEAD_LANES + i) * count + r]);
        let angles = &self.rope[position * HEAD_DIM / 2..][..HEAD_DIM / 2];
        let (pairs, _) = out.as_flattened_mut().as_chunks_mut::<2>();
        for ([a, b], [cos, sin]) in pairs.iter_mut().zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
        out
    }

    /// Puts row `r`'s keys and values into its sequence's cache.
    fn store(
        &self,
        index: usize,
        sequence: &mut Sequence,
        product: &[Lanes],
        count: usize,
        r: usize,
        position: usize,
    ) {
        for head in 0..self.shape.kv_heads {
            let key = self.rotated(product, count, r, self.shape.heads + head, position);
            let first = (self.shape.heads + self.shape.kv_heads + head) * HEAD_LANES;
            let value: [Lanes; HEAD_LANES] = std::array::from_fn(|i| product[(first + i) * count + r]);
            sequence.write(index, head, position, &key, &value);
        }
    }

    fn feed_forward(&self, layer: &Layer, threads: usize, count: usize, buffers: &mut Buffers) {
        let Buffers { hidden, acts, product, .. } = buffers;
        let width = self.shape.width / LANES;
        let (isa, epsilon) = (self.isa, self.epsilon);
        acts.fill(threads, count, self.shape.width, |r, out| {
            let x = &hidden[r * width..(r + 1) * width];
            kernels::norm_quantize(isa, x, &layer.ffn_norm, epsilon, out);
        });
        layer.gate_up.multiply(isa, threads, acts, product);
        let (gate, up) = product.split_at(self.shape.hidden / LANES * count);
        acts.fill(threads, count, self.shape.hidden, |r, out| {
            kernels::swiglu_quantize(isa, &gate[r..], &up[r..], count, out);
        });
        layer.down.multiply(isa, threads, acts, product);
        add(hidden, product, count, width);
    }

    fn logits(&self, threads: usize, rows: &[Row], buffers: &mut Buffers) {
        let Buffers { hidden, acts, product, logits, .. } = buffers;
        let width = self.shape.width / LANES;
        let wanted: Vec<usize> =
            rows.iter().enumerate().filter(|(_, row)| row.logits).map(|(r, _)| r).collect();
        logits.resize(wanted.len() * self.shape.vocabulary, 0.0);
        if wanted.is_empty() {
            return;
        }
        acts.fill(threads, wanted.len(), self.shape.width, |i, out| {
            let x = &hidden[wanted[i] * width..(wanted[i] + 1) * width];
            kernels::norm_quantize(self.isa, x, &self.norm, self.epsilon, out);
        });
        self.head.as_ref().unwrap_or(&self.embedding).multiply(self.isa, threads, acts, product);
        for (i, out) in logits.chunks_mut(self.shape.vocabulary).enumerate() {
            let (groups, _) = out.as_chunks_mut::<LANES>();
            for (g, group) in groups.iter_mut().enumerate() {
                *group = product[g * wanted.len() + i];
            }
        }
    }
}

/// Adds a product (lane groups by row) to the hidden state (rows of lane groups).
fn add(hidden: &mut [Lanes], product: &[Lanes], count: usize, width: usize) {
    for (r, hidden) in hidden.chunks_mut(width).enumerate() {
        for (g, group) in hidden.iter_mut().enumerate() {
            let sum = product[g * count + r];
            for lane in 0..LANES {
                group[lane] += sum[lane];
            }
        }
    }
}
