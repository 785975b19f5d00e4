//! Choosing a token: a pure function of the logits, the parameters, and (seed, choice, position, token id).
//!
//! Each token gets a Gumbel number from a counter-based hash and the largest `logit / temperature + gumbel` wins;
//! that draws from the softmax without any running state, so anyone can repeat one position alone. All of it is
//! `f64` through `libm`; ties go to the lowest id.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::digest::hash_parts;

const DOMAIN: &[u8] = b"atoma/1/gumbel";

/// Parameters that decide which token follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f64,
    /// Share of probability to draw from; 1 draws from everything.
    pub top_p: f64,
    pub seed: u64,
    /// Taken off a token's logit per earlier occurrence in the same choice.
    pub frequency_penalty: f64,
    /// Taken off once if the token occurred in the same choice.
    pub presence_penalty: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, seed: 0, frequency_penalty: 0.0, presence_penalty: 0.0 }
    }
}

/// How often each token was already sampled in a choice; kept only when a penalty needs it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts(HashMap<u32, u32>);

impl Counts {
    pub(crate) fn add(&mut self, sampling: &Sampling, token: u32) {
        if sampling.frequency_penalty != 0.0 || sampling.presence_penalty != 0.0 {
            *self.0.entry(token).or_default() += 1;
        }
    }
}

/// A token's rank: higher score first, then lower id.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: u32,
    score: f64,
}

impl Candidate {
    fn order(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.token.cmp(&other.token))
    }
}

/// Samples output token `position` (from 0) of choice `choice`, given as `(choice, position)`. Tokens in `silent` are
/// never taken.
pub(crate) fn sample(
    sampling: &Sampling,
    (choice, position): (u32, u64),
    counts: &Counts,
    silent: &[u32],
    logits: &[f32],
) -> u32 {
    let mut candidates: Vec<Candidate> = logits
        .iter()
        .zip(0u32..)
        .map(|(logit, token)| Candidate { token, score: f64::from(*logit) })
        .collect();
    for (token, count) in &counts.0 {
        if let Some(candidate) = usize::try_from(*token).ok().and_then(|index| candidates.get_mut(index)) {
            candidate.score -= f64::from(*count) * sampling.frequency_penalty + sampling.presence_penalty;
        }
    }
    for token in silent {
        if let Some(candidate) = usize::try_from(*token).ok().and_then(|index| candidates.get_mut(index)) {
            candidate.score = f64::NEG_INFINITY;
        }
    }
    let best = best(&candidates);
    if sampling.temperature <= 0.0 {
        return best.token;
    }
    for candidate in &mut candidates {
        candidate.score = (candidate.score - best.score) / sampling.temperature;
    }
    if sampling.top_p < 1.0 {
        nucleus(&mut candidates, sampling.top_p);
    }
    Noise::new(sampling.seed, choice, position).choose(&candidates, best.token)
}

fn best(candidates: &[Candidate]) -> Candidate {
    let first = Candidate { token: 0, score: f64::NEG_INFINITY };
    candidates
        .iter()
        .fold(first, |best, candidate| if candidate.score > best.score { *candidate } else { best })
}

/// Keeps the smallest set of most likely tokens whose probabilities reach `top_p`. Scores are relative to the best.
fn nucleus(candidates: &mut Vec<Candidate>, top_p: f64) {
    let total: f64 = candidates.iter().map(|candidate| libm::exp(candidate.score)).sum();
    let goal = top_p * total;
    let mut sorted = 0;
    let mut reached = 0.0;
    let mut next = 256;
    while sorted < candidates.len() {
        let end = next.min(candidates.len());
        let rest = &mut candidates[sorted..];
        if end - sorted < rest.len() {
            rest.select_nth_unstable_by(end - sorted, Candidate::order);
        }
        candidates[sorted..end].sort_unstable_by(Candidate::order);
        for index in sorted..end {
            reached += libm::exp(candidates[index].score);
            if reached >= goal {
                candidates.truncate(index + 1);
                return;
            }
        }
        sorted = end;
        next *= 4;
    }
}

/// The random numbers of one position.
struct Noise {
    keys: [u64; 2],
}

