//! Something that takes long to make, and that those who want it at the same time share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

/// Gives each who asks a value that began to be made after it asked; one for all who ask while another
/// is made. It is kept for as long as somebody uses it.
pub(super) struct Fresh<T> {
    /// How many have asked.
    asked: AtomicU64,
    latest: Mutex<Latest<T>>,
}

struct Latest<T> {
    /// How many had asked when it began to be made.
    asked: u64,
    value: Weak<T>,
}

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), latest: Mutex::new(Latest { asked: 0, value: Weak::new() }) }
    }
}

impl<T> Fresh<T> {
    /// A value that is made, by `make` or for another, after this call.
    pub(super) async fn get<E>(&self, make: impl AsyncFnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut latest = self.latest.lock().await;
        if number < latest.asked
            && let Some(value) = latest.value.upgrade()
        {
            return Ok(value);
        }
        let asked = self.asked.load(Ordering::Relaxed);
        let value = Arc::new(make().await?);
        *latest = Latest { asked, value: Arc::downgrade(&value) };
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn who_comes_later_gets_another() {
        let fresh = Fresh::default();
        let first = fresh.get(async || Ok::<_, Infallible>(1)).await.unwrap();
        let second = fresh.get(async || Ok::<_, Infallible>(2)).await.unwrap();
        assert_eq!((*first, *second), (1, 2), "though the first is still in use");
    }

    #[tokio::test]
    async fn those_who_wait_share_the_next() {
        let (fresh, times, go) = (Fresh::default(), AtomicU64::new(0), Semaphore::new(0));
        let make = async || {
            let _ = go.acquire().await;
            Ok::<_, Infallible>(times.fetch_add(1, Ordering::Relaxed))
        };
        let all = join_all((0..10).map(|_| fresh.get(make)));
        let open = async { go.add_permits(1) };
        let (got, ()) = tokio::join!(all, open);
        let got: Vec<_> = got.into_iter().map(|value| *value.unwrap()).collect();
        assert_eq!(got[0], 0);
        assert_eq!(got[1..], [1; 9], "they came when the first was being made already");
    }

    #[tokio::test]
    async fn a_failure_is_for_one_only() {
        let fresh = Fresh::default();
        assert_eq!(fresh.get(async || Err::<u8, _>("no")).await, Err("no"));
        assert_eq!(fresh.get(async || Ok::<_, &str>(3)).await.map(|value| *value), Ok(3));
    }
}
