//! The protection taken out, piece by piece: what the simulator must notice. The product has no switch for any of it; the world lies to
//! it, or a wrapper alters what it asks.

use std::sync::Arc;

use farebox::runtime::world::Tables;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Nothing: the product as it is.
    Nothing,
    /// ClickHouse knows no tokens.
    NoToken,
    /// Whoever asks for a witness hears that it is there.
    NoWitness,
    /// Kafka forgets the metadata of committed offsets.
    NoIntent,
    /// Kafka always names the same topic id.
    NoTopicId,
    /// `batches` is written before the other tables.
    BatchesFirst,
    /// The window for duplicates begins where reading does.
    NoWindow,
}

impl Planted {
    pub fn tables(self, inner: Arc<dyn Tables>) -> Arc<dyn Tables> {
        inner
    }
}
