//! Messages and clients of the gRPC services that runtimes offer, made from `proto/`.

/// Declares a generated file, which is as its generator writes it.
macro_rules! generated {
    ($($name:ident: $file:literal),* $(,)?) => {$(
        #[allow(
            clippy::pedantic,
            clippy::allow_attributes_without_reason,
            missing_docs,
            unreachable_pub,
            reason = "generated"
        )]
        #[rustfmt::skip]
        #[path = $file]
        pub(super) mod $name;
    )*};
}

generated! {
    cri: "proto/runtime.v1.rs",
    containers: "proto/containerd.services.containers.v1.rs",
    namespaces: "proto/containerd.services.namespaces.v1.rs",
    tasks: "proto/containerd.services.tasks.v1.rs",
}
