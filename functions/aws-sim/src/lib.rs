//! Stand-ins for S3 and SQS, the connector that mounts them in process, and the loopback listener.

pub mod bucket;
pub mod credentials;
mod hexadecimal;
pub mod listen;
pub mod queue;
pub mod signed;
pub mod wire;
