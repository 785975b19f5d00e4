//! Asking a server how it is: `/health`, and what its `/metrics` say about its queue.

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};

use super::replicas::{Pool, Reported};

/// How long a replica may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest page of metrics that is read.
const METRICS_MAX: usize = 1 << 20;

/// Asks one replica, and enters what it said.
pub(super) async fn probe(http: &Client, pool: &Pool, index: usize) {
    let Some(url) = pool.urls().get(index).filter(|_| pool.may_probe(index, Instant::now())) else { return };
    let asked = tokio::time::timeout(PATIENCE, async {
        let healthy = is_healthy(http, url).await;
        let reported = if healthy { metrics(http, url).await } else { None };
        (healthy, reported)
    });
    match asked.await {
        Ok((healthy, reported)) => pool.probed(index, Some(healthy), reported),
        Err(_) => pool.probed(index, None, None),
    }
}

async fn is_healthy(http: &Client, url: &str) -> bool {
    match status(http, &format!("{url}/health")).await {
        Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
            status(http, &format!("{url}/v1/models")).await.is_some_and(|status| status.is_success())
        }
        Some(status) => status.is_success(),
        None => false,
    }
}

async fn status(http: &Client, url: &str) -> Option<StatusCode> {
    http.get(url).send().await.ok().map(|response| response.status())
}

async fn metrics(http: &Client, url: &str) -> Option<Reported> {
    let mut response = http.get(format!("{url}/metrics")).send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let mut page = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if page.len() + chunk.len() > METRICS_MAX {
            return None;
        }
        page.extend_from_slice(&chunk);
    }
    parse(&String::from_utf8_lossy(&page))
}

/// Reads Prometheus' text format as vLLM, SGLang and llama-server write it; several series of one name are added up.
fn parse(page: &str) -> Option<Reported> {
    let mut reported = None;
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let value = rest.rsplit_once('}').map_or(rest, |(_, value)| value);
        let Some(value) = value.split_ascii_whitespace().next().and_then(|value| value.parse().ok()) else {
            continue;
        };
        match name {
            "vllm:num_requests_running" | "sglang:num_running_reqs" | "llamacpp:requests_processing" => {
                add(&mut reported.get_or_insert_with(Reported::default).running, value);
            }
            "vllm:num_requests_waiting" | "sglang:num_queue_reqs" | "llamacpp:requests_deferred" => {
                add(&mut reported.get_or_insert_with(Reported::default).waiting, value);
            }
            "vllm:gpu_cache_usage_perc" | "vllm:kv_cache_usage_perc" | "sglang:token_usage" => {
                add(&mut reported.get_or_insert_with(Reported::default).cache_permille, value * 1_000.0);
            }
            _ => {}
        }
    }
    reported
}

/// Adds a gauge, which its text format writes as a float.
fn add(sum: &mut u64, gauge: f64) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    let gauge = gauge.clamp(0.0, 1e9) as u64;
    *sum = sum.saturating_add(gauge);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_words_are_understood() {
        let vllm = "# HELP vllm:num_requests_running Number of requests.\n# TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{engine=\"0\",model_name=\"a b}\"} 3.0\n\
                    vllm:num_requests_running{engine=\"1\"} 2.0 1700000000\nvllm:num_requests_waiting 1.0\n\
                    vllm:gpu_cache_usage_perc{engine=\"0\"} 0.25\n";
        assert_eq!(parse(vllm), Some(Reported { running: 5, waiting: 1, cache_permille: 250 }));
        let sglang =
            "sglang:num_running_reqs{model_name=\"m\"} 4\nsglang:num_queue_reqs{model_name=\"m\"} 2\n";
        assert_eq!(parse(sglang), Some(Reported { running: 4, waiting: 2, cache_permille: 0 }));
        let llama = "llamacpp:requests_processing 1\nllamacpp:requests_deferred 0\n";
        assert_eq!(parse(llama), Some(Reported { running: 1, waiting: 0, cache_permille: 0 }));
        assert_eq!(
            parse("process_cpu_seconds_total 7\nvllm:num_requests_running NaN\n"),
            Some(Reported::default())
        );
        assert_eq!(parse("go_goroutines 7\n"), None);
    }
}
