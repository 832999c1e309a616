//! The only place that talks to the kernel: aya, system calls, `unsafe`.

/// What the kernel layer can fail with.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// To come.
    #[error("not implemented")]
    None,
}
