//! Waiting for a condition with a deadline, never for a time.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How long a case waits for what must happen. Machines are slow and shared.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks `condition` until it gives a value; fails after [`DEADLINE`], saying `what` was missing.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    within(DEADLINE, what, async || Ok(condition().await)).await
}

/// Asks `condition` until it gives a value or fails; fails after `patience`, saying `what` was
/// missing.
pub async fn within<T>(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("still no {what} after {patience:?}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
