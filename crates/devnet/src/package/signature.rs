//! Signatures of the package's functions, and which bytes are a valid value of a type.

use super::{BASE_PACKAGE, Machine, PACKAGE, WALRUS_PACKAGE, usd};
use crate::ledger::object::tag;
use atoma_types::Address;
use atoma_types::onchain::Abort;
use sui_sdk_types::{StructTag, TypeTag};

/// A function of the package and its adapter to the contract.
pub(crate) struct Function {
    pub(crate) package: Address,
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    /// `entry` and private: callable in a transaction, not from another package.
    pub(crate) private_entry: bool,
    pub(crate) type_arguments: usize,
    pub(crate) params: &'static [Param],
    pub(crate) returns: Returns,
    pub(super) run: fn(&mut Machine) -> Result<(), Abort>,
}

/// What a function returns: nothing, or what the views give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    Nothing,
    U64,
    /// One plain value: module and name.
    One(&'static str, &'static str),
    Many(&'static str, &'static str),
}

impl Returns {
    pub(crate) fn tag(self) -> Option<TypeTag> {
        match self {
            Self::Nothing => None,
            Self::U64 => Some(TypeTag::U64),
            Self::One(module, name) => Some(tag(BASE_PACKAGE, module, name, Vec::new()).into()),
            Self::Many(module, name) => {
                Some(TypeTag::Vector(Box::new(tag(BASE_PACKAGE, module, name, Vec::new()).into())))
            }
        }
    }
}

/// How a parameter takes its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Ref,
    Mut,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    Db,
    Treasury,
    Beacon,
    Stack,
    Dispute,
    AdminCap,
    NodeBadge,
    TaskBadge,
    UpgradeCap,
    UpgradeLock,
    Coin,
    Clock,
    Random,
    /// Walrus's own.
    Blob,
    System,
}

impl ObjectKind {
    /// The type for coin type `coin`.
    pub(crate) fn tag(self, coin: &TypeTag) -> StructTag {
        match self {
            Self::Db => tag(PACKAGE, "db", "AtomaDb", vec![coin.clone()]),
            Self::Treasury => tag(PACKAGE, "treasury", "Treasury", vec![coin.clone()]),
            Self::Beacon => tag(PACKAGE, "beacon", "Beacon", Vec::new()),
            Self::Stack => tag(PACKAGE, "stack", "Stack", vec![coin.clone()]),
            Self::Dispute => tag(PACKAGE, "dispute", "Dispute", vec![coin.clone()]),
            Self::AdminCap => tag(PACKAGE, "admin", "AdminCap", Vec::new()),
            Self::NodeBadge => tag(PACKAGE, "node", "NodeBadge", Vec::new()),
            Self::TaskBadge => tag(PACKAGE, "task", "TaskBadge", Vec::new()),
            Self::UpgradeCap => tag(Address::TWO, "package", "UpgradeCap", Vec::new()),
            Self::UpgradeLock => tag(PACKAGE, "upgrade", "UpgradeLock", Vec::new()),
            Self::Coin => StructTag::coin(coin.clone()),
            Self::Clock => tag(Address::TWO, "clock", "Clock", Vec::new()),
            Self::Random => tag(Address::TWO, "random", "Random", Vec::new()),
            Self::Blob => tag(WALRUS_PACKAGE, "blob", "Blob", Vec::new()),
            Self::System => tag(WALRUS_PACKAGE, "system", "System", Vec::new()),
        }
    }

