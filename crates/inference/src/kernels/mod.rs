//! The arithmetic, and the whole specification of its rounding.
//!
//! Every function here exists once as plain Rust in [`generic`]. On x86-64 with AVX2, FMA and F16C the same source
//! is compiled a second time with those features on, and the two block dot products have hand-written versions in
//! [`x86`]. IEEE 754 fixes the result of every operation used (add, multiply, divide, square root, fused
//! multiply-add), integer sums are exact, and each output is computed in one fixed order, so all paths agree bit for
//! bit. The compiler never reorders or fuses floating-point operations on its own.
//!
//! This is the only module with `unsafe` code.

mod generic;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use generic::{Lanes, f16_to_f32};

/// Rows of a weight matrix that are stored together, one per SIMD lane.
pub(crate) const LANES: usize = 8;
/// Weights that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Positions in one page of the key-value cache.
pub(crate) const PAGE: usize = 64;

/// 32 columns of 8 rows of Q4_1 weights. Byte `4·row + j` of `nibbles[g]` holds column `4g + j` in its low half and
/// column `16 + 4g + j` in its high half.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub(crate) struct Q4Block {
    pub(crate) nibbles: [[u8; 32]; 4],
    pub(crate) scale: Lanes,
    pub(crate) min: Lanes,
}

/// 32 columns of 8 rows of Q8_0 weights. Byte `4·row + j` of `bytes[g]` is column `4g + j`.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub(crate) struct Q8Block {
    pub(crate) bytes: [[i8; 32]; 8],
    pub(crate) scale: Lanes,
}

/// One activation row, quantized in blocks of 32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActRow<'a> {
    pub(crate) q: &'a [[i8; BLOCK]],
    pub(crate) scale: &'a [f32],
    /// `scale · Σ q`, which a Q4_1 block's minimum multiplies.
    pub(crate) sum: &'a [f32],
}

/// Where a quantized row is written.
#[derive(Debug)]
pub(crate) struct ActRowMut<'a> {
    pub(crate) q: &'a mut [[i8; BLOCK]],
    pub(crate) scale: &'a mut [f32],
    pub(crate) sum: &'a mut [f32],
}

/// The instruction set to compute with. A value that says AVX2 exists only where the processor has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Isa {
    avx2: bool,
}

impl Isa {
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            Self { avx2: is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Self { avx2: false }
        }
    }

    pub(crate) fn scalar() -> Self {
        Self { avx2: false }
    }

    pub(crate) fn name(self) -> &'static str {
        if self.avx2 { "avx2" } else { "scalar" }
    }
}

/// Runs `x86::$name` when the processor has AVX2, else `generic::$name`.
macro_rules! dispatch {
    ($isa:expr, $name:ident $(::<$($g:tt),+>)?, $($arg:expr),* $(,)?) => {{
        #[cfg(target_arch = "x86_64")]
        {
            if $isa.avx2 {
                #[expect(unsafe_code, reason = "calls a function compiled for AVX2 and FMA")]
                // SAFETY: `Isa::detect` set `avx2` only after finding both features on this processor.
                unsafe { x86::$name $(::<$($g),+>)? ($($arg),*) }
            } else {
                generic::$name $(::<$($g),+>)? ($($arg),*)
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = $isa;
            generic::$name $(::<$($g),+>)? ($($arg),*)
        }
    }};
}

/// Dot products of 8 weight rows with `R` activation rows.
pub(crate) fn q4_dot<const R: usize>(isa: Isa, weights: &[Q4Block], acts: &[ActRow<'_>; R]) -> [Lanes; R] {
    dispatch!(isa, q4_dot, weights, acts)
}

/// Dot products of 8 weight rows with `R` activation rows.
pub(crate) fn q8_dot<const R: usize>(isa: Isa, weights: &[Q8Block], acts: &[ActRow<'_>; R]) -> [Lanes; R] {
    dispatch!(isa, q8_dot, weights, acts)
}

/// Products of 8 rows of unquantized weights, side by side, with `R` rows of as many inputs as there are weights.
pub(crate) fn dense<const R: usize>(isa: Isa, weights: &[Lanes], inputs: &[&[f32]; R]) -> [Lanes; R] {
    dispatch!(isa, dense, weights, inputs)
}

/// RMS norm of `x` scaled by `weight`, quantized.
pub(crate) fn norm_quantize(isa: Isa, x: &[Lanes], weight: &[Lanes], eps: f32, out: ActRowMut<'_>) {
    dispatch!(isa, norm_quantize, x, weight, eps, out)
}

pub(crate) fn quantize(isa: Isa, x: &[Lanes], out: ActRowMut<'_>) {
    dispatch!(isa, quantize, x, out)
}

/// `silu(gate) · up`, quantized. Lane group `i` of the row is at `i · stride` of each slice.
pub(crate) fn swiglu_quantize(isa: Isa, gate: &[Lanes], up: &[Lanes], stride: usize, out: ActRowMut<'_>) {
    dispatch!(isa, swiglu_quantize, gate, up, stride, out)
}

/// Attention of one query head of dimension `8·D` over the first `len` positions.
///
/// `keys[p]` is page `p` as `[PAGE/8][8·D]` lanes of 8 positions; `values[p]` is page `p` as `[PAGE][D]`.
pub(crate) fn attend<const D: usize>(
    isa: Isa,
    query: &[Lanes; D],
    pages: &[(&[Lanes], &[Lanes])],
    len: usize,
    scratch: &mut Vec<Lanes>,
    out: &mut [Lanes; D],
) {
    dispatch!(isa, attend::<D>, query, pages, len, scratch, out)
}
