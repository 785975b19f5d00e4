//! What the market offers, as the chain has it.

use atoma_types::onchain::{Model, Node, Params, Slot, Task};
use atoma_types::wire::Endpoint;
use atoma_types::{Amount, ArithmeticError, ModelId, NodeId, Price, TaskId, Units};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Models, the tasks that offer them, and the nodes that serve those.
#[derive(Clone, Debug)]
pub struct Catalog {
    models: HashMap<ModelId, Model>,
    nodes: HashMap<NodeId, Node>,
    tasks: BTreeMap<TaskId, Task>,
    live: HashMap<TaskId, Vec<Slot>>,
    params: Params,
}

/// Terms on which units of a task can be bought now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub units: Units,
    pub max_price: Price,
    /// What must be handed in; the contract returns what it does not need.
    pub payment: Amount,
}

impl Catalog {
    pub fn new(
        models: Vec<Model>,
        tasks: Vec<Task>,
        nodes: Vec<Node>,
        live: HashMap<TaskId, Vec<Slot>>,
        params: Params,
    ) -> Self {
        Self {
            models: models.into_iter().map(|model| (model.id, model)).collect(),
            nodes: nodes.into_iter().map(|node| (node.id, node)).collect(),
            tasks: tasks.into_iter().map(|task| (task.id, task)).collect(),
            live,
            params,
        }
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The first task that offers a model of this name to everyone and has a node; if an endpoint is named, one that
    /// answers it.
    pub fn task_for(&self, model: &str, endpoint: Option<Endpoint>) -> Option<&Task> {
        let answers = |task: &Task| endpoint.is_none_or(|endpoint| endpoint.is_of_role(task.role));
        self.offers().find(|(label, task)| *label == model && answers(task)).map(|(_, task)| task)
    }

    /// Names of the models that can be asked for, sorted.
    pub fn model_labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = self.offers().map(|(label, _)| label).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    /// Offers of enabled nodes for a task.
    pub fn live_offers(&self, task: TaskId) -> impl Iterator<Item = &Slot> {
        let is_enabled = |slot: &&Slot| self.nodes.get(&slot.node).is_some_and(|node| node.disabled_ms == 0);
        self.live.get(&task).into_iter().flatten().filter(is_enabled)
    }

    /// Enabled nodes that offer anything.
    pub fn offering_nodes(&self) -> Vec<NodeId> {
        let all = self.live.keys().flat_map(|task| self.live_offers(*task)).map(|offer| offer.node);
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Terms for about `units` of a task under an optional cap: no more units than some node takes on, and
    /// a price that admits every node within the cap. `None` if nobody sells.
    pub fn terms(
        &self,
        task: &Task,
        units: Units,
        cap: Option<Price>,
    ) -> Result<Option<Terms>, ArithmeticError> {
        let affordable =
            || self.live_offers(task.id).filter(move |one| cap.is_none_or(|cap| one.price <= cap));
        let Some(units) = affordable().map(|one| one.max_units.min(units)).max() else { return Ok(None) };
        let max_price = affordable()
            .filter(|one| one.max_units >= units)
            .map(|one| one.price)
            .max()
            .unwrap_or(task.price_ceiling);
        let escrow = max_price.cost(units)?;
        let payment = escrow.add(escrow.share(task.surcharge_permille)?)?;
        Ok(Some(Terms { units, max_price, payment }))
    }

    fn offers(&self) -> impl Iterator<Item = (&str, &Task)> {
        self.tasks.values().filter_map(|task| {
            let model = self.models.get(&task.model)?;
            let answered = Endpoint::ALL.iter().any(|endpoint| endpoint.is_of_role(task.role));
            let open = !task.deprecated && !model.disabled && answered && task.level == 0;
            (open && self.live_offers(task.id).next().is_some()).then_some((model.label.as_str(), task))
        })
    }
}
