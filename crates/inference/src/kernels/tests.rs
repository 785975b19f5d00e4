//! Both paths agree bit for bit, and both compute what they say.

use proptest::prelude::*;

use super::*;

const BLOCKS: usize = 5;

/// Numbers from a seed: a plain generator keeps the strategies small.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// Between -4 and 4, now and then a hundred times as much.
    fn float(&mut self) -> f32 {
        let small = (self.next() % 80_000) as f32 / 10_000.0 - 4.0;
        if self.next().is_multiple_of(50) { small * 100.0 } else { small }
    }

    fn lanes(&mut self, count: usize) -> Vec<Lanes> {
        (0..count).map(|_| std::array::from_fn(|_| self.float())).collect()
    }

    fn q4(&mut self) -> Vec<Q4Block> {
        let block = |n: &mut Self| Q4Block {
            nibbles: std::array::from_fn(|_| std::array::from_fn(|_| n.byte())),
            scale: std::array::from_fn(|_| n.float() / 16.0),
            min: std::array::from_fn(|_| n.float()),
        };
        (0..BLOCKS).map(|_| block(self)).collect()
    }

    fn q8(&mut self) -> Vec<Q8Block> {
        let block = |n: &mut Self| Q8Block {
            bytes: std::array::from_fn(|_| std::array::from_fn(|_| n.byte().cast_signed().max(-127))),
            scale: std::array::from_fn(|_| n.float() / 16.0),
        };
        (0..BLOCKS).map(|_| block(self)).collect()
    }
}

#[derive(Debug, PartialEq, Clone)]
struct Quantized {
    q: Vec<[i8; BLOCK]>,
    scale: Vec<f32>,
    sum: Vec<f32>,
}

impl Quantized {
    fn make(blocks: usize, fill: impl FnOnce(ActRowMut<'_>)) -> Self {
        let mut out = Self { q: vec![[0; BLOCK]; blocks], scale: vec![0.0; blocks], sum: vec![0.0; blocks] };
        fill(ActRowMut { q: &mut out.q, scale: &mut out.scale, sum: &mut out.sum });
        out
    }

    fn row(&self) -> ActRow<'_> {
        ActRow { q: &self.q, scale: &self.scale, sum: &self.sum }
    }

    fn value(&self, i: usize) -> f32 {
        f32::from(self.q[i / BLOCK][i % BLOCK]) * self.scale[i / BLOCK]
    }
}

fn activations(numbers: &mut Numbers) -> [Quantized; 4] {
    std::array::from_fn(|_| {
        let x = numbers.lanes(BLOCKS * BLOCK / LANES);
        Quantized::make(BLOCKS, |out| quantize(Isa::scalar(), &x, out))
    })
}

