//! Values that are made when they are used for the first time.

use std::{
    any, fmt,
    ops::Deref,
    sync::{Arc, LazyLock},
};

/// A value that is made when it is used for the first time. Clones share it.
///
/// A function needs only some of its parts for an event, and making all of them takes longer than
/// everything else at its start.
pub struct Lazy<T>(Arc<LazyLock<T, Make<T>>>);

type Make<T> = Box<dyn FnOnce() -> T + Send>;

impl<T> Lazy<T> {
    /// A value that `make` makes.
    pub fn new(make: impl FnOnce() -> T + Send + 'static) -> Self {
        let make: Make<T> = Box::new(make);
        Self(Arc::new(LazyLock::new(make)))
    }
}

impl<T: Send + 'static> From<T> for Lazy<T> {
    fn from(value: T) -> Self {
        Self::new(|| value)
    }
}

impl<T> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for Lazy<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value is not made for this.
        write!(f, "Lazy<{}>", any::type_name::<T>())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_value_is_made_once_by_the_first_use_of_any_clone() {
        let made = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&made);
        let value = Lazy::new(move || count.fetch_add(1, Ordering::Relaxed) + 7);
        let clone = value.clone();
        assert!(format!("{value:?}").contains("u32"));
        assert_eq!(made.load(Ordering::Relaxed), 0);
        assert_eq!((*clone, *value, *clone), (7, 7, 7));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert_eq!(*Lazy::from(3), 3);
    }
}
