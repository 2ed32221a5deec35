//! One question to the engine thread, waited for in either manner.

use crate::db::Client;
use crate::error::Error;
use ouroboros_engine::node::{Reply, Request};

/// A request with the way to read its answer: `wait` blocks the thread, `run` is a future.
pub(crate) struct Call<T> {
    pub(crate) request: Request,
    pub(crate) read: fn(Reply) -> Result<T, Error>,
}

impl<T> Call<T> {
    pub(crate) fn wait(self, client: &Client) -> Result<T, Error> {
        (self.read)(client.ask(self.request)?)
    }

    pub(crate) async fn run(self, client: &Client) -> Result<T, Error> {
        (self.read)(client.ask_async(self.request).await?)
    }
}