impl Noise {
    fn new(seed: u64, choice: u32, position: u64) -> Self {
        let digest =
            hash_parts(&[DOMAIN, &seed.to_le_bytes(), &choice.to_le_bytes(), &position.to_le_bytes()]);
        let (words, _) = digest.as_chunks::<8>();
        Self { keys: [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])] }
    }

    /// Uniform on (0, 1): 52 hashed bits and a half, so that neither end is ever reached.
    fn uniform(&self, token: u32) -> f64 {
        let mut x = self.keys[0] ^ (u64::from(token) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for key in [self.keys[1], self.keys[0]] {
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x = (x ^ (x >> 31)).wrapping_add(key);
        }
        ((x >> 12) as f64 + 0.5) * (1.0 / 4_503_599_627_370_496.0)
    }

    /// The candidate with the largest score plus Gumbel noise.
    ///
    /// Two logarithms per token are skipped where they cannot matter: `-ln u ≥ 1 - u`, so a token can only beat the
    /// best so far if `1 - u` is at most `e^(score - best)`, for which an upper bound of `exp` will do.
    fn choose(&self, candidates: &[Candidate], first: u32) -> u32 {
        let noisy = |candidate: &Candidate| {
            let u = self.uniform(candidate.token);
            candidate.score - libm::log(-libm::log(u))
        };
        let start = candidates.iter().find(|candidate| candidate.token == first);
        let Some(start) = start else { return first };
        let mut best = Candidate { token: first, score: noisy(start) };
        for candidate in candidates {
            if 1.0 - self.uniform(candidate.token) > exp_bound(candidate.score - best.score) {
                continue;
            }
            let challenger = Candidate { token: candidate.token, score: noisy(candidate) };
            if challenger.order(&best) == Ordering::Less {
                best = challenger;
            }
        }
        best.token
    }
}

/// At least `e^x`, by at most 7%: the chord between neighbouring powers of two lies above the exponential.
fn exp_bound(x: f64) -> f64 {
    let power = (x * std::f64::consts::LOG2_E).clamp(-1000.0, 1000.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^63")]
    let bits = ((power + 1023.0) * 4_503_599_627_370_496.0) as u64;
    f64::from_bits(bits) * 1.001
}

/// Natural log probabilities of the model itself: temperature, penalties and `top_p` play no part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogProbs {
    pub(crate) chosen: f64,
    /// The most likely tokens, best first.
    pub(crate) top: Vec<(u32, f64)>,
}

