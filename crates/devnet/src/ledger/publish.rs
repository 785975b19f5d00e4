//! Publishing and upgrading the market's package and the one under it. There is no Move VM: what is taken is a package
//! of the modules of either, checked as far as bytes say who they are; the market's functions then run as Rust, like
//! those of any other version.

use super::object::{self, Body};
use super::runtime::{Context, Holder, Runtime, Step, Value};
use crate::package::{self, BASE_PACKAGE, Brittle, ObjectKind, PACKAGE, Published, usd};
use atoma_contract::upgrade::{UpgradeCap, UpgradeReceipt, UpgradeTicket};
use atoma_contract::{TxContext, admin};
use atoma_types::onchain::package::Module;
use atoma_types::onchain::{PACKAGE_BYTES_MAX, Package};
use std::collections::{BTreeMap, BTreeSet};
use sui_sdk_types::{
    Address, Digest, ExecutionError, Identifier, MovePackage, PackageUpgradeError, Publish, TypeOrigin,
    Upgrade, UpgradeInfo, Version,
};

/// `sui::package`: whatever keeps old callers working.
const COMPATIBLE: u8 = 0;
/// Adding only, and dependencies only.
const STRICTER: [u8; 2] = [128, 192];

impl Runtime<'_> {
    /// Makes the package and what its `init` makes; the result is the upgrade cap.
    pub(super) fn publish(&mut self, publish: &Publish) -> Step<Vec<Value>> {
        let (package, code) = self.accept(&publish.modules, &publish.dependencies)?;
        let base = self.linked_base(&package);
        let id = self.fresh_id();
        if code == PACKAGE {
            let base = base.ok_or(ExecutionError::PublishUpgradeMissingDependency)?;
            self.add(&package, id, 1, Published { code, origin: id, base })?;
            self.init(id)?;
        } else {
            self.add(&package, id, 1, Published { code, origin: id, base: id })?;
        }
        let cap = UpgradeCap { id: self.fresh_id(), package: id, version: 1, policy: COMPATIBLE };
        let contents = bcs::to_bytes(&cap).map_err(|_| ExecutionError::InvariantViolation)?;
        self.create(Body { tag: ObjectKind::UpgradeCap.tag(id, &usd()), contents }, Holder::Hand);
        Ok(vec![Value::Object(cap.id)])
    }

    /// Makes the next version of a package; the result is the receipt for the upgrade cap.
    pub(super) fn upgrade(&mut self, upgrade: &Upgrade) -> Step<Vec<Value>> {
        let refused = |kind| ExecutionError::PackageUpgradeError { kind };
        let ticket = self.take_brittle(0, &upgrade.ticket, Brittle::Ticket)?;
        let ticket: UpgradeTicket =
            bcs::from_bytes(&ticket).map_err(|_| ExecutionError::InvariantViolation)?;
        let package_id = upgrade.package;
        if package_id != ticket.package {
            let ticket_id = ticket.package;
            return Err(refused(PackageUpgradeError::PackageIdDoesNotMatch { package_id, ticket_id }));
        }
        let (package, _) = self.accept(&upgrade.modules, &upgrade.dependencies)?;
        if package.digest() != ticket.digest {
            let digest = Digest::new(package.digest().0);
            return Err(refused(PackageUpgradeError::DigestDoesNotMatch { digest }));
        }
        if ticket.policy != COMPATIBLE && !STRICTER.contains(&ticket.policy) {
            return Err(refused(PackageUpgradeError::UnknownUpgradePolicy { policy: ticket.policy }));
        }
        let before = self.ledger.object(package_id).and_then(object::as_package);
        let before = before.ok_or(refused(PackageUpgradeError::UnableToFetchPackage { package_id }))?;
        let names: BTreeSet<&str> = package.modules().iter().map(|module| module.name.as_str()).collect();
        if before.modules.keys().any(|name| !names.contains(name.as_str())) {
            return Err(refused(PackageUpgradeError::IncompatibleUpgrade));
        }
        // Structs and functions that name another base's types would be others.
        let published = self.world.packages.get(&package_id).copied();
        let published = published.ok_or(refused(PackageUpgradeError::UnableToFetchPackage { package_id }))?;
        if published.code == PACKAGE && self.linked_base(&package) != Some(published.base) {
            return Err(refused(PackageUpgradeError::IncompatibleUpgrade));
        }
        let id = self.fresh_id();
        self.add(&package, id, before.version + 1, published)?;
        let receipt = bcs::to_bytes(&UpgradeReceipt { cap: ticket.cap, package: id })
            .map_err(|_| ExecutionError::InvariantViolation)?;
        Ok(vec![Value::Brittle(Brittle::Receipt, receipt)])
    }

    /// The package and whose code it is, if it is one that the devnet can stand for.
    fn accept(&self, modules: &[Vec<u8>], dependencies: &[Address]) -> Step<(Package, Address)> {
        let package = Package::new(modules.to_vec(), dependencies.to_vec())
            .map_err(|_| ExecutionError::VmVerificationOrDeserializationError)?;
        if package.modules().iter().any(|module| module.address != Address::ZERO) {
            return Err(ExecutionError::PublishErrorNonZeroAddress);
        }
        if package.size() > PACKAGE_BYTES_MAX {
            return Err(ExecutionError::PackageTooBig {
                object_size: u64::try_from(package.size()).unwrap_or(u64::MAX),
                max_object_size: u64::try_from(PACKAGE_BYTES_MAX).unwrap_or(u64::MAX),
            });
        }
        // Bytecode names a package by its first version; the dependencies say which version is meant.
        let origins: BTreeSet<Address> = dependencies.iter().map(|id| self.world.origin(*id)).collect();
        let is_linked =
            |module: &Module| module.packages.iter().all(|id| *id == Address::ZERO || origins.contains(id));
        let are_here = dependencies.iter().all(|id| self.world.has_package(*id));
        if origins.len() != dependencies.len() {
            return Err(ExecutionError::InvalidLinkage);
        }
        if !are_here || !package.modules().iter().all(is_linked) {
            return Err(ExecutionError::PublishUpgradeMissingDependency);
        }
        let names: BTreeSet<&str> = package.modules().iter().map(|module| module.name.as_str()).collect();
        if names.len() != modules.len() {
            return Err(ExecutionError::VmVerificationOrDeserializationError);
        }
        let is_code = |code: &Address| package::modules(*code).iter().all(|name| names.contains(name));
        let code = [PACKAGE, BASE_PACKAGE].into_iter().find(is_code);
        code.map(|code| (package, code)).ok_or(ExecutionError::FeatureNotYetSupported)
    }

    /// The first version of the package of plain values that the package's modules name.
    fn linked_base(&self, package: &Package) -> Option<Address> {
        let mut named = package.modules().iter().flat_map(|module| &module.packages);
        named.find(|id| self.world.code(**id) == BASE_PACKAGE).copied()
    }

    fn add(&mut self, package: &Package, id: Address, version: Version, published: Published) -> Step<()> {
        let name = |text: &str| Identifier::new(text).map_err(|_| ExecutionError::InvariantViolation);
        let mut modules = BTreeMap::new();
        let mut type_origin_table = Vec::new();
        for (bytes, module) in package.bytecode().iter().zip(package.modules()) {
            modules.insert(name(&module.name)?, bytes.clone());
            for datatype in &module.datatypes {
                let (module_name, struct_name) = (name(&module.name)?, name(datatype)?);
                type_origin_table.push(TypeOrigin { module_name, struct_name, package: published.origin });
            }
        }
        let link = |id: &Address| {
            let linked = self.ledger.object(*id).and_then(object::as_package);
            let upgraded_version = linked.map_or(1, |package| package.version);
            (self.world.origin(*id), UpgradeInfo { upgraded_id: *id, upgraded_version })
        };
        let linkage_table = package.dependencies().iter().map(link).collect();
        self.packages.push(MovePackage { id, version, modules, type_origin_table, linkage_table });
        self.world.to_mut().packages.insert(id, published);
        Ok(())
    }

    /// `admin::init`.
    fn init(&mut self, package: Address) -> Step<()> {
        let Context { sender, epoch, digest, .. } = self.context;
        let mut ctx = TxContext::new(sender, epoch, digest, self.next_id);
        admin::init(&mut ctx);
        self.next_id = ctx.ids_created();
        for transfer in ctx.transfers {
            let body = package::owned_body(transfer.object, package, &usd())
                .map_err(|_| ExecutionError::InvariantViolation)?;
            self.create(body, Holder::Owner(transfer.to));
        }
        Ok(())
    }
}
