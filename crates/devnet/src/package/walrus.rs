//! As much of Walrus as disputes read: its epoch, and `Blob` objects as Walrus lays them out.
//!
//! The devnet has no storage nodes whose signatures could certify a blob, so `devnet::certified_blob`, which
//! the real Walrus does not have, makes a certified one of what its caller says. Walrus's epochs are the
//! devnet's.

use super::signature::By::Ref;
use super::signature::{Function, ObjectKind, Param, PureKind, Returns};
use super::{Machine, Step, WALRUS_PACKAGE, WALRUS_SYSTEM};
use atoma_types::Address;
use atoma_types::onchain::{Abort, Blob};
use serde::{Deserialize, Serialize};

/// The one encoding there is, RS2.
const ENCODING_RS2: u8 = 1;
/// Epochs for which a blob can be stored ahead, as Walrus's networks have it.
const EPOCHS_MAX: u32 = 53;

/// `blob::Blob`.
#[derive(Debug, Serialize, Deserialize)]
struct BlobObject {
    id: Address,
    registered_epoch: u32,
    blob_id: [u8; 32],
    size: u64,
    encoding_type: u8,
    certified_epoch: Option<u32>,
    storage: Storage,
    deletable: bool,
}

/// `storage_resource::Storage`.
#[derive(Debug, Serialize, Deserialize)]
struct Storage {
    id: Address,
    start_epoch: u32,
    end_epoch: u32,
    storage_size: u64,
}

/// `system::System`. Its epoch is in a field of its own that no object's bytes show.
#[derive(Debug, Serialize)]
pub(crate) struct System {
    id: Address,
    version: u64,
    package_id: Address,
    new_package_id: Option<Address>,
}

impl System {
    pub(crate) fn first() -> Self {
        Self { id: WALRUS_SYSTEM, version: 1, package_id: WALRUS_PACKAGE, new_package_id: None }
    }
}

impl From<BlobObject> for Blob {
    fn from(object: BlobObject) -> Self {
        Self {
            id: object.id,
            blob_id: object.blob_id,
            size: object.size,
            encoding_type: object.encoding_type,
            registered_epoch: object.registered_epoch,
            certified_epoch: object.certified_epoch,
            end_epoch: object.storage.end_epoch,
            deletable: object.deletable,
        }
    }
}

pub(super) static FUNCTIONS: &[Function] = &[Function {
    package: WALRUS_PACKAGE,
    module: "devnet",
    name: "certified_blob",
    private_entry: true,
    type_arguments: 0,
    params: &[
        Param::Object(ObjectKind::System, Ref),
        Param::Pure(PureKind::Address),
        Param::Pure(PureKind::U256),
        Param::Pure(PureKind::U64),
        Param::Pure(PureKind::U32),
        Param::Pure(PureKind::Bool),
    ],
    returns: Returns::Nothing,
    run: certified_blob,
}];

/// `system, owner, blob_id, size, epochs_ahead, deletable`: certified in this epoch.
fn certified_blob(m: &mut Machine) -> Step {
    let epoch = m.walrus_epoch()?;
    let owner: Address = m.pure()?;
    let (blob_id, size): ([u8; 32], u64) = (m.pure()?, m.pure()?);
    let epochs_ahead: u32 = m.pure()?;
    if epochs_ahead == 0 || epochs_ahead > EPOCHS_MAX {
        return Err(Abort::BadArgument);
    }
    let end_epoch = epoch.checked_add(epochs_ahead).ok_or(Abort::Arithmetic)?;
    let blob = BlobObject {
        id: m.ctx.fresh_id(),
        registered_epoch: epoch,
        blob_id,
        size,
        encoding_type: ENCODING_RS2,
        certified_epoch: Some(epoch),
        storage: Storage { id: m.ctx.fresh_id(), start_epoch: epoch, end_epoch, storage_size: size },
        deletable: m.pure()?,
    };
    m.create(ObjectKind::Blob, &blob, Some(owner))
}

impl Machine {
    /// The next argument, Walrus's `System`: its epoch.
    pub(super) fn walrus_epoch(&mut self) -> Step<u32> {
        self.skip()?;
        u32::try_from(self.ctx.epoch()).map_err(|_| Abort::Arithmetic)
    }

    /// The next argument, a `Blob`.
    pub(super) fn blob(&mut self) -> Step<Blob> {
        self.object::<BlobObject>().map(Blob::from)
    }
}
