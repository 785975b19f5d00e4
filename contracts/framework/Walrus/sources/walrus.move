// The part of Walrus that the package reads. Field names, abilities and signatures are those of the public package;
// see MoveStdlib.

module walrus::storage_resource {
    /// Storage from `start_epoch` on, before `end_epoch`.
    public struct Storage has key, store {
        id: UID,
        start_epoch: u32,
        end_epoch: u32,
        storage_size: u64,
    }

    public fun start_epoch(self: &Storage): u32 { self.start_epoch }

    public fun end_epoch(self: &Storage): u32 { self.end_epoch }

    public fun storage_size(self: &Storage): u64 { self.storage_size }

    public fun destroy(storage: Storage) {
        let Storage { id, start_epoch: _, end_epoch: _, storage_size: _ } = storage;
        id.delete()
    }

    #[test_only]
    public fun create_for_test(start_epoch: u32, end_epoch: u32, storage_size: u64, ctx: &mut TxContext): Storage {
        Storage { id: object::new(ctx), start_epoch, end_epoch, storage_size }
    }
}

module walrus::blob {
    use walrus::storage_resource::Storage;

    public struct Blob has key, store {
        id: UID,
        registered_epoch: u32,
        blob_id: u256,
        size: u64,
        encoding_type: u8,
        certified_epoch: Option<u32>,
        storage: Storage,
        deletable: bool,
    }

    public fun object_id(self: &Blob): ID { object::id(self) }

    public fun registered_epoch(self: &Blob): u32 { self.registered_epoch }

    public fun blob_id(self: &Blob): u256 { self.blob_id }

    public fun size(self: &Blob): u64 { self.size }

    public fun encoding_type(self: &Blob): u8 { self.encoding_type }

    public fun certified_epoch(self: &Blob): &Option<u32> { &self.certified_epoch }

    public fun storage(self: &Blob): &Storage { &self.storage }

    public fun is_deletable(self: &Blob): bool { self.deletable }

    public fun end_epoch(self: &Blob): u32 { self.storage.end_epoch() }

    public fun burn(blob: Blob) {
        let Blob {
            id,
            registered_epoch: _,
            blob_id: _,
            size: _,
            encoding_type: _,
            certified_epoch: _,
            storage,
            deletable: _,
        } = blob;
        id.delete();
        storage.destroy()
    }

    #[test_only]
    /// Any blob. Walrus itself makes them through its system only.
    public fun create_for_test(
        registered_epoch: u32,
        blob_id: u256,
        size: u64,
        encoding_type: u8,
        certified_epoch: Option<u32>,
        storage: Storage,
        deletable: bool,
        ctx: &mut TxContext,
    ): Blob {
        Blob {
            id: object::new(ctx),
            registered_epoch,
            blob_id,
            size,
            encoding_type,
            certified_epoch,
            storage,
            deletable,
        }
    }
}
