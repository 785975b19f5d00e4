module sui::dynamic_field {
    #[allow(unused_const)]
    const EFieldAlreadyExists: u64 = 0;

    public struct Field<Name: copy + drop + store, Value: store> has key {
        id: UID,
        name: Name,
        value: Value,
    }

    public fun add<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name, value: Value) {
        let parent = object.to_address();
        let hash = hash_type_and_key(parent, name);
        assert!(!has_child_object(parent, hash), EFieldAlreadyExists);
        add_child_object(parent, Field { id: object::new_uid_from_hash(hash), name, value })
    }

    /// Aborts with 1 without a field of that name, with 2 when its value has another type.
    public fun borrow<Name: copy + drop + store, Value: store>(object: &UID, name: Name): &Value {
        let hash = hash_type_and_key(object.to_address(), name);
        &borrow_child_object<Field<Name, Value>>(object, hash).value
    }

    public fun borrow_mut<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name): &mut Value {
        let hash = hash_type_and_key(object.to_address(), name);
        &mut borrow_child_object_mut<Field<Name, Value>>(object, hash).value
    }

    public fun remove<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name): Value {
        let parent = object.to_address();
        let hash = hash_type_and_key(parent, name);
        let Field { id, name: _, value } = remove_child_object<Field<Name, Value>>(parent, hash);
        id.delete();
        value
    }

    public fun remove_if_exists<Name: copy + drop + store, Value: store>(
        object: &mut UID,
        name: Name,
    ): Option<Value> {
        if (exists_(object, name)) option::some(remove(object, name)) else option::none()
    }

    public fun exists_<Name: copy + drop + store>(object: &UID, name: Name): bool {
        let parent = object.to_address();
        has_child_object(parent, hash_type_and_key(parent, name))
    }

    public fun exists_with_type<Name: copy + drop + store, Value: store>(object: &UID, name: Name): bool {
        let parent = object.to_address();
        has_child_object_with_ty<Field<Name, Value>>(parent, hash_type_and_key(parent, name))
    }

    public(package) native fun hash_type_and_key<K: copy + drop + store>(parent: address, k: K): address;
    public(package) native fun add_child_object<Child: key>(parent: address, child: Child);
    public(package) native fun borrow_child_object<Child: key>(object: &UID, id: address): &Child;
    public(package) native fun borrow_child_object_mut<Child: key>(object: &mut UID, id: address): &mut Child;
    public(package) native fun remove_child_object<Child: key>(parent: address, id: address): Child;
    public(package) native fun has_child_object(parent: address, id: address): bool;
    public(package) native fun has_child_object_with_ty<Child: key>(parent: address, id: address): bool;
}

module sui::table {
    use sui::dynamic_field as field;

    const ETableNotEmpty: u64 = 0;

    public struct Table<phantom K: copy + drop + store, phantom V: store> has key, store {
        id: UID,
        size: u64,
    }

    public fun new<K: copy + drop + store, V: store>(ctx: &mut TxContext): Table<K, V> {
        Table { id: object::new(ctx), size: 0 }
    }

    public fun add<K: copy + drop + store, V: store>(table: &mut Table<K, V>, k: K, v: V) {
        field::add(&mut table.id, k, v);
        table.size = table.size + 1;
    }

    #[syntax(index)]
    public fun borrow<K: copy + drop + store, V: store>(table: &Table<K, V>, k: K): &V {
        field::borrow(&table.id, k)
    }

    #[syntax(index)]
    public fun borrow_mut<K: copy + drop + store, V: store>(table: &mut Table<K, V>, k: K): &mut V {
        field::borrow_mut(&mut table.id, k)
    }

    public fun remove<K: copy + drop + store, V: store>(table: &mut Table<K, V>, k: K): V {
        let v = field::remove(&mut table.id, k);
        table.size = table.size - 1;
        v
    }

    public fun contains<K: copy + drop + store, V: store>(table: &Table<K, V>, k: K): bool {
        field::exists_with_type<K, V>(&table.id, k)
    }

    public fun length<K: copy + drop + store, V: store>(table: &Table<K, V>): u64 { table.size }

    public fun is_empty<K: copy + drop + store, V: store>(table: &Table<K, V>): bool { table.size == 0 }

    public fun destroy_empty<K: copy + drop + store, V: store>(table: Table<K, V>) {
        let Table { id, size } = table;
        assert!(size == 0, ETableNotEmpty);
        id.delete()
    }

    /// The entries stay behind, out of reach.
    public fun drop<K: copy + drop + store, V: drop + store>(table: Table<K, V>) {
        let Table { id, size: _ } = table;
        id.delete()
    }
}

module sui::versioned {
    use sui::dynamic_field as field;

    public struct Versioned has key, store {
        id: UID,
        version: u64,
    }

    public fun create<T: store>(init_version: u64, init_value: T, ctx: &mut TxContext): Versioned {
        let mut id = object::new(ctx);
        field::add(&mut id, init_version, init_value);
        Versioned { id, version: init_version }
    }

    public fun version(self: &Versioned): u64 { self.version }

    public fun load_value<T: store>(self: &Versioned): &T { field::borrow(&self.id, self.version) }

    public fun load_value_mut<T: store>(self: &mut Versioned): &mut T {
        field::borrow_mut(&mut self.id, self.version)
    }

    public fun destroy<T: store>(self: Versioned): T {
        let Versioned { mut id, version } = self;
        let value = field::remove(&mut id, version);
        id.delete();
        value
    }
}
