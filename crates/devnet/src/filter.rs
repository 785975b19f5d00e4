//! Filters of lists and subscriptions: an OR of terms, each an AND of possibly negated literals.

use crate::ledger::{Checkpoint, Executed};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{
    Address, Command, Event, ObjectIn, ObjectOut, Owner, StructTag, TransactionEffects, TransactionKind,
    TypeTag,
};
use tonic::Status;

/// Bounds on a filter's size.
const TERMS_MAX: usize = 16;
const LITERALS_MAX: usize = 16;

enum Predicate {
    Sender(Address),
    AffectedAddress(Address),
    AffectedObject(Address),
    /// Package and, if given, module and function.
    MoveCall(Path),
    EmitModule(Path),
    EventType(TypePattern),
    /// Something that never happens on this network.
    Never,
}

struct Literal {
    negated: bool,
    predicate: Predicate,
}

/// `package[::module[::function]]`.
struct Path {
    package: Address,
    rest: Vec<String>,
}

/// `address[::module[::Name[<type params>]]]`.
enum TypePattern {
    Prefix(Path),
    Exact(StructTag),
}

/// A parsed filter. Without terms nothing was asked for and everything matches.
pub(crate) struct Filter {
    terms: Option<Vec<Vec<Literal>>>,
}

impl Filter {
    pub(crate) fn is_set(&self) -> bool {
        self.terms.is_some()
    }

    pub(crate) fn of_events(filter: Option<&pb::EventFilter>) -> Result<Self, Status> {
        use pb::event_literal::Predicate as P;
        let Some(filter) = filter else { return Ok(Self { terms: None }) };
        let literal = |literal: &pb::EventLiteral| {
            let predicate = match literal.predicate.as_ref() {
                Some(P::Sender(filter)) => Predicate::Sender(address(filter.address())?),
                Some(P::EmitModule(filter)) => Predicate::EmitModule(Path::parse(filter.module(), 2)?),
                Some(P::EventType(filter)) => Predicate::EventType(TypePattern::parse(filter.event_type())?),
                Some(P::EventStreamHead(_)) => Predicate::Never,
                _ => return Err(Status::invalid_argument("filter literal without a predicate")),
            };
            Ok(Literal { negated: literal.negated, predicate })
        };
        let terms = filter.terms.iter().map(|term| term.literals.iter().map(literal).collect());
        Self::build(terms.collect::<Result<_, Status>>()?)
    }

    pub(crate) fn of_transactions(filter: Option<&pb::TransactionFilter>) -> Result<Self, Status> {
        use pb::transaction_literal::Predicate as P;
        let Some(filter) = filter else { return Ok(Self { terms: None }) };
        let literal = |literal: &pb::TransactionLiteral| {
            let predicate = match literal.predicate.as_ref() {
                Some(P::Sender(filter)) => Predicate::Sender(address(filter.address())?),
                Some(P::AffectedAddress(filter)) => Predicate::AffectedAddress(address(filter.address())?),
                Some(P::AffectedObject(filter)) => Predicate::AffectedObject(address(filter.object_id())?),
                Some(P::MoveCall(filter)) => Predicate::MoveCall(Path::parse(filter.function(), 3)?),
                Some(P::EmitModule(filter)) => Predicate::EmitModule(Path::parse(filter.module(), 2)?),
                Some(P::EventType(filter)) => Predicate::EventType(TypePattern::parse(filter.event_type())?),
                Some(P::EventStreamHead(_) | P::PackageWrite(_)) => Predicate::Never,
                _ => return Err(Status::invalid_argument("filter literal without a predicate")),
            };
            Ok(Literal { negated: literal.negated, predicate })
        };
        let terms = filter.terms.iter().map(|term| term.literals.iter().map(literal).collect());
        Self::build(terms.collect::<Result<_, Status>>()?)
    }

    fn build(terms: Vec<Vec<Literal>>) -> Result<Self, Status> {
        if terms.is_empty() || terms.iter().any(Vec::is_empty) {
            return Err(Status::invalid_argument("a filter needs terms, and each term needs literals"));
        }
        if terms.len() > TERMS_MAX || terms.iter().any(|term| term.len() > LITERALS_MAX) {
            return Err(Status::invalid_argument("the filter has too many terms or literals"));
        }
        Ok(Self { terms: Some(terms) })
    }

