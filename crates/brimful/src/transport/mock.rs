//! The simulator in this process.

use super::{Outgoing, Response, SendError};

/// Sends attempts into a simulated provider.
#[derive(Debug)]
pub struct MockTransport {}

impl MockTransport {
    pub(super) async fn send(&self, _request: &Outgoing) -> Result<Response, SendError> {
        std::future::pending().await
    }
}
