//! The checkpoint stores of a worker, by shard.

use std::sync::Arc;

use s1_forwarder_engine::checkpoint::Store;
use s1_forwarder_engine::weak_cache::WeakCache;
use s1_forwarder_state::StoreLocation;

use super::options::Options;

/// The stores of the checkpoints of a worker's lanes.
#[derive(Debug)]
pub struct Stores {
    main: Arc<dyn Store>,
    /// The state and the worker's instance. `None` if workers do not share lanes.
    shared: Option<(StoreLocation, String)>,
    /// Stores by shard of this worker, for kinds of stores that are made per shard.
    of_shards: WeakCache<u32, dyn Store>,
}

impl Stores {
    pub fn new(main: Arc<dyn Store>, options: &Options) -> Self {
        let shared = options.cluster.is_some().then(|| (options.state.clone(), options.instance.clone()));
        Self { main, shared, of_shards: WeakCache::default() }
    }

    /// Returns the store of objects that belong to no single shard.
    pub fn main(&self) -> Arc<dyn Store> {
        self.main.clone()
    }

    /// Returns the store of the lanes of a shard. The store exists as long as one of these lanes uses it.
    pub fn of_shard(&self, shard: u32) -> Arc<dyn Store> {
        let Some((state, instance)) = &self.shared else { return self.main.clone() };
        let of_shard = || state.of_shard(instance, shard).unwrap_or_else(|| self.main.clone());
        self.of_shards.get_or_insert_with(shard, of_shard)
    }
}
