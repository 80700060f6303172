//! CRI as a runtime has it, and as a kubelet uses it: made from `cri.proto`.

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "generated, and each test uses a part"
)]
#[rustfmt::skip]
#[path = "generated/runtime.v1.rs"]
pub(crate) mod cri;
