//! Stand-ins for S3 and SQS, the HTTP connector through which the AWS SDK reaches them in the same
//! process, and the loopback listener.

pub mod access_log;
pub mod bucket;
pub mod credentials;
mod hexadecimal;
pub mod listen;
pub mod queue;
pub mod signed;
pub mod wire;
