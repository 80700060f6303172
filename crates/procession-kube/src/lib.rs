//! Whose process it is: the container that a control group belongs to, what its runtime knows of it,
//! and the pod of it.
//!
//! [`ContainerId`] and [`Containers`] are pure functions over names: nobody is asked, so the answer is
//! there with the event, and it is the same in a replay. The rest comes a moment later, and nobody
//! waits for it: `Runtimes` asks the container runtimes of the machine (feature `runtimes`),
//! `PodWatcher` follows the Kubernetes API (feature `kubernetes`). What is known of pods by then is
//! plain data in a [`PodIndex`].
//!
//! ```
//! use procession_kube::ContainerId;
//!
//! let id = "4f2ac1d97e0b36588c6a54f3e2b1907d".repeat(2);
//! let path = format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope/init.scope");
//!
//! let container = ContainerId::of_cgroup(path.as_bytes()).expect("the path names a container");
//! assert_eq!(container.as_str(), id);
//! assert_eq!(container.short(), "4f2ac1d97e0b");
//! ```

#![forbid(unsafe_code)]

#[cfg(any(feature = "kubernetes", feature = "runtimes"))]
mod causes;
mod container;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod info;
mod pod;
#[cfg(feature = "runtimes")]
mod runtime;
#[cfg(feature = "kubernetes")]
mod watch;
mod whose;
mod workload;

pub use container::{CgroupContainer, ContainerId, Containers, RuntimeFamily};
pub use index::{Found, Memory, PodIndex};
pub use info::{ContainerInfo, RuntimePod};
pub use pod::{Container, ContainerKind, Pairs, Pod, Probe};
#[cfg(feature = "kubernetes")]
pub use pod::{Converter, Defects};
#[cfg(feature = "runtimes")]
pub use runtime::{
    Answer, Asked, ParseSocketError, Reply, RuntimeCounters, RuntimeProtocol, RuntimeSocket, Runtimes,
    RuntimesConfig,
};
#[cfg(feature = "kubernetes")]
pub use watch::{Notice, Phase, PodWatcher, Reason, Stats, Status, WatchConfig};
pub use whose::{PodName, Told, Whose};
pub use workload::{Controller, Ownership, Workload};