    pub(crate) fn accepts(self, found: &StructTag, types: &[TypeTag]) -> bool {
        let coin = types.first().cloned().unwrap_or_else(usd);
        *found == self.tag(&coin)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PureKind {
    Bool,
    U8,
    U32,
    U64,
    U256,
    Address,
    String,
    Bytes,
    U64s,
    BytesList,
}

impl PureKind {
    pub(crate) fn tag(self) -> TypeTag {
        match self {
            Self::Bool => TypeTag::Bool,
            Self::U8 => TypeTag::U8,
            Self::U32 => TypeTag::U32,
            Self::U64 => TypeTag::U64,
            Self::U256 => TypeTag::U256,
            Self::Address => TypeTag::Address,
            Self::String => tag(Address::from_static("0x1"), "string", "String", Vec::new()).into(),
            Self::Bytes => TypeTag::Vector(Box::new(TypeTag::U8)),
            Self::U64s => TypeTag::Vector(Box::new(TypeTag::U64)),
            Self::BytesList => TypeTag::Vector(Box::new(Self::Bytes.tag())),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    Object(ObjectKind, By),
    Pure(PureKind),
}

/// Whether `bytes` are exactly one BCS value of a plain type.
pub(crate) fn is_valid(tag: &TypeTag, bytes: &[u8]) -> bool {
    value_len(tag, bytes).is_some_and(|len| len == bytes.len())
}

/// Length of the value of type `tag` at the start of `bytes`.
fn value_len(tag: &TypeTag, bytes: &[u8]) -> Option<usize> {
    let fixed = |len: usize| (bytes.len() >= len).then_some(len);
    match tag {
        TypeTag::Bool => bytes.first().filter(|byte| **byte <= 1).map(|_| 1),
        TypeTag::U8 => fixed(1),
        TypeTag::U16 => fixed(2),
        TypeTag::U32 => fixed(4),
        TypeTag::U64 => fixed(8),
        TypeTag::U128 => fixed(16),
        TypeTag::U256 | TypeTag::Address => fixed(32),
        TypeTag::Vector(element) => vector_len(element, bytes),
        TypeTag::Struct(found) if TypeTag::Struct(found.clone()) == PureKind::String.tag() => {
            let len = vector_len(&TypeTag::U8, bytes)?;
            let (_, prefix) = read_length(bytes)?;
            std::str::from_utf8(bytes.get(prefix..len)?).ok().map(|_| len)
        }
        _ => None,
    }
}

fn vector_len(element: &TypeTag, bytes: &[u8]) -> Option<usize> {
    let (count, mut at) = read_length(bytes)?;
    for _ in 0..count {
        at += value_len(element, bytes.get(at..)?)?;
    }
    Some(at)
}

/// A canonical ULEB128 length and how many bytes it took.
fn read_length(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let canonical = at == 0 || *byte != 0;
            return u32::try_from(value).ok().filter(|_| canonical).map(|value| (value, at + 1));
        }
    }
    None
}

/// A length as BCS writes it.
pub(crate) fn length_prefix(mut len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(len & 0x7f).unwrap_or(0);
        len >>= 7;
        if len == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_read_strictly() {
        let text = PureKind::String.tag();
        assert!(is_valid(&text, &bcs::to_bytes("ä").unwrap()));
        assert!(!is_valid(&text, &[1, 0xff]));
        assert!(is_valid(&TypeTag::U64, &[0; 8]));
        assert!(!is_valid(&TypeTag::U64, &[0; 9]));
        assert!(!is_valid(&TypeTag::Bool, &[2]));
        let numbers = PureKind::U64s.tag();
        assert!(is_valid(&numbers, &bcs::to_bytes(&vec![1u64, 2]).unwrap()));
        assert!(!is_valid(&numbers, &[2, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(!is_valid(&PureKind::Bytes.tag(), &[0x80, 0x00]));
        assert!(!is_valid(&PureKind::Bytes.tag(), &[0xff, 0xff, 0xff, 0xff, 0x7f]));
    }

    #[test]
    fn lengths_are_written_as_bcs_does() {
        for len in [0usize, 1, 127, 128, 300, 16_384] {
            let whole = bcs::to_bytes(&vec![7u8; len]).unwrap();
            assert!(whole.starts_with(&length_prefix(len)));
        }
    }
}