fn bits(lanes: &[Lanes]) -> Vec<u32> {
    lanes.as_flattened().iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #[test]
    fn block_products_agree(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let (q4, q8, acts) = (numbers.q4(), numbers.q8(), activations(&mut numbers));
        let rows = std::array::from_fn::<_, 4, _>(|i| acts[i].row());
        let (scalar, best) = (Isa::scalar(), Isa::detect());
        let four = q4_dot(scalar, &q4, &rows);
        prop_assert_eq!(bits(&four), bits(&q4_dot(best, &q4, &rows)));
        let eight = q8_dot(scalar, &q8, &rows);
        prop_assert_eq!(bits(&eight), bits(&q8_dot(best, &q8, &rows)));
        // One row at a time is the same as four.
        for (i, row) in rows.iter().enumerate() {
            prop_assert_eq!(bits(&q4_dot(best, &q4, &[*row])), bits(&four[i..=i]));
            prop_assert_eq!(bits(&q8_dot(best, &q8, &[*row])), bits(&eight[i..=i]));
        }
    }

    #[test]
    fn block_products_are_dot_products(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let (q4, q8, acts) = (numbers.q4(), numbers.q8(), activations(&mut numbers));
        let four = q4_dot(Isa::detect(), &q4, &[acts[0].row()])[0];
        let eight = q8_dot(Isa::detect(), &q8, &[acts[0].row()])[0];
        for lane in 0..LANES {
            let mut expected = [0.0f64; 2];
            let mut size = [0.0f64; 2];
            for i in 0..BLOCKS * BLOCK {
                let x = f64::from(acts[0].value(i));
                let products = [
                    f64::from(q4[i / BLOCK].weight(lane, i % BLOCK)) * x,
                    f64::from(q8[i / BLOCK].weight(lane, i % BLOCK)) * x,
                ];
                for (n, product) in products.into_iter().enumerate() {
                    expected[n] += product;
                    size[n] += product.abs();
                }
            }
            prop_assert!((f64::from(four[lane]) - expected[0]).abs() <= 1e-4 * size[0] + 1e-6);
            prop_assert!((f64::from(eight[lane]) - expected[1]).abs() <= 1e-4 * size[1] + 1e-6);
        }
    }

    #[test]
    fn elementwise_kernels_agree(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let count = BLOCKS * BLOCK / LANES;
        let (x, weight, up) = (numbers.lanes(count), numbers.lanes(count), numbers.lanes(3 * count));
        let gate = numbers.lanes(3 * count);
        let run = |isa: Isa| {
            [
                Quantized::make(BLOCKS, |out| quantize(isa, &x, out)),
                Quantized::make(BLOCKS, |out| norm_quantize(isa, &x, &weight, 1e-5, out)),
                Quantized::make(BLOCKS, |out| swiglu_quantize(isa, &gate[1..], &up[1..], 3, out)),
            ]
        };
        let plain = run(Isa::scalar());
        prop_assert_eq!(&plain, &run(Isa::detect()));
        for (i, value) in x.as_flattened().iter().enumerate() {
            prop_assert!((plain[0].value(i) - value).abs() <= plain[0].scale[i / BLOCK] * 0.501);
        }
    }

    #[test]
    fn attention_agrees_and_ignores_what_lies_ahead(seed in any::<u64>(), len in 1usize..150) {
        const D: usize = 8;
        let mut numbers = Numbers(seed);
        let slab = PAGE * D;
        let pages: Vec<(Vec<Lanes>, Vec<Lanes>)> =
            (0..3).map(|_| (numbers.lanes(slab), numbers.lanes(slab))).collect();
        let query: [Lanes; D] = std::array::from_fn(|_| std::array::from_fn(|_| numbers.float() / 8.0));
        let run = |isa: Isa, pages: &[(Vec<Lanes>, Vec<Lanes>)]| {
            let views: Vec<(&[Lanes], &[Lanes])> = pages.iter().map(|(k, v)| (&k[..], &v[..])).collect();
            let mut out = [[0.0; LANES]; D];
            attend(isa, &query, &views, len, &mut Vec::new(), &mut out);
            bits(&out)
        };
        let plain = run(Isa::scalar(), &pages);
        prop_assert_eq!(&plain, &run(Isa::detect(), &pages));
        let mut other = pages.clone();
        let (page, at) = (len / PAGE, len % PAGE);
        other[page].1[at * D..].fill([f32::NAN; LANES]);
        for i in 0..D * LANES {
            for position in at..PAGE {
                other[page].0[position / LANES * D * LANES + i][position % LANES] = 1e30;
            }
        }
        prop_assert_eq!(&plain, &run(Isa::detect(), &other));
    }
}

#[test]
fn the_exponential_is_good_to_two_units_in_the_last_place() {
    for i in -87_000..88_000 {
        let x = i as f32 / 1000.0;
        let (got, expected) = (f64::from(generic::exp(x)), f64::from(x).exp());
        assert!((got - expected).abs() <= expected * 2.4e-7, "exp({x}) = {got}, not {expected}");
    }
    assert_eq!(generic::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(generic::exp(-100.0), 0.0);
    assert_eq!(generic::exp(0.0), 1.0);
}

#[test]
fn half_precision_widens_exactly() {
    let cases = [
        (0x0000, 0.0),
        (0x8000, -0.0),
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x7bff, 65504.0),
        (0x0001, 5.960_464_5e-8),
        (0x03ff, 6.097_555e-5),
        (0x0400, 6.103_515_6e-5),
        (0x7c00, f32::INFINITY),
    ];
    for (bits, value) in cases {
        assert_eq!(f16_to_f32(bits).to_bits(), value.to_bits(), "{bits:04x}");
    }
    assert!(f16_to_f32(0x7e00).is_nan());
}
