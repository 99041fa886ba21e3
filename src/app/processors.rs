//! Which processor each of the proxy's threads keeps to.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors of this process: one for each of the proxy's threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processors(CpuSet);

impl Processors {
    /// If there is one for each of `threads`. Where there are more, something else shares them out, such as a quota
    /// (Docker's `--cpus`), and the first of them would be everybody's. Then the kernel places the threads.
    pub(super) fn one_each(threads: usize) -> Option<Self> {
        let own = sched_getaffinity(this_thread()).ok().map(Self)?;
        (own.iter().count() == threads).then_some(own)
    }

    /// Has the calling thread, the `at`-th, keep to its own: two of the proxy's threads on one processor, while another
    /// stands idle, are what the slowest requests wait for. A kernel that refuses is as good.
    pub(super) fn keep_to(self, at: usize) {
        let mut only = CpuSet::new();
        let kept = self.iter().nth(at).map_or(Ok(()), |processor| only.set(processor));
        if let Err(error) = kept.and_then(|()| sched_setaffinity(this_thread(), &only)) {
            tracing::debug!(thread = at, %error, "the kernel places this thread of the proxy");
        }
    }

    /// Lets the calling thread, which a thread of the proxy has started for what blocks, run on any.
    pub(super) fn roam(self) {
        let _ = sched_setaffinity(this_thread(), &self.0);
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        (0..CpuSet::count()).filter(|&at| self.0.is_set(at).unwrap_or(false))
    }
}

fn this_thread() -> Pid {
    Pid::from_raw(0)
}
