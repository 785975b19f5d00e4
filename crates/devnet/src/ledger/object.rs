//! Building and reading single objects.

use super::gas;
use sui_sdk_types::{
    Address, Digest, Identifier, MovePackage, MoveStruct, Object, ObjectData, Owner, StructTag, TypeTag,
    Version,
};

/// `0x6`, the shared clock.
pub(crate) const CLOCK: Address = Address::from_static("0x6");
/// `0x8`, the shared source of randomness.
pub(crate) const RANDOM: Address = Address::from_static("0x8");

/// A struct before it has a version: what the runtime works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) tag: StructTag,
    pub(crate) contents: Vec<u8>,
}

impl Body {
    pub(crate) fn coin(id: Address, coin: TypeTag, balance: u64) -> Self {
        let mut contents = id.into_inner().to_vec();
        contents.extend(balance.to_le_bytes());
        Self { tag: StructTag::coin(coin), contents }
    }

    /// Coin type and balance, if this is a coin.
    pub(crate) fn as_coin(&self) -> Option<(&TypeTag, u64)> {
        coin_parts(&self.tag, &self.contents)
    }

    /// The object in its final form. `None` if the contents do not start with an id.
    pub(crate) fn seal(self, version: Version, owner: Owner, previous: Digest) -> Option<Object> {
        let public = is_transferable(&self.tag);
        let data = ObjectData::Struct(MoveStruct::new(self.tag, public, version, self.contents)?);
        let unpriced = Object::new(data.clone(), owner, previous, 0);
        Some(Object::new(data, owner, previous, gas::storage_cost(&unpriced)))
    }
}

/// A package, with its deposit.
pub(crate) fn package(package: MovePackage, previous: Digest) -> Object {
    let data = ObjectData::Package(package);
    let unpriced = Object::new(data.clone(), Owner::Immutable, previous, 0);
    Object::new(data, Owner::Immutable, previous, gas::storage_cost(&unpriced))
}

pub(crate) fn as_package(object: &Object) -> Option<&MovePackage> {
    match object.data() {
        ObjectData::Package(package) => Some(package),
        _ => None,
    }
}

pub(crate) fn body(object: &Object) -> Option<Body> {
    let data = object.as_struct()?;
    Some(Body { tag: data.object_type().clone(), contents: data.contents().to_vec() })
}

/// Coin type and balance of a coin object.
pub(crate) fn coin(object: &Object) -> Option<(&TypeTag, u64)> {
    let data = object.as_struct()?;
    coin_parts(data.object_type(), data.contents())
}

/// Balance of a SUI coin.
pub(crate) fn sui_balance(object: &Object) -> Option<u64> {
    coin(object).filter(|(tag, _)| **tag == sui()).map(|(_, balance)| balance)
}

pub(crate) fn sui() -> TypeTag {
    StructTag::sui().into()
}

pub(crate) fn tag(
    package: Address,
    module: &'static str,
    name: &'static str,
    params: Vec<TypeTag>,
) -> StructTag {
    StructTag::new(package, Identifier::from_static(module), Identifier::from_static(name), params)
}

fn coin_parts<'a>(tag: &'a StructTag, contents: &[u8]) -> Option<(&'a TypeTag, u64)> {
    let coin = tag.is_coin()?;
    let balance: [u8; 8] = contents.get(Address::LENGTH..)?.try_into().ok()?;
    Some((coin, u64::from_le_bytes(balance)))
}

/// Whether the type has `store`, so that anyone may transfer it: coins, badges, caps and blobs.
fn is_transferable(tag: &StructTag) -> bool {
    let names = ["NodeBadge", "TaskBadge", "AdminCap", "UpgradeCap", "Blob"];
    tag.is_coin().is_some() || names.contains(&tag.name().as_str())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_coin_keeps_its_balance_and_pays_for_its_bytes() {
        let id = Address::from_static("0x77");
        let object = Body::coin(id, sui(), 42).seal(3, Owner::Address(id), Digest::ZERO).unwrap();
        assert_eq!(sui_balance(&object), Some(42));
        assert_eq!((object.object_id(), object.version()), (id, 3));
        assert!(object.storage_rebate() > 0);
    }

    #[test]
    fn contents_without_an_id_are_no_object() {
        let broken = Body { tag: StructTag::gas_coin(), contents: vec![1; 31] };
        assert_eq!(broken.as_coin(), None);
        assert!(broken.seal(1, Owner::Immutable, Digest::ZERO).is_none());
    }
}
