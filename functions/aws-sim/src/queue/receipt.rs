//! Receipt handles: opaque to the caller, different with every receive.

use super::error::QueueError;

/// One receive of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    /// The message's id.
    pub(super) message: String,
    /// Selector receive of the message this was, counted from 1.
    pub(super) receive: u32,
}

impl Receipt {
    /// The handle that a consumer is given.
    pub(super) fn to_handle(&self) -> String {
        let text = format!("{}#{}", self.receive, self.message);
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(text)
    }

    /// The receive that a handle stands for.
    ///
    /// # Errors
    /// [`QueueError::ReceiptHandleIsInvalid`].
    pub(super) fn parse(handle: &str) -> Result<Self, QueueError> {
        let parsed = || {
            let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(handle).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (receive, message) = text.split_once('#')?;
            Some(Self {
                message: message.to_owned(),
                receive: receive.parse().ok()?,
            })
        };
        parsed().ok_or(QueueError::ReceiptHandleIsInvalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn receipts_survive_the_handle(message in any::<String>(), receive in any::<u32>()) {
            let receipt = Receipt { message, receive };
            prop_assert_eq!(Receipt::parse(&receipt.to_handle()).unwrap(), receipt);
        }

        #[test]
        fn no_text_makes_the_parser_panic(handle in any::<String>()) {
            let _ = Receipt::parse(&handle);
        }
    }

    #[test]
    fn foreign_handle_is_invalid() {
        assert!(matches!(
            Receipt::parse("not-a-handle"),
            Err(QueueError::ReceiptHandleIsInvalid)
        ));
    }
}
