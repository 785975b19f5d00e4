//! Bringing the contract onto a network: publishing, making the market, and upgrades through their timelock.

use crate::build::Step;
use crate::build::steps::{MoveCall, call};
use crate::build::{Arg, Held};
use crate::client::{contents_of, decode};
use crate::{ChainClient, ChainError, Deployment};
use atoma_types::onchain::{PACKAGE_BYTES_MAX, Package, Params};
use atoma_types::{Address, Hash32};
use serde::Deserialize;
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{Identifier, Owner, StructTag};

/// What whoever deploys the contract does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeployCall {
    /// What the package makes at first goes to the sender, the upgrade cap to `to`.
    Publish {
        package: Package,
        to: Address,
    },
    /// Makes the market of the admin cap `cap`, which the wallet holds.
    Init {
        cap: Address,
        params: Box<Params>,
    },
    /// Locks the upgrade cap of one of the market's packages away behind the timelock, for good.
    LockUpgrades {
        cap: Address,
    },
    /// Announces the package with this digest.
    Propose {
        lock: Address,
        digest: Hash32,
    },
    Cancel {
        lock: Address,
    },
    /// Publishes the proposed package in place of `replaces`, once its time has come.
    Upgrade {
        lock: Address,
        package: Package,
        replaces: Address,
    },
}

/// `sui::package::UpgradeCap`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UpgradeCap {
    pub id: Address,
    /// The newest version.
    pub package: Address,
    pub version: u64,
    pub policy: u8,
}

/// The shared object that holds an upgrade cap.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UpgradeLock {
    pub id: Address,
    pub db: Address,
    pub cap: UpgradeCap,
    pub proposal: Option<UpgradeProposal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct UpgradeProposal {
    pub digest: Hash32,
    pub proposed_ms: u64,
    /// As it was then.
    pub timelock_ms: u64,
}

impl UpgradeProposal {
    /// When it may be carried out: after the timelock of then or of now, whichever is longer.
    pub fn ready_ms(&self, timelock_ms: u64) -> u64 {
        self.proposed_ms.saturating_add(self.timelock_ms.max(timelock_ms))
    }
}

impl DeployCall {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Init { .. } => "init",
            Self::LockUpgrades { .. } => "lock upgrades",
            Self::Propose { .. } => "propose upgrade",
            Self::Cancel { .. } => "cancel upgrade",
            Self::Upgrade { .. } => "upgrade",
        }
    }

    pub(crate) fn check(&self) -> Result<(), ChainError> {
        let (Self::Publish { package, .. } | Self::Upgrade { package, .. }) = self else { return Ok(()) };
        if package.size() <= PACKAGE_BYTES_MAX {
            return Ok(());
        }
        let reason =
            format!("the package has {} bytes, Sui takes at most {PACKAGE_BYTES_MAX}", package.size());
        Err(ChainError::InvalidCall { call: self.name(), reason })
    }

    /// Bytes of a package that is stored.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Publish { package, .. } | Self::Upgrade { package, .. } => {
                u64::try_from(package.size()).unwrap_or(u64::MAX)
            }
            _ => 0,
        }
    }

    pub(crate) fn steps(&self, on: &Deployment) -> Vec<Step> {
        let of_lock = |function, lock: &Address| call("upgrade", function).read(on.db).write(*lock);
        let one = match self {
            Self::Publish { package, to } => {
                return vec![Step::Publish { package: package.clone(), to: *to }];
            }
            Self::Init { cap, params } => {
                call("admin", "create").held(Held::Object(*cap)).pure(&params.values())
            }
            Self::LockUpgrades { cap } => {
                call("upgrade", "lock").read(on.db).held(Held::Admin).held(Held::Object(*cap))
            }
            Self::Propose { lock, digest } => of_lock("propose", lock).held(Held::Admin).pure(digest).clock(),
            Self::Cancel { lock } => of_lock("cancel", lock).held(Held::Admin),
            Self::Upgrade { lock, package, replaces } => {
                let (package, replaces) = (package.clone(), *replaces);
                let authorize = of_lock("authorize", lock).held(Held::Admin).clock();
                let arguments = vec![Arg::Write(*lock)];
                let commit = MoveCall { generic: false, module: "upgrade", function: "commit", arguments };
                return vec![Step::Upgrade { authorize, package, replaces, commit }];
            }
        };
        vec![Step::Call(one)]
    }
}

impl ChainClient {
    /// The lock around an upgrade cap, with what is proposed.
    pub async fn upgrade_lock(&self, id: Address) -> Result<UpgradeLock, ChainError> {
        let module = Identifier::from_static("upgrade");
        let name = Identifier::from_static("UpgradeLock");
        let tag = StructTag::new(self.deployment().package, module, name, Vec::new());
        let object = self.object(id).await?.ok_or(ChainError::NotFound { id })?;
        decode("upgrade lock", contents_of(&object, &tag)?)
    }

    /// Whose an object is; `None` if it does not exist.
    pub async fn owner_of(&self, id: Address) -> Result<Option<Owner>, ChainError> {
        Ok(self.object(id).await?.map(|object| *object.owner()))
    }

    /// The package of an object's type, as first published.
    pub async fn package_of(&self, id: Address) -> Result<Address, ChainError> {
        let object = self.object(id).await?.ok_or(ChainError::NotFound { id })?;
        let data = object.as_struct().ok_or_else(|| ChainError::WrongObject {
            id,
            expected: "an object".to_owned(),
            found: "a package".to_owned(),
        })?;
        Ok(*data.object_type().address())
    }

    /// The newest version of a package.
    pub async fn newest_package(&self, original: Address) -> Result<Address, ChainError> {
        let answer = self.read(|mut rpc| {
            let mut request = pb::ListPackageVersionsRequest::default();
            request.package_id = Some(original.to_string());
            request.page_size = Some(1_000);
            async move { rpc.package_client().list_package_versions(request).await }
        });
        let versions = answer.await?.into_inner().versions;
        let newest = versions.iter().max_by_key(|version| version.version());
        let id = newest.map_or_else(|| original.to_string(), |version| version.package_id().to_owned());
        id.parse().map_err(|_| ChainError::Malformed { what: "the package", reason: id })
    }
}
