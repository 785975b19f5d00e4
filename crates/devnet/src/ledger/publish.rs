//! Publishing and upgrading the market's package. There is no Move VM: what is taken is a package of the market's
//! modules, checked as far as bytes say who they are; its functions then run as Rust, like those of any other version.

use super::object::{self, Body};
use super::runtime::{Context, Holder, Runtime, Step, Value};
use crate::package::{self, Brittle, ObjectKind, PACKAGE, usd};
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
        let package = self.accept(&publish.modules, &publish.dependencies)?;
        let id = self.fresh_id();
        self.add(&package, id, id, 1)?;
        self.init(id)?;
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
        let package = self.accept(&upgrade.modules, &upgrade.dependencies)?;
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
        let (origin, version) = (self.world.origin(package_id), before.version + 1);
        let id = self.fresh_id();
        self.add(&package, id, origin, version)?;
        let receipt = bcs::to_bytes(&UpgradeReceipt { cap: ticket.cap, package: id })
            .map_err(|_| ExecutionError::InvariantViolation)?;
        Ok(vec![Value::Brittle(Brittle::Receipt, receipt)])
    }

    /// The package, if it is one that the devnet can stand for.
    fn accept(&self, modules: &[Vec<u8>], dependencies: &[Address]) -> Step<Package> {
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
        let is_linked = |module: &Module| {
            module.packages.iter().all(|id| *id == Address::ZERO || dependencies.contains(id))
        };
        let are_here = dependencies.iter().all(|id| self.world.has_package(*id));
        if !are_here || !package.modules().iter().all(is_linked) {
            return Err(ExecutionError::PublishUpgradeMissingDependency);
        }
        let names: BTreeSet<&str> = package.modules().iter().map(|module| module.name.as_str()).collect();
        if names.len() != modules.len() {
            return Err(ExecutionError::VmVerificationOrDeserializationError);
        }
        match package::modules(PACKAGE).iter().all(|name| names.contains(name)) {
            true => Ok(package),
            false => Err(ExecutionError::FeatureNotYetSupported),
        }
    }

    fn add(&mut self, package: &Package, id: Address, origin: Address, version: Version) -> Step<()> {
        let name = |text: &str| Identifier::new(text).map_err(|_| ExecutionError::InvariantViolation);
        let mut modules = BTreeMap::new();
        let mut type_origin_table = Vec::new();
        for (bytes, module) in package.bytecode().iter().zip(package.modules()) {
            modules.insert(name(&module.name)?, bytes.clone());
            for datatype in &module.datatypes {
                let (module_name, struct_name) = (name(&module.name)?, name(datatype)?);
                type_origin_table.push(TypeOrigin { module_name, struct_name, package: origin });
            }
        }
        let link = |id: &Address| (*id, UpgradeInfo { upgraded_id: *id, upgraded_version: 1 });
        let linkage_table = package.dependencies().iter().map(link).collect();
        self.packages.push(MovePackage { id, version, modules, type_origin_table, linkage_table });
        self.world.to_mut().packages.insert(id, origin);
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
