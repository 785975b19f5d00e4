//! The reference arithmetic. Marked `inline(always)` so that [`super::x86`] can compile it again with wider registers.

use super::{ActRow, ActRowMut, BLOCK, LANES, PAGE, Q4Block, Q8Block};

/// Eight floats that travel together: one SIMD register.
pub(crate) type Lanes = [f32; LANES];

/// Adding this to a float of small magnitude rounds it to an integer (ties to even) in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;
/// Below this, `exp` is zero.
const EXP_MIN: f32 = -87.0;
/// Above this, `exp` saturates.
const EXP_MAX: f32 = 88.0;

/// The tree in which eight lanes are summed.
#[inline(always)]
fn sum_lanes(v: Lanes) -> f32 {
    ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
}

#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Widens an IEEE half-precision number; exact.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let mantissa = u32::from(bits & 0x3ff);
    let magnitude = match (exponent, mantissa) {
        (0, 0) => 0,
        (0, m) => {
            let shift = m.leading_zeros() - 21;
            ((113 - shift) << 23) | (((m << shift) & 0x3ff) << 13)
        }
        (0x1f, m) => 0x7f80_0000 | (m << 13),
        (e, m) => ((e + 112) << 23) | (m << 13),
    };
    f32::from_bits(sign | magnitude)
}

/// `e^x` to about one unit in the last place: `2^n · p(r)` with `n = round(x / ln 2)` and a Cephes polynomial.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let clamped = if x > EXP_MAX { EXP_MAX } else { max(x, EXP_MIN) };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-1.428_606_8e-6, n.mul_add(-0.693_145_75, clamped));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 5e-1);
    let power = p.mul_add(r * r, r) + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < EXP_MIN { 0.0 } else { power * scale }
}

