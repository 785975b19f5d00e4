//! Makes a failing sequence small: takes steps away as long as it still fails.

use crate::op::Step;

/// The smallest sequence found that still `fails`. Asks at most `tries` times.
pub fn shrink(steps: &[Step], tries: usize, mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let (mut steps, mut left) = (steps.to_vec(), tries);
    let mut size = (steps.len() / 2).max(1);
    loop {
        let mut start = 0;
        let before = steps.len();
        while start < steps.len() && left > 0 {
            let end = (start + size).min(steps.len());
            let mut fewer = steps[..start].to_vec();
            fewer.extend_from_slice(&steps[end..]);
            left -= 1;
            if !fewer.is_empty() && fails(&fewer) {
                steps = fewer;
            } else {
                start = end;
            }
        }
        if left == 0 || (size == 1 && steps.len() == before) {
            return steps;
        }
        size = (size / 2).max(1);
    }
}
