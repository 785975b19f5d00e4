//! The same arithmetic for AVX2 and FMA: the generic source compiled again, and the two block dot products by hand.

use std::arch::x86_64::{
    __m256i, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256,
    _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_srli_epi16,
    _mm256_storeu_ps,
};

use super::generic::{self, Lanes};
use super::{ActRow, ActRowMut, BLOCK, LANES, Q4Block, Q8Block};

#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "unaligned SIMD load")]
fn load_u8(from: &[u8; 32]) -> __m256i {
    // SAFETY: reads 32 bytes from a reference to 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "unaligned SIMD load")]
fn load_i8(from: &[i8; 32]) -> __m256i {
    // SAFETY: reads 32 bytes from a reference to 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "unaligned SIMD load")]
fn load_f32(from: &Lanes) -> std::arch::x86_64::__m256 {
    // SAFETY: reads 8 floats from a reference to 8 floats; the load needs no alignment.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "unaligned SIMD store")]
fn store_f32(value: std::arch::x86_64::__m256) -> Lanes {
    let mut out = [0.0; LANES];
    // SAFETY: writes 8 floats to a local array of 8 floats; the store needs no alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), value) };
    out
}

/// Bytes `4g .. 4g+4` of an activation block in every 32-bit lane.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn splat4(q: &[i8; BLOCK], g: usize) -> __m256i {
    let (words, _) = q.as_chunks::<4>();
    let bytes = words[g].map(i8::cast_unsigned);
    _mm256_set1_epi32(i32::from_le_bytes(bytes))
}

/// A nibble times a signed byte, twice, is at most 3,840 in magnitude, so the eight partial sums of a block fit 16 bits.
#[target_feature(enable = "avx2,fma")]
pub(super) fn q4_dot<const R: usize>(weights: &[Q4Block], acts: &[ActRow<'_>; R]) -> [Lanes; R] {
    let n = weights.len();
    let acts = acts.map(|a| ActRow { q: &a.q[..n], scale: &a.scale[..n], sum: &a.sum[..n] });
    let ones = _mm256_set1_epi16(1);
    let low = _mm256_set1_epi8(15);
    let mut acc = [_mm256_setzero_ps(); R];
    let mut mins = [_mm256_setzero_ps(); R];
    for (b, block) in weights.iter().enumerate() {
        let mut dots = [_mm256_setzero_si256(); R];
        for g in 0..4 {
            let packed = load_u8(&block.nibbles[g]);
            let lo = _mm256_and_si256(packed, low);
            let hi = _mm256_and_si256(_mm256_srli_epi16::<4>(packed), low);
            for r in 0..R {
                let q = &acts[r].q[b];
                let first = _mm256_maddubs_epi16(lo, splat4(q, g));
                let second = _mm256_maddubs_epi16(hi, splat4(q, g + 4));
                dots[r] = _mm256_add_epi16(dots[r], _mm256_add_epi16(first, second));
            }
        }
        let scale = load_f32(&block.scale);
        let min = load_f32(&block.min);
        for r in 0..R {
            let dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(dots[r], ones));
            let scale = _mm256_mul_ps(scale, _mm256_set1_ps(acts[r].scale[b]));
            acc[r] = _mm256_fmadd_ps(dot, scale, acc[r]);
            mins[r] = _mm256_fmadd_ps(min, _mm256_set1_ps(acts[r].sum[b]), mins[r]);
        }
    }
    let mut out = [[0.0; LANES]; R];
    for r in 0..R {
        out[r] = store_f32(_mm256_add_ps(acc[r], mins[r]));
    }
    out
}

/// The signed product goes through `|w| · (±x)`; weights and activations lie within ±127.
#[target_feature(enable = "avx2,fma")]
pub(super) fn q8_dot<const R: usize>(weights: &[Q8Block], acts: &[ActRow<'_>; R]) -> [Lanes; R] {
    let n = weights.len();
    let acts = acts.map(|a| ActRow { q: &a.q[..n], scale: &a.scale[..n], sum: a.sum });
    let ones = _mm256_set1_epi16(1);
    let mut acc = [_mm256_setzero_ps(); R];
    for (b, block) in weights.iter().enumerate() {
        let mut dots = [_mm256_setzero_si256(); R];
        for g in 0..8 {
            let w = load_i8(&block.bytes[g]);
            let magnitude = _mm256_abs_epi8(w);
            for r in 0..R {
                let signed = _mm256_sign_epi8(splat4(&acts[r].q[b], g), w);
                let pairs = _mm256_maddubs_epi16(magnitude, signed);
                dots[r] = _mm256_add_epi32(dots[r], _mm256_madd_epi16(pairs, ones));
            }
        }
        let scale = load_f32(&block.scale);
        for r in 0..R {
            let scale = _mm256_mul_ps(scale, _mm256_set1_ps(acts[r].scale[b]));
            acc[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r]), scale, acc[r]);
        }
    }
    let mut out = [[0.0; LANES]; R];
    for r in 0..R {
        out[r] = store_f32(acc[r]);
    }
    out
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn dense<const R: usize>(weights: &[Lanes], inputs: &[&[f32]; R]) -> [Lanes; R] {
    generic::dense(weights, inputs)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn quantize(x: &[Lanes], out: ActRowMut<'_>) {
    generic::quantize(x, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn norm_quantize(x: &[Lanes], weight: &[Lanes], eps: f32, out: ActRowMut<'_>) {
    generic::norm_quantize(x, weight, eps, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn swiglu_quantize(gate: &[Lanes], up: &[Lanes], stride: usize, out: ActRowMut<'_>) {
    generic::swiglu_quantize(gate, up, stride, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn attend<const D: usize>(
    query: &[Lanes; D],
    pages: &[(&[Lanes], &[Lanes])],
    len: usize,
    scratch: &mut Vec<Lanes>,
    out: &mut [Lanes; D],
) {
    generic::attend(query, pages, len, scratch, out);
}
