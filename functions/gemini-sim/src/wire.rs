//! HTTP and JSON as Google's APIs speak them: routes, bodies, messages, pages and error answers.

pub(crate) mod body;
pub(crate) mod loose_json;
pub(crate) mod messages;
pub(crate) mod paging;
pub(crate) mod proto;
pub(crate) mod reply;
pub(crate) mod route;