pub(crate) fn log_probs(logits: &[f32], token: u32, top: usize) -> LogProbs {
    let mut candidates: Vec<Candidate> = logits
        .iter()
        .zip(0u32..)
        .map(|(logit, token)| Candidate { token, score: f64::from(*logit) })
        .collect();
    let peak = best(&candidates).score;
    let total: f64 = candidates.iter().map(|candidate| libm::exp(candidate.score - peak)).sum();
    let normalizer = peak + libm::log(total);
    let index = usize::try_from(token).unwrap_or(usize::MAX);
    let chosen = candidates.get(index).map_or(f64::NEG_INFINITY, |candidate| candidate.score - normalizer);
    if top < candidates.len() {
        candidates.select_nth_unstable_by(top, Candidate::order);
        candidates.truncate(top);
    }
    candidates.sort_unstable_by(Candidate::order);
    let top = candidates.iter().map(|candidate| (candidate.token, candidate.score - normalizer)).collect();
    LogProbs { chosen, top }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "test data may be rounded")]
    fn logits(len: u32) -> Vec<f32> {
        (0..len).map(|i| ((f64::from(i) * 0.731).sin() * 3.0) as f32).collect()
    }

    /// The same choice without the shortcut.
    fn choose_plainly(noise: &Noise, candidates: &[Candidate]) -> u32 {
        let mut noisy: Vec<Candidate> = candidates
            .iter()
            .map(|c| Candidate {
                token: c.token,
                score: c.score - libm::log(-libm::log(noise.uniform(c.token))),
            })
            .collect();
        noisy.sort_unstable_by(Candidate::order);
        noisy[0].token
    }

    #[test]
    fn the_shortcut_changes_nothing() {
        let logits = logits(5000);
        for (round, temperature) in (0..300u64).zip([0.05, 0.7, 1.0, 2.0].into_iter().cycle()) {
            let candidates: Vec<Candidate> = logits
                .iter()
                .zip(0u32..)
                .map(|(l, token)| Candidate { token, score: (f64::from(*l) - 3.0) / temperature })
                .collect();
            let noise = Noise::new(round, 1, round);
            assert_eq!(
                noise.choose(&candidates, best(&candidates).token),
                choose_plainly(&noise, &candidates)
            );
        }
    }

    #[test]
    fn temperature_zero_takes_the_lowest_of_equals() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(sample(&greedy, (0, 0), &Counts::default(), &[], &[1.0, 3.0, 3.0, 2.0]), 1);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0f32, 1.0, 2.0, -1.0];
        let draws = 20_000u32;
        for temperature in [0.5, 1.0, 1.7] {
            let mut seen = [0u32; 4];
            let sampling = Sampling { temperature, seed: 7, ..Sampling::default() };
            for position in 0..draws {
                let token = sample(&sampling, (0, position.into()), &Counts::default(), &[], &logits);
                seen[usize::try_from(token).unwrap_or(0)] += 1;
            }
            let weights = logits.map(|l| (f64::from(l) / temperature).exp());
            let total: f64 = weights.iter().sum();
            for (count, weight) in seen.iter().zip(weights) {
                let (got, want) = (f64::from(*count) / f64::from(draws), weight / total);
                assert!((got - want).abs() < 0.015, "temperature {temperature}: {got} for {want}");
            }
        }
    }

    #[test]
    fn top_p_draws_only_from_the_nucleus() {
        let logits = logits(2000);
        let mut order: Vec<u32> = (0..2000).collect();
        let at = |t: &u32| logits[usize::try_from(*t).unwrap_or(0)];
        order.sort_by(|a, b| at(b).total_cmp(&at(a)).then(a.cmp(b)));
        let total: f64 = order.iter().map(|t| f64::from(at(t)).exp()).sum();
        let mut reached = 0.0;
        let mut allowed = Vec::new();
        for token in &order {
            allowed.push(*token);
            reached += f64::from(at(token)).exp();
            if reached >= 0.3 * total {
                break;
            }
        }
        let sampling = Sampling { top_p: 0.3, seed: 3, ..Sampling::default() };
        let mut seen = std::collections::HashSet::new();
        for position in 0..2000 {
            let token = sample(&sampling, (0, position), &Counts::default(), &[], &logits);
            assert!(allowed.contains(&token), "{token} is outside the nucleus");
            seen.insert(token);
        }
        assert!(seen.len() > allowed.len() / 2);
        let narrow = Sampling { top_p: 0.0, ..sampling };
        assert_eq!(sample(&narrow, (0, 0), &Counts::default(), &[], &logits), order[0]);
    }

    #[test]
    fn seed_choice_and_position_all_matter() {
        let logits = vec![0.0f32; 1000];
        let draw = |seed, choice, position| {
            sample(
                &Sampling { seed, ..Sampling::default() },
                (choice, position),
                &Counts::default(),
                &[],
                &logits,
            )
        };
        assert_eq!(draw(1, 0, 0), draw(1, 0, 0));
        assert_ne!(draw(1, 0, 0), draw(2, 0, 0));
        assert_ne!(draw(1, 0, 0), draw(1, 1, 0));
        assert_ne!(draw(1, 0, 0), draw(1, 0, 1));
    }

    #[test]
    fn silent_tokens_are_never_taken() {
        let logits = [1.0f32, 9.0, 2.0];
        for temperature in [0.0, 0.7, 2.0] {
            let sampling = Sampling { temperature, ..Sampling::default() };
            for position in 0..500 {
                assert_ne!(sample(&sampling, (0, position), &Counts::default(), &[1], &logits), 1);
            }
        }
    }

    #[test]
    fn penalties_push_a_token_away() {
        let sampling = Sampling {
            temperature: 0.0,
            presence_penalty: 0.5,
            frequency_penalty: 0.3,
            ..Sampling::default()
        };
        let mut counts = Counts::default();
        let logits = [1.0f32, 0.5];
        assert_eq!(sample(&sampling, (0, 0), &counts, &[], &logits), 0);
        counts.add(&sampling, 0);
        assert_eq!(sample(&sampling, (0, 1), &counts, &[], &logits), 1);
    }

    #[test]
    fn log_probs_are_normalized_and_sorted() {
        let result = log_probs(&[1.0, 3.0, 2.0], 2, 2);
        assert_eq!(result.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 2]);
        assert!((result.chosen - result.top[1].1).abs() < 1e-12);
        let all = log_probs(&[1.0, 3.0, 2.0], 0, 3);
        let sum: f64 = all.top.iter().map(|(_, p)| p.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