    fn matches(&self, test: impl Fn(&Predicate) -> bool) -> bool {
        let Some(terms) = &self.terms else { return true };
        terms.iter().any(|term| term.iter().all(|literal| test(&literal.predicate) != literal.negated))
    }

    pub(crate) fn matches_event(&self, event: &Event) -> bool {
        self.matches(|predicate| event_matches(predicate, event))
    }

    pub(crate) fn matches_transaction(&self, executed: &Executed) -> bool {
        self.matches(|predicate| transaction_matches(predicate, executed))
    }

    pub(crate) fn matches_checkpoint(&self, checkpoint: &Checkpoint) -> bool {
        !self.is_set() || checkpoint.transactions.iter().any(|executed| self.matches_transaction(executed))
    }
}

fn event_matches(predicate: &Predicate, event: &Event) -> bool {
    match predicate {
        Predicate::Sender(sender) => event.sender == *sender,
        Predicate::EmitModule(path) => path.matches(event.package_id, &[event.module.as_str()]),
        Predicate::EventType(pattern) => pattern.matches(&event.type_),
        _ => false,
    }
}

fn transaction_matches(predicate: &Predicate, executed: &Executed) -> bool {
    let transaction = &executed.signed.transaction;
    match predicate {
        Predicate::Sender(sender) => transaction.sender == *sender,
        Predicate::AffectedObject(id) => changes(executed).any(|change| change.object_id == *id),
        Predicate::AffectedAddress(address) => changes(executed).any(|change| {
            let before = matches!(&change.input_state, ObjectIn::Exist { owner, .. } if *owner == Owner::Address(*address));
            let after = matches!(&change.output_state, ObjectOut::ObjectWrite { owner, .. } if *owner == Owner::Address(*address));
            before || after
        }),
        Predicate::MoveCall(path) => match &transaction.kind {
            TransactionKind::ProgrammableTransaction(programmable) => programmable.commands.iter().any(|command| {
                matches!(command, Command::MoveCall(call)
                    if path.matches(call.package, &[call.module.as_str(), call.function.as_str()]))
            }),
            _ => false,
        },
        Predicate::EmitModule(_) | Predicate::EventType(_) => {
            executed.events.0.iter().any(|event| event_matches(predicate, event))
        }
        Predicate::Never => false,
    }
}

fn changes(executed: &Executed) -> impl Iterator<Item = &sui_sdk_types::ChangedObject> {
    match &executed.effects {
        TransactionEffects::V2(effects) => effects.changed_objects.iter(),
        TransactionEffects::V1(_) => [].iter(),
    }
}

impl Path {
    fn parse(text: &str, parts_max: usize) -> Result<Self, Status> {
        let mut parts = text.split("::");
        let package = address(parts.next().unwrap_or_default())?;
        let rest: Vec<String> = parts.map(str::to_owned).collect();
        if rest.len() + 1 > parts_max || rest.iter().any(String::is_empty) {
            return Err(Status::invalid_argument(format!("invalid Move path {text:?}")));
        }
        Ok(Self { package, rest })
    }

    fn matches(&self, package: Address, names: &[&str]) -> bool {
        self.package == package && self.rest.iter().zip(names).all(|(wanted, found)| wanted == found)
    }
}

impl TypePattern {
    fn parse(text: &str) -> Result<Self, Status> {
        if text.contains('<') {
            let tag = text.parse().map_err(|_| Status::invalid_argument(format!("invalid type {text:?}")))?;
            return Ok(Self::Exact(tag));
        }
        Path::parse(text, 3).map(Self::Prefix)
    }

    fn matches(&self, tag: &StructTag) -> bool {
        match self {
            Self::Prefix(path) => path.matches(*tag.address(), &[tag.module().as_str(), tag.name().as_str()]),
            Self::Exact(exact) => exact == tag,
        }
    }
}

/// Whether an object's type is what was asked for; without parameters any will do.
pub(crate) struct TypeFilter(TypePattern);

impl TypeFilter {
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        TypePattern::parse(text).map(Self)
    }

    pub(crate) fn matches(&self, tag: &StructTag) -> bool {
        self.0.matches(tag)
    }
}

pub(crate) fn address(text: &str) -> Result<Address, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("invalid address {text:?}")))
}

pub(crate) fn coin_type(text: &str) -> Result<TypeTag, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("invalid coin type {text:?}")))
}
