//! Emptied vectors on their way back to whoever fills them: batches cost no allocation once the
//! loop runs.

use crossbeam_queue::ArrayQueue;

/// A bounded store of empty vectors that keep their capacity.
#[derive(Debug)]
pub struct VecPool<T> {
    queue: ArrayQueue<Vec<T>>,
}

impl<T> VecPool<T> {
    /// Keeps at most `capacity` vectors.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
        }
    }

    /// An empty vector, used before where there is one.
    #[must_use]
    pub fn take(&self) -> Vec<T> {
        self.queue.pop().unwrap_or_default()
    }

    /// Takes a vector back; it is dropped where enough are kept.
    pub fn give(&self, mut spare: Vec<T>) {
        spare.clear();
        let _ = self.queue.push(spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_empty_with_its_capacity() {
        let pool = VecPool::new(1);
        pool.give(vec![1; 100]);
        pool.give(vec![2; 10]);
        let spare = pool.take();
        assert!(spare.is_empty());
        assert!(spare.capacity() >= 100);
        assert_eq!(pool.take().capacity(), 0);
    }
}
