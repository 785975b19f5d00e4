//! What the market offers through this gateway.

use super::Shared;
use super::caller::Caller;
use super::openapi::{Access, Doc, json_of};
use super::shape::shapes;
use crate::keys::Scopes;
use crate::serve::Gateway;
use atoma_client::ApiError;
use atoma_client::catalog::Catalog;
use atoma_types::onchain::{Slot, Task};
use atoma_types::{Address, Amount};
use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const ANY: &[Access] = &[Access::Key, Access::Session];
pub(super) const MODELS: Doc =
    Doc::get("Models that can be asked for, with prices.", ANY, json_of::<Models>("200"));
pub(super) const NODES: Doc = Doc::get("Nodes that answer.", ANY, json_of::<Nodes>("200"));
pub(super) const TASKS: Doc = Doc::get("Tasks that nodes offer.", ANY, json_of::<Tasks>("200"));
pub(super) const STACKS: Doc =
    Doc::get("Stacks that the gateway pays with.", &[Access::Operator], json_of::<Stacks>("200"));
pub(super) const STATS: Doc = Doc::get("What was served since the start.", ANY, json_of::<Stats>("200"));

shapes! {
    /// Models.
    sent struct Models { object: &'static str, data: Vec<Model> }
    /// A model as OpenAI lists it, with what others look for.
    sent struct Model {
        id: String,
        object: &'static str,
        created: u64,
        owned_by: &'static str,
        name: String,
        task: u64,
        nodes: u64,
        /// Tokens that every node takes, input and output together; null until nodes told.
        context_length: Option<u64>,
        architecture: Architecture,
        pricing: Pricing,
        top_provider: TopProvider,
    }
    /// What goes in and comes out.
    sent struct Architecture {
        modality: &'static str,
        input_modalities: Vec<&'static str>,
        output_modalities: Vec<&'static str>,
    }
    /// What is taken at most.
    sent struct TopProvider {
        context_length: Option<u64>,
        max_completion_tokens: Option<u64>,
        is_moderated: bool,
    }
    /// Decimal numbers of the coin, per token: the highest price that is asked now, with the gateway's markup.
    sent struct Pricing { prompt: String, completion: String, request: &'static str }
    /// Nodes.
    sent struct Nodes { object: &'static str, data: Vec<Node> }
    /// A node on the chain, and what it asks.
    sent struct Node {
        id: u64,
        endpoint: String,
        owner: Address,
        collateral: Amount,
        reputation: u64,
        offers: Vec<Offer>,
    }
    /// What a node asks for units of a model.
    sent struct Offer {
        task: u64,
        model: String,
        /// Base units of the coin per million units.
        price: u64,
        max_units: u64,
    }
    /// Tasks.
    sent struct Tasks { object: &'static str, data: Vec<TaskShown> }
    /// A task on the chain.
    sent struct TaskShown {
        id: u64,
        model: String,
        role: u8,
        level: u8,
        price_ceiling: u64,
        /// Units of a thousand input and output tokens.
        input_weight_permille: u64,
        output_weight_permille: u64,
        surcharge_permille: u64,
        nodes: u64,
    }
    /// Stacks.
    sent struct Stacks { object: &'static str, data: Vec<StackShown> }
    /// A channel of a stack.
    sent struct StackShown {
        stack: Address,
        node: u64,
        requests: u64,
        ended: Option<String>,
    }
    /// Counters.
    sent struct Stats {
        requests: u64,
        in_flight: u64,
        paid: u64,
        unpaid: u64,
        input_tokens: u64,
        output_tokens: u64,
        units: u64,
        models: u64,
        nodes: u64,
    }
}

impl Gateway {
    async fn require_caller(&self, headers: &HeaderMap) -> Result<Arc<Catalog>, ApiError> {
        self.caller(headers).await?;
        // Reads the chain again if that was long ago.
        self.session.models().await;
        Ok(self.session.catalog())
    }
}

/// Every model with its task and the task's offers.
fn offered(catalog: &Catalog) -> Vec<(&str, &Task, Vec<&Slot>)> {
    let labels = catalog.model_labels().into_iter();
    let of = |label| {
        let task = catalog.task_for(label, None)?;
        Some((label, task, catalog.live_offers(task.id).collect()))
    };
    labels.filter_map(of).collect()
}

pub(super) async fn models(State(gateway): Shared, headers: HeaderMap) -> Result<Json<Models>, ApiError> {
    let catalog = gateway.require_caller(&headers).await?;
    let markup = gateway.config.pricing.markup_permille;
    let model = |(label, task, offers): (&str, &Task, Vec<&Slot>)| {
        let price = offers.iter().map(|offer| offer.price.0).max().unwrap_or(task.price_ceiling.0);
        let context_length = gateway.session.context_length(task.id);
        Model {
            id: label.to_owned(),
            object: "model",
            created: 0,
            owned_by: "atoma",
            name: label.to_owned(),
            task: task.id.0,
            nodes: count(offers.len()),
            context_length,
            architecture: architecture(task.role),
            pricing: Pricing {
                prompt: per_token(price, task.weights.input, markup),
                completion: per_token(price, task.weights.output, markup),
                request: "0",
            },
            top_provider: TopProvider {
                context_length,
                max_completion_tokens: context_length,
                is_moderated: false,
            },
        }
    };
    let data = offered(&catalog).into_iter().map(model).collect();
    Ok(Json(Models { object: "list", data }))
}

pub(super) async fn nodes(State(gateway): Shared, headers: HeaderMap) -> Result<Json<Nodes>, ApiError> {
    let catalog = gateway.require_caller(&headers).await?;
    let mut offers = BTreeMap::<_, Vec<Offer>>::new();
    for (label, task, slots) in offered(&catalog) {
        for slot in slots {
            let (price, max_units) = (slot.price.0, slot.max_units.0);
            let offer = Offer { task: task.id.0, model: label.to_owned(), price, max_units };
            offers.entry(slot.node).or_default().push(offer);
        }
    }
    let node = |(id, offers)| {
        let node = catalog.node(id)?;
        Some(Node {
            id: id.0,
            endpoint: node.endpoint.clone(),
            owner: node.owner,
            collateral: node.collateral,
            reputation: node.reputation,
            offers,
        })
    };
    Ok(Json(Nodes { object: "list", data: offers.into_iter().filter_map(node).collect() }))
}

pub(super) async fn tasks(State(gateway): Shared, headers: HeaderMap) -> Result<Json<Tasks>, ApiError> {
    let catalog = gateway.require_caller(&headers).await?;
    let task = |(label, task, offers): (&str, &Task, Vec<&Slot>)| TaskShown {
        id: task.id.0,
        model: label.to_owned(),
        role: task.role,
        level: task.level,
        price_ceiling: task.price_ceiling.0,
        input_weight_permille: task.weights.input,
        output_weight_permille: task.weights.output,
        surcharge_permille: task.surcharge_permille,
        nodes: count(offers.len()),
    };
    Ok(Json(Tasks { object: "list", data: offered(&catalog).into_iter().map(task).collect() }))
}

pub(super) async fn stacks(State(gateway): Shared, headers: HeaderMap) -> Result<Json<Stacks>, ApiError> {
    match gateway.caller(&headers).await? {
        Caller::Operator => {}
        // A key of the operator's own may look, too.
        Caller::Key(key) if key.account().is_none() && key.scopes.has(Scopes::ACCOUNT) => {}
        _ => {
            let message = "this is for the operator";
            return Err(ApiError::new(http::StatusCode::FORBIDDEN, "operator_only", message));
        }
    }
    let stack = |(stack, node, summary): (Address, atoma_types::NodeId, atoma_client::channel::Summary)| {
        let ended = summary.ended.map(|reason| reason.to_string());
        StackShown { stack, node: node.0, requests: summary.count, ended }
    };
    let data = gateway.session.channels().into_iter().map(stack).collect();
    Ok(Json(Stacks { object: "list", data }))
}

pub(super) async fn stats(State(gateway): Shared, headers: HeaderMap) -> Result<Json<Stats>, ApiError> {
    let catalog = gateway.require_caller(&headers).await?;
    let offers = offered(&catalog);
    let nodes: std::collections::BTreeSet<_> =
        offers.iter().flat_map(|(_, _, slots)| slots.iter().map(|slot| slot.node)).collect();
    let metrics = &gateway.metrics;
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Json(Stats {
        requests: read(&metrics.requests),
        in_flight: read(&metrics.in_flight),
        paid: read(&metrics.paid),
        unpaid: read(&metrics.unpaid),
        input_tokens: read(&metrics.input_tokens),
        output_tokens: read(&metrics.output_tokens),
        units: read(&metrics.units),
        models: count(offers.len()),
        nodes: count(nodes.len()),
    }))
}

/// By the role of a task.
fn architecture(role: u8) -> Architecture {
    let (modality, input_modalities, output) = match role {
        1 => ("text->embeddings", vec!["text"], "embeddings"),
        2 => ("text+image->text", vec!["text", "image"], "text"),
        3 => ("text->image", vec!["text"], "image"),
        4 => ("text->audio", vec!["text"], "audio"),
        5 => ("audio->text", vec!["audio"], "text"),
        _ => ("text->text", vec!["text"], "text"),
    };
    Architecture { modality, input_modalities, output_modalities: vec![output] }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Of a price in base units per million units, in coins of 6 decimals per token: 10^-12 of a base price, times
/// weight and markup in permille.
fn per_token(price: u64, weight_permille: u64, markup_permille: u64) -> String {
    const DECIMALS: usize = 18;
    let scaled = u128::from(price)
        .saturating_mul(u128::from(weight_permille))
        .saturating_mul(u128::from(markup_permille.saturating_add(1_000)));
    let digits = format!("{scaled:0>width$}", width = DECIMALS + 1);
    let (whole, part) = digits.split_at(digits.len().saturating_sub(DECIMALS));
    let part = part.trim_end_matches('0');
    if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::per_token;

    #[test]
    fn a_price_per_token_is_exact() {
        // 0.2 coins of a million tokens.
        assert_eq!(per_token(200_000, 1_000, 0), "0.0000002");
        assert_eq!(per_token(200_000, 2_500, 100), "0.00000055");
        assert_eq!(per_token(1_000_000_000_000, 1_000, 0), "1");
        assert_eq!(per_token(0, 1_000, 0), "0");
    }
}