#[inline(always)]
pub(super) fn q4_dot<const R: usize>(weights: &[Q4Block], acts: &[ActRow<'_>; R]) -> [Lanes; R] {
    let mut acc = [[0.0f32; LANES]; R];
    let mut mins = [[0.0f32; LANES]; R];
    for (b, block) in weights.iter().enumerate() {
        for (r, act) in acts.iter().enumerate() {
            let x = &act.q[b];
            for lane in 0..LANES {
                let mut dot = 0i32;
                for g in 0..4 {
                    for j in 0..4 {
                        let byte = block.nibbles[g][4 * lane + j];
                        dot += i32::from(byte & 15) * i32::from(x[4 * g + j]);
                        dot += i32::from(byte >> 4) * i32::from(x[16 + 4 * g + j]);
                    }
                }
                let scale = block.scale[lane] * act.scale[b];
                acc[r][lane] = (dot as f32).mul_add(scale, acc[r][lane]);
                mins[r][lane] = block.min[lane].mul_add(act.sum[b], mins[r][lane]);
            }
        }
    }
    for (acc, mins) in acc.iter_mut().zip(&mins) {
        for (acc, min) in acc.iter_mut().zip(mins) {
            *acc += min;
        }
    }
    acc
}

#[inline(always)]
pub(super) fn q8_dot<const R: usize>(weights: &[Q8Block], acts: &[ActRow<'_>; R]) -> [Lanes; R] {
    let mut acc = [[0.0f32; LANES]; R];
    for (b, block) in weights.iter().enumerate() {
        for (r, act) in acts.iter().enumerate() {
            let x = &act.q[b];
            for (lane, acc) in acc[r].iter_mut().enumerate() {
                let mut dot = 0i32;
                for g in 0..8 {
                    for j in 0..4 {
                        dot += i32::from(block.bytes[g][4 * lane + j]) * i32::from(x[4 * g + j]);
                    }
                }
                let scale = block.scale[lane] * act.scale[b];
                *acc = (dot as f32).mul_add(scale, *acc);
            }
        }
    }
    acc
}

/// Each product is a multiply-add chain over the inputs in order.
#[inline(always)]
pub(super) fn dense<const R: usize>(weights: &[Lanes], inputs: &[&[f32]; R]) -> [Lanes; R] {
    let inputs = inputs.map(|input| &input[..weights.len()]);
    let mut acc = [[0.0f32; LANES]; R];
    for (k, weight) in weights.iter().enumerate() {
        for (acc, input) in acc.iter_mut().zip(&inputs) {
            for lane in 0..LANES {
                acc[lane] = input[k].mul_add(weight[lane], acc[lane]);
            }
        }
    }
    acc
}

/// Quantizes 32 numbers: scale `max|x| / 127`, rounding to nearest, ties to even.
#[inline(always)]
fn quantize_block(x: &[Lanes; 4], out: &mut ActRowMut<'_>, b: usize) {
    let mut peak = [0.0f32; LANES];
    for group in x {
        for lane in 0..LANES {
            peak[lane] = max(group[lane].abs(), peak[lane]);
        }
    }
    let mut largest = 0.0f32;
    for value in peak {
        largest = max(value, largest);
    }
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut sum = 0i32;
    let q = &mut out.q[b];
    for (i, group) in x.iter().enumerate() {
        for lane in 0..LANES {
            let rounded = group[lane] * inverse + ROUND;
            let byte = rounded.to_bits().to_le_bytes()[0].cast_signed();
            q[LANES * i + lane] = byte;
            sum += i32::from(byte);
        }
    }
    out.scale[b] = scale;
    out.sum[b] = scale * sum as f32;
}

#[inline(always)]
pub(super) fn quantize(x: &[Lanes], mut out: ActRowMut<'_>) {
    let (blocks, _) = x.as_chunks::<{ BLOCK / LANES }>();
    for (b, block) in blocks.iter().enumerate() {
        quantize_block(block, &mut out, b);
    }
}

#[inline(always)]
pub(super) fn norm_quantize(x: &[Lanes], weight: &[Lanes], eps: f32, mut out: ActRowMut<'_>) {
    let mut squares = [0.0f32; LANES];
    for group in x {
        for lane in 0..LANES {
            squares[lane] = group[lane].mul_add(group[lane], squares[lane]);
        }
    }
    let mean = sum_lanes(squares) / (x.len() * LANES) as f32;
    let factor = 1.0 / (mean + eps).sqrt();
    let (blocks, _) = x.as_chunks::<{ BLOCK / LANES }>();
    let (weights, _) = weight.as_chunks::<{ BLOCK / LANES }>();
    for (b, (block, weight)) in blocks.iter().zip(weights).enumerate() {
        let mut y = [[0.0f32; LANES]; BLOCK / LANES];
        for i in 0..BLOCK / LANES {
            for lane in 0..LANES {
                y[i][lane] = block[i][lane] * factor * weight[i][lane];
            }
        }
        quantize_block(&y, &mut out, b);
    }
}

#[inline(always)]
pub(super) fn swiglu_quantize(gate: &[Lanes], up: &[Lanes], stride: usize, mut out: ActRowMut<'_>) {
    for b in 0..out.scale.len() {
        let mut y = [[0.0f32; LANES]; BLOCK / LANES];
        for (i, group) in y.iter_mut().enumerate() {
            let at = (b * (BLOCK / LANES) + i) * stride;
            let (g, u) = (gate[at], up[at]);
            for lane in 0..LANES {
                group[lane] = g[lane] / (1.0 + exp(-g[lane])) * u[lane];
            }
        }
        quantize_block(&y, &mut out, b);
    }
}

/// Position groups whose scores are computed together, to hide the latency of the multiply-adds.
const GROUPS: usize = 4;

/// Scores of `GROUPS · 8` positions: each is a multiply-add chain over the head's dimensions in order.
#[inline(always)]
fn scores<const D: usize>(query: &[Lanes; D], keys: &[Lanes], first: usize) -> [Lanes; GROUPS] {
    let mut acc = [[0.0f32; LANES]; GROUPS];
    let width = D * LANES;
    let base = &keys[first * width..(first + GROUPS) * width];
    for i in 0..D {
        for j in 0..LANES {
            let q = query[i][j];
            for (n, acc) in acc.iter_mut().enumerate() {
                let key = base[n * width + i * LANES + j];
                for lane in 0..LANES {
                    acc[lane] = q.mul_add(key[lane], acc[lane]);
                }
            }
        }
    }
    acc
}

#[inline(always)]
pub(super) fn attend<const D: usize>(
    query: &[Lanes; D],
    pages: &[(&[Lanes], &[Lanes])],
    len: usize,
    scratch: &mut Vec<Lanes>,
    out: &mut [Lanes; D],
) {
    let scale = 1.0 / ((D * LANES) as f32).sqrt();
    scratch.clear();
    for (p, (keys, _)) in pages.iter().enumerate() {
        let mut first = 0;
        while first < PAGE / LANES && p * PAGE + first * LANES < len {
            scratch.extend_from_slice(&scores(query, keys, first));
            first += GROUPS;
        }
    }
    let total = softmax(scratch, scale, len);
    let mut acc = [[0.0f32; LANES]; D];
    for (p, (_, values)) in pages.iter().enumerate() {
        let start = p * PAGE;
        let (rows, _) = values.as_chunks::<D>();
        for (t, row) in rows.iter().enumerate().take(len.saturating_sub(start)) {
            let weight = scratch[(start + t) / LANES][(start + t) % LANES];
            for i in 0..D {
                for lane in 0..LANES {
                    acc[i][lane] = weight.mul_add(row[i][lane], acc[i][lane]);
                }
            }
        }
    }
    for i in 0..D {
        for lane in 0..LANES {
            out[i][lane] = acc[i][lane] / total;
        }
    }
}

/// Turns raw scores into unnormalized weights and returns their sum; positions from `len` on get none.
#[inline(always)]
fn softmax(scores: &mut [Lanes], scale: f32, len: usize) -> f32 {
    let mut peak = [f32::NEG_INFINITY; LANES];
    for (i, group) in scores.iter_mut().enumerate() {
        for lane in 0..LANES {
            let score = if i * LANES + lane < len { group[lane] * scale } else { f32::NEG_INFINITY };
            group[lane] = score;
            peak[lane] = max(score, peak[lane]);
        }
    }
    let mut largest = f32::NEG_INFINITY;
    for value in peak {
        largest = max(value, largest);
    }
    let mut total = [0.0f32; LANES];
    for group in scores.iter_mut() {
        for lane in 0..LANES {
            group[lane] = exp(group[lane] - largest);
            total[lane] += group[lane];
        }
    }
    sum_lanes(total)
}
