module sui::vec_map {
    const EKeyAlreadyExists: u64 = 0;
    const EKeyDoesNotExist: u64 = 1;
    const EMapNotEmpty: u64 = 2;
    const EIndexOutOfBounds: u64 = 3;

    public struct VecMap<K: copy, V> has copy, drop, store {
        contents: vector<Entry<K, V>>,
    }

    public struct Entry<K: copy, V> has copy, drop, store {
        key: K,
        value: V,
    }

    public fun empty<K: copy, V>(): VecMap<K, V> { VecMap { contents: vector[] } }

    public fun insert<K: copy, V>(self: &mut VecMap<K, V>, key: K, value: V) {
        assert!(!self.contains(&key), EKeyAlreadyExists);
        self.contents.push_back(Entry { key, value })
    }

    public fun remove<K: copy, V>(self: &mut VecMap<K, V>, key: &K): (K, V) {
        let at = self.get_idx(key);
        let Entry { key, value } = self.contents.remove(at);
        (key, value)
    }

    #[syntax(index)]
    public fun get<K: copy, V>(self: &VecMap<K, V>, key: &K): &V {
        let at = self.get_idx(key);
        &self.contents[at].value
    }

    #[syntax(index)]
    public fun get_mut<K: copy, V>(self: &mut VecMap<K, V>, key: &K): &mut V {
        let at = self.get_idx(key);
        &mut self.contents[at].value
    }

    public fun contains<K: copy, V>(self: &VecMap<K, V>, key: &K): bool { self.get_idx_opt(key).is_some() }

    public fun size<K: copy, V>(self: &VecMap<K, V>): u64 { self.contents.length() }

    public fun is_empty<K: copy, V>(self: &VecMap<K, V>): bool { self.contents.is_empty() }

    public fun destroy_empty<K: copy, V>(self: VecMap<K, V>) {
        let VecMap { contents } = self;
        assert!(contents.is_empty(), EMapNotEmpty);
        contents.destroy_empty()
    }

    /// In the order of insertion.
    public fun keys<K: copy, V>(self: &VecMap<K, V>): vector<K> { self.contents.map_ref!(|entry| entry.key) }

    public fun into_keys_values<K: copy, V>(self: VecMap<K, V>): (vector<K>, vector<V>) {
        let VecMap { contents } = self;
        let (mut keys, mut values) = (vector[], vector[]);
        contents.do!(|entry| {
            let Entry { key, value } = entry;
            keys.push_back(key);
            values.push_back(value);
        });
        (keys, values)
    }

    public fun get_idx_opt<K: copy, V>(self: &VecMap<K, V>, key: &K): Option<u64> {
        self.contents.find_index!(|entry| &entry.key == key)
    }

    public fun get_idx<K: copy, V>(self: &VecMap<K, V>, key: &K): u64 {
        let at = self.get_idx_opt(key);
        assert!(at.is_some(), EKeyDoesNotExist);
        at.destroy_some()
    }

    public fun get_entry_by_idx<K: copy, V>(self: &VecMap<K, V>, idx: u64): (&K, &V) {
        assert!(idx < self.size(), EIndexOutOfBounds);
        let entry = &self.contents[idx];
        (&entry.key, &entry.value)
    }
}

module sui::vec_set {
    const EKeyAlreadyExists: u64 = 0;
    const EKeyDoesNotExist: u64 = 1;

    public struct VecSet<K: copy + drop> has copy, drop, store {
        contents: vector<K>,
    }

    public fun empty<K: copy + drop>(): VecSet<K> { VecSet { contents: vector[] } }

    public fun singleton<K: copy + drop>(key: K): VecSet<K> { VecSet { contents: vector[key] } }

    public fun insert<K: copy + drop>(self: &mut VecSet<K>, key: K) {
        assert!(!self.contains(&key), EKeyAlreadyExists);
        self.contents.push_back(key)
    }

    public fun remove<K: copy + drop>(self: &mut VecSet<K>, key: &K) {
        let (found, at) = self.contents.index_of(key);
        assert!(found, EKeyDoesNotExist);
        self.contents.remove(at);
    }

    public fun contains<K: copy + drop>(self: &VecSet<K>, key: &K): bool { self.contents.contains(key) }

    public fun size<K: copy + drop>(self: &VecSet<K>): u64 { self.contents.length() }

    public fun is_empty<K: copy + drop>(self: &VecSet<K>): bool { self.contents.is_empty() }

    public fun into_keys<K: copy + drop>(self: VecSet<K>): vector<K> {
        let VecSet { contents } = self;
        contents
    }

    public fun from_keys<K: copy + drop>(keys: vector<K>): VecSet<K> {
        let mut set = empty();
        keys.do!(|key| set.insert(key));
        set
    }

    public fun keys<K: copy + drop>(self: &VecSet<K>): &vector<K> { &self.contents }
}
